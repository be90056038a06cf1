package cluster

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	"github.com/spexio/spex/internal/callctx"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

const (
	firstPause = 10 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// router finds the leaders of groups.
type router struct {
	node  *Node
	reach *reach

	mu sync.Mutex // guards learned
	// learned has what other nodes answered about the leaders of groups.
	learned map[uint32]learned
}

// learned is whom an answer named as leader, nobody if it is "", and the term of the
// newest hint before it: a later one counts for more.
type learned struct {
	leader string
	term   uint64
}

func newRouter(n *Node) *router {
	return &router{node: n, reach: &reach{node: n, looks: map[uint32]*reachLook{}}, learned: map[uint32]learned{}}
}

// shardOf returns the shard that an identifier belongs to.
func (r *router) shardOf(namespace, id string) (uint32, error) {
	if s := r.node.catalog.machine.ShardOf(int(ring.SlotOf(namespace, id))); s != 0 {
		return s, nil
	}
	return 0, r.node.unavailable("this node does not have the catalog yet: try again, or ask another node")
}

// effect says what a request that was sent and not answered may have done.
type effect int

const (
	reads effect = iota
	writes
	// moves a leadership: it is not repeated when it may have been made. Each attempt
	// is a pause for the group, and one that failed fails again.
	moves
)

// toLeader calls f with the id of the node that probably leads the group, and
// again with another one while the answers say that somebody else leads, that
// nobody does, or that the node cannot be reached. f must be safe to repeat. It
// gives up at ctx's end or after the route budget, whichever is first, also when
// an answer is still out then: a node that has vanished never gives it. It gives
// up sooner when this node is found to be cut off from the group.
func (r *router) toLeader(ctx context.Context, group uint32, what effect, f func(ctx context.Context, target string) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
	defer cancel()
	ctx, stop := r.reach.watch(ctx, group)
	defer stop()
	target, pause := "", firstPause
	certain := true // no attempt can have been applied
	var last error
	for attempt := 0; ; attempt++ {
		if target == "" {
			target = r.candidate(group, attempt)
		}
		asked, heard := target, r.node.cfg.Hints.Of(group).Term
		if target != "" {
			err := r.attempt(ctx, group, target, what, f)
			if err == nil {
				return nil
			}
			e := asError(err)
			if e == nil && !endedByContext(err) || e != nil && !wanders(e) {
				return err
			}
			if e == nil {
				e = &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: err.Error()}
			}
			certain = certain && (e.NotApplied || what == reads)
			if what == moves && !certain {
				return e
			}
			last = err
			r.learn(group, e.LeaderID, heard)
			if e.LeaderID != "" && e.LeaderID != target {
				target = e.LeaderID
				if attempt < 3 {
					continue
				}
			} else {
				target = ""
			}
		}
		if ctx.Err() != nil {
			return r.exhausted(ctx, group, last, certain)
		}
		found := r.pause(ctx, group, asked, heard, pause/2+r.node.cfg.jitter(pause/2))
		if ctx.Err() != nil {
			return r.exhausted(ctx, group, last, certain)
		}
		if pause = min(2*pause, maxPause); found != "" {
			target, pause = found, firstPause
		}
	}
}

// pause waits for d, or until the replica here, or a hint of a later term than heard,
// knows of a leader other than the one that was asked, which it returns.
func (r *router) pause(ctx context.Context, group uint32, asked string, heard uint64, d time.Duration) string {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		var changed <-chan struct{}
		hinted := r.node.cfg.Hints.changes.Changed()
		if leader := r.laterHint(group, heard); leader != "" && leader != asked {
			return leader
		}
		if g, here := r.node.host.Get(group); here {
			changed = g.Changes()
			if leader, known := g.Leader(); known && leader != asked {
				return leader
			}
		}
		select {
		case <-changed:
		case <-hinted:
		case <-timer.C:
			return ""
		case <-ctx.Done():
			return ""
		}
	}
}

