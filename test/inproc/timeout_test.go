package inproc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// timeLab gives the nodes of a cluster a clock that tests set forward, holds up
// leaders that are about to report a timeout, and looks into the replicas.
type timeLab struct {
	ahead atomic.Int64 // nanoseconds before the real time

	mu sync.Mutex // guards the fields below
	// held has the nodes that propose no deadlines before release, and reached
	// those of them that wanted to.
	held    map[int]chan struct{}
	reached map[int]bool
	// machines has the state of the one shard on each node.
	machines map[int]*fsm.Shard
}

func newTimeLab() *timeLab {
	return &timeLab{held: map[int]chan struct{}{}, reached: map[int]bool{}, machines: map[int]*fsm.Shard{}}
}

func (l *timeLab) configure(node int, cfg *transport.ServerConfig) {
	cfg.Hooks.Group = func(g *shard.Config) {
		g.Now = func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }
		if m, ok := g.Machine.(*fsm.Shard); ok {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.machines[node] = m
		}
	}
	cfg.Hooks.Deadlines = func(uint32, []fsm.Due) {
		l.mu.Lock()
		held := l.held[node]
		l.reached[node] = true
		l.mu.Unlock()
		if held != nil {
			<-held
		}
	}
}

func (l *timeLab) hold(node int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[node] = make(chan struct{})
}

// let lets go of one node.
func (l *timeLab) let(node int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[node])
	delete(l.held, node)
}

// release lets go of all nodes; it may be called twice.
func (l *timeLab) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, ch := range l.held {
		close(ch)
		delete(l.held, n)
	}
}

func (l *timeLab) hasReached(node int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached[node]
}

// events lists what a replica has reported about time.
func (l *timeLab) events(node int) []string {
	l.mu.Lock()
	m := l.machines[node]
	l.mu.Unlock()
	var list []string
	kinds := []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_TIMEOUT, typesv1.ReportKind_REPORT_KIND_PRUNED}
	for _, r := range m.Reports(0, fsm.ReportFilter{Kinds: kinds}, 1000).Reports {
		list = append(list, fmt.Sprintf("%s %s/%d", r.GetKind(), r.GetStep().GetKey().GetId(), r.GetStep().GetSeq()))
	}
	return list
}

// want waits until every node has applied a marker that is made now, and
// compares what they have reported until then.
func (l *timeLab) want(t *testing.T, c *Cluster, marker string, events ...string) {
	t.Helper()
	resp := mustInit(t, c.Client(), "timed", marker)
	for node := range 3 {
		Eventually(t, "the replicas to follow", func() bool {
			l.mu.Lock()
			m := l.machines[node]
			l.mu.Unlock()
			return m.Applied() >= resp.GetIndex()
		})
		if got := l.events(node); fmt.Sprint(got) != fmt.Sprint(events) {
			t.Fatalf("node %d has reported %q, want %q", node, got, events)
		}
	}
}

// TestDeadlinesAcrossLeaders: a leader is cut off after it has seen that a
// deadline passed and before it has reported it. Its successor reports the
// timeout, and nobody does so twice: not the old leader when it comes back, nor
// the nodes after all of them were restarted. Pruning works the same way, and a
// deadline that passes while the whole cluster is down is due when it is back.
func TestDeadlinesAcrossLeaders(t *testing.T) {
	t.Parallel()
	lab := newTimeLab()
	c := Start(t, Options{Shards: 1, Configure: lab.configure})
	t.Cleanup(lab.release)
	cl := c.Client()
	def := pingPong("timed")
	def.TransitionTimeout, def.PruneTimeout = durationpb.New(time.Hour), durationpb.New(6*time.Hour)
	def.PrunableStates = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_LIST, States: []string{"right"}}
	apply(t, cl, def)
	mustInit(t, cl, "timed", "waits")
	step(t, cl, "waits", "ping", "right")
	step(t, cl, "waits", "pong", "left")
	seal(t, cl, "timed")
	first := step(t, cl, "waits", "ping", "right")

	lab.ahead.Add(int64(59 * time.Minute))
	got, err := cl.Get(testContext(t), "waits")
	if err != nil || got.GetInstance().GetTimedOut() {
		t.Fatalf("%v, %v", got, err)
	}
	in := got.GetInstance()
	if d := in.GetDeadline().AsTime().Sub(in.GetUpdatedAt().AsTime()); d != time.Hour {
		t.Fatalf("the deadline is %v after the last step", d)
	}
	if d := in.GetPruneAt().AsTime().Sub(in.GetUpdatedAt().AsTime()); d != 6*time.Hour {
		t.Fatalf("the instance is pruned %v after the last step", d)
	}

	for node := range 3 { // whoever leads then
		lab.hold(node)
	}
	lab.ahead.Add(int64(2 * time.Minute))
	old := -1
	Eventually(t, "the leader to see that the deadline passed", func() bool {
		for node := range 3 {
			if lab.hasReached(node) {
				old = node
			}
		}
		return old >= 0
	})
	rest := []int{(old + 1) % 3, (old + 2) % 3}
	for node := range 3 {
		if got := lab.events(node); len(got) != 0 {
			t.Fatalf("node %d has reported %q before anybody proposed it", node, got)
		}
	}
	c.Partition(rest)
	for _, node := range rest {
		lab.let(node)
	}
	others := c.Client(rest...)
	Eventually(t, "the successor to report the timeout", func() bool {
		got, err := others.Get(testContext(t), "waits")
		return err == nil && got.GetInstance().GetTimedOut() && got.GetInstance().GetSeq() == first.GetSeq()
	})
	lab.release()
	c.Heal()
	timeout := fmt.Sprintf("REPORT_KIND_TIMEOUT waits/%d", first.GetSeq())
	lab.want(t, c, "marker-1", timeout)

	// Down when the time for pruning comes.
	for node := range 3 {
		c.MustStop(node)
	}
	lab.ahead.Add(int64(6 * time.Hour))
	for node := range 3 {
		c.Launch(node)
	}
	for node := range 3 {
		c.AwaitReady(node)
	}
	cl = c.Client()
	Eventually(t, "the instance to be pruned", func() bool {
		_, err := cl.Get(testContext(t), "waits")
		var e *client.Error
		return errors.As(err, &e) && e.Reason == typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND
	})
	// The first marker has timed out meanwhile too.
	Eventually(t, "the marker's timeout", func() bool { return len(lab.events(c.Leader(0, 1))) == 3 })
	lab.want(t, c, "marker-2", timeout, "REPORT_KIND_TIMEOUT marker-1/1", fmt.Sprintf("REPORT_KIND_PRUNED waits/%d", first.GetSeq()))
	if again := mustInit(t, cl, "timed", "waits"); again.GetIncarnation() <= first.GetIncarnation() {
		t.Fatalf("%v begins again as %v", first, again)
	}
}
