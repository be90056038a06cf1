package shard

import (
	"io"
	"sync/atomic"
	"time"
)

const (
	// paceShare is which part of the time a snapshot is written in; the rest is
	// for the commands of clients. Encoding and writing take a processor and the
	// disk from them, and there is no hurry.
	paceShare = 4
	// paceMaxPause bounds the pause after one piece, however slow that was.
	paceMaxPause = 250 * time.Millisecond
	// lateFactor times the log that makes a snapshot due make it late: no pauses are
	// made before it is written. So under a load for which the share is too small, and
	// with many groups that wait for their turn, the log stays bounded.
	lateFactor = 4
)

// turns lets the groups of a host write their snapshots one after the other. It is
// safe for concurrent use.
type turns struct {
	// token has room for one while no group writes.
	token chan struct{}
	// late counts the groups whose snapshot is late, the one that writes among them.
	late atomic.Int32
}

func newTurns() *turns { return &turns{token: make(chan struct{}, 1)} }

// pacedWriter pauses after each piece for as long as keeps the share. The time
// between two pieces counts as that of making the second. It does not pause while
// a snapshot is late on its host, nor when stop is closed.
type pacedWriter struct {
	w     io.Writer
	turns *turns
	stop  <-chan struct{}
	// since is when the last pause ended.
	since time.Time
}

func newPacedWriter(w io.Writer, t *turns, stop <-chan struct{}) *pacedWriter {
	return &pacedWriter{w: w, turns: t, stop: stop, since: time.Now()}
}

// Write writes a piece, and pauses.
func (p *pacedWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil {
		return n, err
	}
	if p.turns.late.Load() > 0 {
		p.since = time.Now()
		return n, nil
	}
	timer := time.NewTimer(min((paceShare-1)*time.Since(p.since), paceMaxPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.stop:
	}
	p.since = time.Now()
	return n, nil
}

// countingReader counts the bytes read from r.
type countingReader struct {
	r io.Reader
	n int64
}

// Read reads from r.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
