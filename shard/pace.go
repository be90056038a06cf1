package shard

import (
	"io"
	"time"
)

const (
	// paceShare is which part of the time a snapshot is written in; the rest is
	// for the commands of clients. Encoding and writing take a processor and the
	// disk from them, and there is no hurry.
	paceShare = 4
	// paceMaxPause bounds the pause after one piece, however slow that was.
	paceMaxPause = 250 * time.Millisecond
	// lateFactor times the log that makes a snapshot due make it late: it is written
	// without pauses. So under a load for which the share is too small, and with many
	// groups that wait for their turn, the log stays bounded.
	lateFactor = 4
)

// pacedWriter pauses after each piece for as long as keeps the share. The time
// between two pieces counts as that of making the second. When stop is closed it
// pauses no more.
type pacedWriter struct {
	w    io.Writer
	stop <-chan struct{}
	// since is when the last pause ended.
	since time.Time
}

func newPacedWriter(w io.Writer, stop <-chan struct{}) *pacedWriter {
	return &pacedWriter{w: w, stop: stop, since: time.Now()}
}

// Write writes a piece, and pauses.
func (p *pacedWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil {
		return n, err
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
