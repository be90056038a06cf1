package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progressEvery is how often the progress line is drawn.
const progressEvery = 200 * time.Millisecond

// progress draws a line on a terminal again and again. stop ends it.
type progress struct {
	done chan struct{}
	// drawing is waited for by stop, so that nothing is drawn afterwards.
	drawing sync.WaitGroup
}

// startProgress draws what line says on stderr until stop is called. Without a
// terminal it draws nothing: a log file is no place for a moving line.
func (a *app) startProgress(line func() string) *progress {
	p := &progress{done: make(chan struct{})}
	if a.stderrTTY && a.env("TERM") != "dumb" {
		p.drawing.Go(func() { p.draw(a.stderr, line) })
	}
	return p
}

func (p *progress) draw(w io.Writer, line func() string) {
	const clear = "\r\x1b[K"
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprint(w, clear+line())
		case <-p.done:
			fmt.Fprint(w, clear)
			return
		}
	}
}

// stop removes the line. It returns when nothing more will be drawn.
func (p *progress) stop() {
	close(p.done)
	p.drawing.Wait()
}

// progressBar is a bar of 20 characters.
func progressBar(done, total int64) string {
	const width = 20
	full := int(min(done, total) * width / total)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "]"
}
