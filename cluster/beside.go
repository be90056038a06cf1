package cluster

import "time"

// beside is how a node does what goes on beside the answering of a request. In the
// deterministic simulation one thing happens at a time, so that has its own.
type beside interface {
	// watch runs f in a goroutine after d, until what f goes by ends it. end keeps f
	// from beginning, or waits for its end. The simulation does by hand what loops do,
	// and watches over nothing.
	watch(d time.Duration, f func()) (end func())
	// do runs f, which others wait for, in a goroutine; the simulation runs it at once.
	do(f func())
}

// goroutines are beside as it really is.
type goroutines struct{}

func (goroutines) watch(d time.Duration, f func()) (end func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(done)
		f()
	})
	return func() {
		if timer.Stop() {
			close(done)
		}
		<-done
	}
}

func (goroutines) do(f func()) { go f() }
