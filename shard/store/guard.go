package store

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// latch holds the first failure of any write of a Store. raft goes on after a
// store error, and a write that was given up may still land and then collide
// with its retry; so the first failure is the last write: from then on every
// write fails at once, and the owner is told, once, to end the process.
type latch struct {
	log      *slog.Logger
	onFatal  func(error)
	deadline time.Duration

	mu  sync.Mutex // guards err
	err error
}

// failed returns the error that every write gets after the first failure.
func (l *latch) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrFailed, l.err)
}

// fail records err and tells the owner if it is the first.
func (l *latch) fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
	}
	l.mu.Unlock()
	if first {
		l.log.Error("a store failed; the process must end", "error", err)
		l.onFatal(err)
	}
}

// write runs one durable write. The caller waits for it even past the
// deadline, since a write cannot be called back: raft must not be told of a
// failure while the entry may still land. What ends the wait is the process.
func (l *latch) write(what string, group uint32, fn func() error) error {
	if err := l.failed(); err != nil {
		return err
	}
	late := fmt.Errorf("%w: %s of group %d not done after %v", ErrWriteDeadline, what, group, l.deadline)
	timer := time.AfterFunc(l.deadline, func() { l.fail(late) })
	err := fn()
	if !timer.Stop() {
		return late
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s of group %d: %w", what, group, err)
	l.fail(err)
	return err
}

// gate lets a Close wait for the calls that are running and turns away later
// ones: a raft that outlives its shutdown deadline must not reach a closed
// database.
type gate struct {
	mu     sync.RWMutex // held shared by every call, alone by close; guards closed
	closed bool
}

func (g *gate) do(fn func() error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return ErrClosed
	}
	return fn()
}

// close waits for the running calls. It reports whether it was open.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := !g.closed
	g.closed = true
	return was
}

// guardedLog puts latch and gate before a LogStore.
type guardedLog struct {
	inner raft.LogStore
	group uint32
	latch *latch
	gate  *gate
}

// IsMonotonic is what the store below says; the logs of this package are all
// monotonic, and a middleware that hides that does not change them.
func (g *guardedLog) IsMonotonic() bool {
	if m, ok := g.inner.(raft.MonotonicLogStore); ok {
		return m.IsMonotonic()
	}
	return true
}

func (g *guardedLog) FirstIndex() (uint64, error) { return g.index(g.inner.FirstIndex) }

func (g *guardedLog) LastIndex() (uint64, error) { return g.index(g.inner.LastIndex) }

func (g *guardedLog) index(read func() (uint64, error)) (index uint64, err error) {
	err = g.gate.do(func() error {
		index, err = read()
		return err
	})
	return index, err
}

func (g *guardedLog) GetLog(index uint64, l *raft.Log) error {
	return g.gate.do(func() error { return g.inner.GetLog(index, l) })
}

func (g *guardedLog) StoreLog(l *raft.Log) error {
	return g.write("StoreLog", func() error { return g.inner.StoreLog(l) })
}

func (g *guardedLog) StoreLogs(logs []*raft.Log) error {
	return g.write("StoreLogs", func() error { return g.inner.StoreLogs(logs) })
}

func (g *guardedLog) DeleteRange(from, to uint64) error {
	return g.write("DeleteRange", func() error { return g.inner.DeleteRange(from, to) })
}

func (g *guardedLog) write(what string, fn func() error) error {
	return g.gate.do(func() error { return g.latch.write(what, g.group, fn) })
}

// guardedStable puts latch and gate before a StableStore. What a read returns
// passes through unchanged: raft compares the text of "not found".
type guardedStable struct {
	inner raft.StableStore
	group uint32
	latch *latch
	gate  *gate
}

func (g *guardedStable) Get(key []byte) (val []byte, err error) {
	err = g.gate.do(func() error {
		val, err = g.inner.Get(key)
		return err
	})
	return val, err
}

func (g *guardedStable) GetUint64(key []byte) (val uint64, err error) {
	err = g.gate.do(func() error {
		val, err = g.inner.GetUint64(key)
		return err
	})
	return val, err
}

func (g *guardedStable) Set(key, val []byte) error {
	return g.write("stable Set", func() error { return g.inner.Set(key, val) })
}

func (g *guardedStable) SetUint64(key []byte, val uint64) error {
	return g.write("stable SetUint64", func() error { return g.inner.SetUint64(key, val) })
}

func (g *guardedStable) write(what string, fn func() error) error {
	return g.gate.do(func() error { return g.latch.write(what, g.group, fn) })
}
