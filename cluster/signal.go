package cluster

// wake is a flag that a single worker sleeps on: setting it twice is one wake.
type wake chan struct{}

func newWake() wake { return make(wake, 1) }

func (w wake) set() {
	select {
	case w <- struct{}{}:
	default:
	}
}
