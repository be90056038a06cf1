package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Breaker does things to nodes. Its methods are called by one goroutine.
type Breaker interface {
	// Nodes are the names of the nodes that it can break, as the cluster knows them.
	Nodes() []string
	// Break begins a fault; Mend undoes it, and is called also when Break failed.
	Break(ctx context.Context, node string, kind FaultKind) error
	Mend(ctx context.Context, node string, kind FaultKind) error
}

// Schedule says which faults are made.
type Schedule struct {
	// Kinds are taken in turn.
	Kinds []FaultKind
	// Count ends the faults after so many; 0 means when the context ends.
	Count int
	// Hold is how long a fault lasts, Settle how long the cluster is left alone after
	// it is whole again.
	Hold, Settle time.Duration
	// Patience is how long the cluster may take to be whole, before the first fault and
	// after each; 0 means a minute. One that takes longer gets no more faults: Inject
	// ends with an error.
	Patience time.Duration
	// Seed chooses the nodes: half of the time the one that leads most shards.
	Seed uint64
	// Tell is told of every fault when it begins and, with End set, when it is over;
	// nil means that nobody is.
	Tell func(Fault)
}

// Validate says what is wrong with a schedule for a breaker.
func (s Schedule) Validate(b Breaker) error {
	if len(s.Kinds) == 0 {
		return errors.New("drill: no kind of fault is asked for")
	}
	for _, k := range s.Kinds {
		if !slices.Contains(FaultKinds(), k) {
			return fmt.Errorf("drill: there is no fault %q: use kill, pause or isolate", k)
		}
	}
	if len(b.Nodes()) == 0 {
		return errors.New("drill: there is no node to break")
	}
	if s.Count < 0 || s.Hold < 0 || s.Settle < 0 || s.Patience < 0 {
		return errors.New("drill: a number or a time of the schedule is negative")
	}
	return nil
}

// Inject breaks nodes while Run is under way in another goroutine, one after the
// other, and returns what it did, beside an error too. It breaks a node only while
// the cluster is whole, and ends with an error when that takes too long or a fault
// could not be undone; a fault that could not be made is told in Fault.Error. The
// end of ctx is no error, and a fault that it kept from being made is not listed.
// Whatever it broke is mended when it returns, or the error says that it is not.
func (w *Workload) Inject(ctx context.Context, b Breaker, s Schedule) ([]Fault, error) {
	if err := s.Validate(b); err != nil {
		return nil, err
	}
	if s.Patience == 0 {
		s.Patience = time.Minute
	}
	if s.Tell == nil {
		s.Tell = func(Fault) {}
	}
	for w.Acknowledged() == 0 && ctx.Err() == nil {
		pause(ctx, wholePause)
	}
	rng := rand.New(rand.NewPCG(s.Seed, 0))
	var faults []Fault
	if err := w.awaitWhole(ctx, s.Patience); err != nil {
		return nil, fmt.Errorf("drill: nothing was broken: %w", err)
	}
	for n := 0; s.Count == 0 || n < s.Count; n++ {
		if pause(ctx, s.Settle); ctx.Err() != nil {
			break
		}
		f := w.choose(ctx, rng, b.Nodes())
		f.Kind = s.Kinds[n%len(s.Kinds)]
		f, err := w.fault(ctx, b, s, f)
		if errors.Is(err, errGivenUp) {
			break
		}
		if faults = append(faults, f); err != nil {
			return faults, fmt.Errorf("drill: no more faults after %s %s: %w", f.Kind, f.Node, err)
		}
	}
	return faults, nil
}

// choose takes a node.
func (w *Workload) choose(ctx context.Context, rng *rand.Rand, nodes []string) Fault {
	leads := map[string]int{}
	if st, err := w.status(ctx); err == nil {
		for _, shard := range st.GetShards() {
			leads[shard.GetLeaderName()]++
		}
	}
	node := nodes[rng.IntN(len(nodes))]
	if rng.IntN(2) == 0 {
		for _, other := range nodes {
			if leads[other] > leads[node] {
				node = other
			}
		}
	}
	return Fault{Node: node, Leaderships: leads[node]}
}

// mendTime is how long a fault may take to be undone.
const mendTime = 2 * time.Minute

// errGivenUp says that the context ended before a fault was made.
var errGivenUp = errors.New("the drill ended before the fault was made")

// fault makes one fault and undoes it, whatever happens. The error says why there
// must not be another one.
func (w *Workload) fault(ctx context.Context, b Breaker, s Schedule, f Fault) (Fault, error) {
	f.Begin = w.now()
	s.Tell(f)
	defer func() { s.Tell(f) }()
	err := b.Break(ctx, f.Node, f.Kind)
	givenUp := err != nil && ctx.Err() != nil
	if err == nil {
		pause(ctx, s.Hold)
	}
	mend, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendTime)
	defer cancel()
	failed := b.Mend(mend, f.Node, f.Kind)
	if failed != nil {
		failed = fmt.Errorf("undo it: %w", failed)
	}
	f.End = w.now()
	if err := errors.Join(err, failed); err != nil {
		f.Error = err.Error()
	}
	switch {
	case failed != nil:
		return f, failed
	case givenUp:
		return f, errGivenUp
	}
	if err := w.awaitWhole(ctx, s.Patience); err != nil {
		return f, err
	}
	if ctx.Err() == nil {
		f.Whole = w.now()
	}
	return f, nil
}

const (
	// wholePause is the time between two looks at the cluster.
	wholePause = 100 * time.Millisecond
	// smallLag is how many entries a replica may be behind under load.
	smallLag = 64
)

// awaitWhole waits until the cluster has nothing to catch up with. That ctx ends
// meanwhile is no error.
func (w *Workload) awaitWhole(ctx context.Context, patience time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	why := "nobody tells its status"
	for {
		if st, err := w.status(wait); err == nil {
			if why = notWhole(st); why == "" {
				return nil
			}
		}
		if pause(wait, wholePause); ctx.Err() != nil {
			return nil
		} else if wait.Err() != nil {
			return fmt.Errorf("the cluster is not whole after %s: %s", patience, why)
		}
	}
}

func (w *Workload) status(ctx context.Context) (*spexv1.GetStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.CallTimeout)
	defer cancel()
	return w.control.Status(ctx, false)
}

// notWhole says which node does not answer or which replica does not follow, "" for none.
func notWhole(st *spexv1.GetStatusResponse) string {
	for _, n := range st.GetNodes() {
		if !n.GetReachable() {
			return fmt.Sprintf("node %s does not answer", n.GetName())
		}
	}
	for _, s := range append(st.GetShards(), st.GetCatalog()) {
		if s.GetLeader() == "" {
			return fmt.Sprintf("group %d has no leader", s.GetId())
		}
		for _, r := range s.GetReplicas() {
			if r.GetState() != "leader" && r.GetState() != "follower" || r.GetLag() > smallLag {
				return fmt.Sprintf("the replica of group %d on %s is %s and %d entries behind", s.GetId(), r.GetNodeName(), r.GetState(), r.GetLag())
			}
		}
	}
	if len(st.GetShards()) == 0 {
		return "it has no shards"
	}
	return ""
}

// Clean deletes the instances of the workload. The specification stays.
func (w *Workload) Clean(ctx context.Context) error {
	w.mu.Lock()
	ids := w.instances
	w.mu.Unlock()
	for _, id := range ids {
		if _, err := w.control.Delete(ctx, id); err != nil {
			return fmt.Errorf("drill: delete what is left of the workload: %w", err)
		}
	}
	return nil
}