// attempt calls f for one target, and ends that when the replica here sees the
// target lose its leadership: the answer of a leader that was cut off may never
// come, while its successor would answer at once. A leader that is asked to hand
// its leadership on answers when it has lost it.
func (r *router) attempt(ctx context.Context, group uint32, target string, what effect, f func(ctx context.Context, target string) error) error {
	g, here := r.node.host.Get(group)
	switch {
	case what == moves || target == r.node.cfg.Self.GetId():
		return f(ctx, target)
	case !here:
		return r.attemptElsewhere(ctx, group, target, f)
	}
	if leader, _ := g.Leader(); leader != target {
		return f(ctx, target)
	}
	ctx, cancel := context.WithCancel(ctx)
	unwatch := r.node.cfg.beside.watch(0, func() {
		defer cancel()
		for {
			changed := g.Changes()
			if leader, _ := g.Leader(); leader != target {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	err := f(ctx, target)
	cancel()
	unwatch()
	return err
}

// attemptElsewhere is attempt for a group that has no replica here: those of other
// nodes are asked who leads by now.
func (r *router) attemptElsewhere(ctx context.Context, group uint32, target string, f func(ctx context.Context, target string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	leader := ""
	unwatch := r.node.cfg.beside.watch(0, func() {
		leader = r.reach.successor(ctx, group, target)
		cancel()
	})
	err := f(ctx, target)
	cancel()
	unwatch()
	if e := asError(err); leader == "" || err == nil || e != nil && !wanders(e) || e == nil && !endedByContext(err) {
		return err
	}
	e := r.node.unavailable("node %s has not answered, and %s leads by now: %v", target, leader, err)
	e.NotApplied, e.LeaderID = false, leader
	return e
}

func endedByContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// wanders reports whether another node, or the same one later, may do better.
func wanders(e *fsm.Error) bool {
	switch e.Reason {
	case typesv1.Reason_REASON_NOT_LEADER, typesv1.Reason_REASON_NO_LEADER, typesv1.Reason_REASON_UNAVAILABLE,
		typesv1.Reason_REASON_WRONG_TARGET, typesv1.Reason_REASON_GROUP_HALTED,
		// A node that joins is not sure of its cluster for a moment.
		typesv1.Reason_REASON_WRONG_CLUSTER:
		return true
	}
	return false
}

// exhausted is the error of a request that found no leader in time.
func (r *router) exhausted(ctx context.Context, group uint32, last error, certain bool) error {
	what := "the catalog"
	if group != store.CatalogGroup {
		what = "the shard of the instance"
	}
	e := fsm.Errorf(typesv1.Reason_REASON_NO_LEADER, "no leader of %s answered in time", what)
	e.Shard = group
	if cut := cutOffBy(ctx); cut != nil {
		e.Message = cut.Error()
	}
	if !certain {
		e.Reason, e.NotApplied = typesv1.Reason_REASON_UNAVAILABLE, false
		e.Message += "; the request may have been applied: send it again with the same request id"
	}
	if last != nil {
		e.Message += " (last: " + last.Error() + ")"
	}
	return e
}

// learn takes down what an answer says; heard is the term of the newest hint before it
// was asked for.
func (r *router) learn(group uint32, leader string, heard uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.learned[group] = learned{leader, heard}
}

// laterHint is the leader that a hint of a later term than the given one names, or "".
func (r *router) laterHint(group uint32, term uint64) string {
	if hint := r.node.cfg.Hints.Of(group); hint.Term > term {
		return hint.Leader
	}
	return ""
}

// candidate names a node to ask: what the replica here knows, then what others
// said, by answers or hints, then the replicas in turn.
func (r *router) candidate(group uint32, attempt int) string {
	if attempt < 4 || attempt%2 == 0 {
		if g, ok := r.node.host.Get(group); ok {
			if id, known := g.Leader(); known {
				return id
			}
		}
		r.mu.Lock()
		said := r.learned[group]
		r.mu.Unlock()
		if leader := cmp.Or(r.laterHint(group, said.term), said.leader); leader != "" {
			return leader
		}
	}
	var replicas []string
	if group == store.CatalogGroup {
		for _, n := range r.node.catalog.machine.Nodes() {
			replicas = append(replicas, n.GetId())
		}
	} else if p := r.node.catalog.machine.Placement(group); p != nil {
		replicas = p.GetReplicas()
	}
	if len(replicas) == 0 {
		return ""
	}
	return replicas[attempt%len(replicas)]
}

// onShard has the leader of a shard answer a request. The request must be one
// that may be applied twice: a read, or a write with a request id.
func (r *router) onShard(ctx context.Context, id uint32, req *peerv1.ForwardRequest) (resp *peerv1.ForwardResponse, err error) {
	req.Target = &peerv1.Target{Group: id}
	req.Principal = callctx.Principal(ctx)
	err = r.toLeader(ctx, id, effectOf(req), func(ctx context.Context, target string) (err error) {
		resp, err = r.ask(ctx, id, target, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// effectOf takes what it does not know for a write: of a read nobody minds that it
// may have been applied.
func effectOf(req *peerv1.ForwardRequest) effect {
	switch req.GetRequest().(type) {
	case *peerv1.ForwardRequest_Get, *peerv1.ForwardRequest_History, *peerv1.ForwardRequest_List,
		*peerv1.ForwardRequest_Deviations, *peerv1.ForwardRequest_Reports:
		return reads
	}
	return writes
}

func (r *router) ask(ctx context.Context, id uint32, target string, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	if target != r.node.cfg.Self.GetId() {
		failpoint.Hit("cluster/before-forward")
		resp, err := r.node.cfg.Peers.Forward(ctx, target, req)
		if err == nil {
			failpoint.Hit("cluster/forwarded-before-reply")
		}
		return resp, err
	}
	rep, err := r.node.replica(id)
	if rep == nil {
		return nil, r.node.notHere(id, err)
	}
	return rep.serve(ctx, req)
}

// onReplica has any replica of a shard answer a stale read: the one here if
// there is one, else the others in turn.
func (r *router) onReplica(ctx context.Context, id uint32, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	req.Target = &peerv1.Target{Group: id}
	if rep, _ := r.node.replica(id); rep != nil {
		return rep.serve(ctx, req)
	}
	p := r.node.catalog.machine.Placement(id)
	var last error = r.node.notHere(id, nil)
	for i, target := range p.GetReplicas() {
		if target == r.node.cfg.Self.GetId() {
			continue
		}
		// A node that does not answer must leave time for the next one.
		call, cancel := shareOf(ctx, len(p.GetReplicas())-i)
		resp, err := r.node.cfg.Peers.Forward(call, target, req)
		cancel()
		if err == nil {
			return resp, nil
		}
		if e := asError(err); e == nil || !wanders(e) {
			return nil, err
		}
		last = err
	}
	return nil, last
}

// shareOf gives an n-th of the time that ctx has left.
func shareOf(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
	}
	return context.WithCancel(ctx)
}

// read picks between the leader and any replica.
func (r *router) read(ctx context.Context, id uint32, stale bool, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	if stale {
		return r.onReplica(ctx, id, req)
	}
	if broken.Enabled {
		if rep, _ := r.node.replica(id); rep != nil {
			if g, ok := rep.group.(*shard.Group); ok && shard.LedLately(g) {
				return rep.serve(ctx, req)
			}
		}
	}
	return r.onShard(ctx, id, req)
}

func (n *Node) notHere(id uint32, refused error) error {
	if refused != nil {
		e := n.unavailable("shard %d cannot be opened on this node: %v", id, refused)
		e.Shard = id
		return e
	}
	e := fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET, "shard %d is not on this node", id)
	e.Shard = id
	return e
}
