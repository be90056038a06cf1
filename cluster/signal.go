package cluster

import "sync"

// broadcast wakes everybody who waits for the next change of something. The
// zero value is ready to use.
type broadcast struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

// changed returns a channel that the next fire closes. Take it before looking
// at what may change.
func (b *broadcast) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) fire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// wake is a flag that a single worker sleeps on: setting it twice is one wake.
type wake chan struct{}

func newWake() wake { return make(wake, 1) }

func (w wake) set() {
	select {
	case w <- struct{}{}:
	default:
	}
}
