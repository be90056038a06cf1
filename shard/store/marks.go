package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	marksFile   = "marks"
	marksFormat = 1
	// defaultMarkStep is how many bytes of entries, of all groups together, are
	// appended before the marks are advanced: what a cut may take unseen.
	defaultMarkStep = 512 << 10
)

// marks say, outside of the logs, how far the log of each group is known to be on
// disk. Pebble takes a write-ahead log that was cut for one whose end a crash tore;
// a group whose log and newest snapshot end below its mark tells the two apart.
//
// A healthy group is never below its mark. The mark is advanced to nothing but an
// index whose append has returned, so it was synced. Only a delete at the end of a
// log moves that end back, and it lowers the mark durably first; while it does, and
// until the log's bounds are the new ones, no mark is advanced. A mark names its
// replica: one that was removed has left it, and the next of its group has another name.
//
// An append never waits for a mark: a goroutine advances them.
type marks struct {
	fs    vfs.FS
	path  string
	step  int64
	latch *latch
	log   *slog.Logger

	appended atomic.Int64 // bytes since the marks were last advanced
	due      chan struct{}
	stop     chan struct{}
	done     chan struct{}

	mu   sync.Mutex          // guards the fields below and serialises writes of the file; taken before logStore.mu
	file map[uint32]mark     // what the file holds; behind a failed write, what it holds at most
	logs map[uint32]*replica // the logs that the marks follow
}

// mark is one group's line in the file.
type mark struct {
	Replica string `json:"replica"`
	Index   uint64 `json:"index"`
}

type replica struct {
	name string
	log  *logStore
}

// marksContent is the file: JSON, and behind it its crc32c u32, big endian.
type marksContent struct {
	Format int             `json:"format"`
	Groups map[uint32]mark `json:"groups"`
}

// openMarks reads the file. A directory without one is of an earlier release, or
// never had a step of entries.
func openMarks(dir string, o Options, l *latch) (*marks, error) {
	m := &marks{fs: o.FS, path: filepath.Join(dir, marksFile), step: o.markStep, latch: l, log: o.Logger,
		due: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		file: map[uint32]mark{}, logs: map[uint32]*replica{}}
	if m.fs == nil {
		m.fs = vfs.Default
	}
	if err := m.read(); err != nil {
		return nil, &RefusedError{Reason: ErrMarks, Group: -1, Path: m.path, Cause: err, Mend: mendReplica,
			Problem: "it says how far the logs were on disk"}
	}
	go m.run()
	return m, nil
}

func (m *marks) read() (err error) {
	f, err := m.fs.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	raw, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	body := raw[:max(len(raw)-4, 0)]
	if len(raw) < 4 || binary.BigEndian.Uint32(raw[len(body):]) != crc32.Checksum(body, castagnoli) {
		return errors.New("checksum does not match")
	}
	var c marksContent
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	if c.Format != marksFormat {
		return fmt.Errorf("%w: format %d, this release reads %d", ErrFormat, c.Format, marksFormat)
	}
	maps.Copy(m.file, c.Groups)
	return nil
}

// of returns the mark of a replica, 0 if it has none.
func (m *marks) of(group uint32, name string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.file[group]; k.Replica == name {
		return k.Index
	}
	return 0
}

// follow has the marks advance with a log, until the group is removed: a log that
// was closed stays as it is.
func (m *marks) follow(group uint32, name string, log *logStore) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs[group] = &replica{name, log}
}

// forget drops a group that was removed. Its line in the file goes with the next
// write: no replica has its name again.
func (m *marks) forget(group uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.logs, group)
	delete(m.file, group)
}

// note counts what was appended. The new end of the log is known by now.
func (m *marks) note(bytes int) {
	if m.appended.Add(int64(bytes)) < m.step {
		return
	}
	select {
	case m.due <- struct{}{}:
	default:
	}
}

func (m *marks) run() {
	defer close(m.done)
	for {
		select {
		case <-m.due:
			m.advance()
		case <-m.stop:
			return
		}
	}
}

// advance brings every mark to the end of its log. A full disk leaves them as they
// are: they only become staler. Behind the first failed write nothing is written.
func (m *marks) advance() {
	if m.latch.failed() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appended.Store(0)
	next := maps.Clone(m.file)
	for group, r := range m.logs {
		if _, last := r.log.bounds(); last > 0 && (next[group].Replica != r.name || next[group].Index < last) {
			next[group] = mark{r.name, last}
		}
	}
	if maps.Equal(next, m.file) {
		return
	}
	err := m.writeLocked(next)
	switch {
	case err != nil && vfs.IsNoSpaceError(err):
		m.log.Warn("no room to note how far the logs are on disk", "error", err)
	case err != nil:
		m.latch.fail(err)
	}
}

// lower moves the end of a group's log back with shrink, which changes the log's
// bounds and no more. When it returns nil, the mark is durably not above end.
func (m *marks) lower(group uint32, end uint64, shrink func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	shrink()
	k := m.file[group]
	if k.Index <= end {
		return nil
	}
	next := maps.Clone(m.file)
	next[group] = mark{k.Replica, end}
	return m.writeLocked(next)
}

// writeLocked replaces the file, whole and durably.
func (m *marks) writeLocked(next map[uint32]mark) error {
	body, err := json.Marshal(marksContent{Format: marksFormat, Groups: next})
	if err != nil {
		return err
	}
	// From here on it may be in the file, whatever becomes of this write.
	for group, k := range next {
		if m.file[group].Index < k.Index {
			m.file[group] = k
		}
	}
	if err := m.replace(binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))); err != nil {
		return fmt.Errorf("write %s: %w", m.path, err)
	}
	m.file = next
	return nil
}

// replace is what internal/atomicfile does, on the file system of the log store:
// tests take both back to one moment.
func (m *marks) replace(content []byte) error {
	tmp := m.path + tmpSuffix
	f, err := m.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := m.fs.Rename(tmp, m.path); err != nil {
		return err
	}
	dir, err := m.fs.OpenDir(filepath.Dir(m.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// halt ends the goroutine and waits for it.
func (m *marks) halt() {
	close(m.stop)
	<-m.done
}

// close brings the marks to the ends of the logs, which nobody writes any more.
func (m *marks) close() {
	m.halt()
	m.advance()
}
