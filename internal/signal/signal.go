// Package signal tells goroutines that something has changed, without saying what.
package signal

import "sync"

// Broadcast wakes everybody who waits for the next change of something. The
// zero value is ready to use, and safe for concurrent use.
type Broadcast struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

// Changed returns a channel that the next Fire closes. Take it before looking
// at what may change.
func (b *Broadcast) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// Fire wakes those who wait now.
func (b *Broadcast) Fire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
