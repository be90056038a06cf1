package inproc

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// stand is a manager to be tested, with a clock that only the tests set forward.
type stand struct {
	m client.Manager
	// stopped ends the process of the manager, calls the function, and begins
	// another one that goes on with its state; nil for a manager in memory.
	stopped func(testing.TB, func())

	now atomic.Int64 // Unix nanoseconds

	mu sync.Mutex // guards the fields below
	// handle decides in the place of the handler; nil leaves it to the policy.
	handle func(*client.Event) error
	// events are what the handler saw, and failures what OnError was told.
	events, failures []client.Event
}

func (s *stand) restart(t testing.TB) {
	t.Helper()
	s.stopped(t, func() {})
}

// reset forgets what the case before has left.
func (s *stand) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle, s.events, s.failures = nil, nil, nil
}

func (s *stand) clock() time.Time { return time.Unix(0, s.now.Load()) }

// advance sets the clock forward.
func (s *stand) advance(d time.Duration) { s.now.Add(int64(d)) }

func (s *stand) decide(f func(*client.Event) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = f
}

func (s *stand) told() []client.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]client.Event(nil), s.events...)
}

func (s *stand) failed() []client.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]client.Event(nil), s.failures...)
}

// requestID makes an id of the stand's time.
func (s *stand) requestID() string {
	id, ms := uuid.New(), s.clock().UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6] = id[6]&0x0f | 0x70
	return id.String()
}

func (s *stand) handler(_ context.Context, e *client.Event) error {
	s.mu.Lock()
	s.events = append(s.events, *e)
	f := s.handle
	s.mu.Unlock()
	if f != nil {
		return f(e)
	}
	return e.Err
}

func (s *stand) async() client.Async {
	return client.Async{OnError: func(e *client.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failures = append(s.failures, *e)
	}}
}

// newStand begins at the real time, in whole milliseconds like request ids.
func newStand() *stand {
	s := &stand{}
	s.now.Store(time.Now().Truncate(time.Millisecond).UnixNano())
	return s
}

// inProcess is a manager in this process, in memory without a directory.
func inProcess(t *testing.T, dir string) *stand {
	s := newStand()
	open := func(t testing.TB) {
		t.Helper()
		m, err := local.Open(testContext(t), local.Options{Dir: dir, Now: s.clock, ManagerOptions: client.ManagerOptions{
			Handler: s.handler, Async: s.async(), NewRequestID: s.requestID,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.m = m
	}
	open(t)
	if dir != "" {
		s.stopped = func(t testing.TB, meanwhile func()) {
			t.Helper()
			if err := s.m.Close(); err != nil {
				t.Fatal(err)
			}
			meanwhile()
			open(t)
		}
	}
	return s
}

// onCluster is a cluster of one node and two shards: what more of them do to one
// another has tests of its own.
func onCluster(t *testing.T) *stand {
	s := newStand()
	c := Start(t, Options{Nodes: 1, Shards: 2, Replicas: 1, Configure: func(_ int, cfg *transport.ServerConfig) {
		cfg.Hooks.Now = s.clock
		cfg.Hooks.Group = func(g *shard.Config) { g.Now = s.clock }
	}})
	m, err := client.Dial(testContext(t), client.Options{
		Addresses: []string{c.Server(0).Addr()}, Handler: s.handler, Async: s.async(), NewRequestID: s.requestID,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.m = m
	s.stopped = func(t testing.TB, meanwhile func()) {
		t.Helper()
		c.MustStop(0)
		meanwhile()
		c.Relaunch(0)
		c.AwaitReady(0)
	}
	return s
}
