package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	"github.com/spexio/spex/shard/store"
)

// How long things take in tenths of the route budget, which leaves an ordinary
// failover its time: five seconds make two until a request is refused.
const (
	// firstLook is when a request that is still without an answer has it looked into
	// whether this node is cut off. When it was found to be, the next one does at once.
	firstLook = 3
	// lookPatience is how long the other replicas have to answer then, and how long
	// after it the next look comes.
	lookPatience = 1
	// looksHold is for how long what was found is believed without another look.
	looksHold = 2
)

// reach finds out whether this node is cut off from a group, so that it need not
// spend the whole route budget on requests that it cannot have answered. Only
// requests without an answer ask, and while no leader is known here.
type reach struct {
	node *Node

	mu    sync.Mutex // guards looks
	looks map[uint32]*reachLook
}

// reachLook is one asking of the replicas of a group.
type reachLook struct {
	// done is closed when it is over, with at and cut set.
	done chan struct{}
	at   time.Time
	// cut says that the node is cut off, and how.
	cut error
}

// cutOffError is the cause of the end of requests that are refused because of it.
type cutOffError struct{ error }

// watch returns a context that ends when this node is found to be cut off from the
// group. stop ends it too, and waits for what watch started.
func (r *reach) watch(ctx context.Context, group uint32) (watched context.Context, stop func()) {
	watched, end := context.WithCancelCause(ctx)
	wait := r.tenths(firstLook)
	if r.last(group) != nil {
		wait = 0
	}
	unwatch := r.node.cfg.beside.watch(wait, func() {
		for watched.Err() == nil {
			if cut := r.cutOff(watched, group); cut != nil {
				end(cutOffError{cut})
			}
			_ = sleep(watched, r.tenths(lookPatience))
		}
	})
	return watched, func() {
		end(nil)
		unwatch()
	}
}

func (r *reach) tenths(n int) time.Duration {
	return time.Duration(n) * r.node.cfg.RouteBudget / 10
}

// cutOff says why this node cannot have a request of the group answered, nil while
// it may. It is sure only when no leader is known here, none of the replicas that
// answer leads, and they are no majority, this node included, that could elect one.
func (r *reach) cutOff(ctx context.Context, group uint32) error {
	if r.leaderKnown(group) {
		r.forget(group)
		return nil
	}
	if cut := r.lately(group); cut != nil {
		return cut
	}
	r.mu.Lock()
	l := r.looks[group]
	mine := l == nil || l.over()
	if mine {
		l = &reachLook{done: make(chan struct{})}
		r.looks[group] = l
	}
	r.mu.Unlock()
	if mine {
		l.cut = r.look(ctx, group)
		l.at = time.Now()
		close(l.done)
	}
	select {
	case <-l.done:
		return l.cut
	case <-ctx.Done():
		return nil
	}
}

func (l *reachLook) over() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// last returns the last look if it found that the node is cut off.
func (r *reach) last(group uint32) *reachLook {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.looks[group]; l != nil && l.over() && l.cut != nil {
		return l
	}
	return nil
}

// lately returns what the last look found if that was a moment ago.
func (r *reach) lately(group uint32) error {
	if l := r.last(group); l != nil && time.Since(l.at) <= r.tenths(looksHold) {
		return l.cut
	}
	return nil
}

// forget makes the next request without a leader wait before it has that looked into.
func (r *reach) forget(group uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.looks[group]; l != nil && l.over() {
		delete(r.looks, group)
	}
}

func (r *reach) leaderKnown(group uint32) bool {
	g, here := r.node.host.Get(group)
	if !here {
		return false
	}
	_, known := g.Leader()
	return known
}

// look finds out whether the node is cut off. It finds nothing when ctx ends first.
func (r *reach) look(ctx context.Context, group uint32) error {
	voters, name := r.voters(group)
	leader, answered := r.ask(ctx, group, voters)
	if _, here := r.node.host.Get(group); !here && 2*answered <= len(voters) {
		// No replica here misses a leader too: a moment in which others are slow is
		// not enough.
		leader, answered = r.ask(ctx, group, voters)
	}
	if len(voters) == 0 || leader != "" || ctx.Err() != nil || 2*answered > len(voters) {
		return nil
	}
	return fmt.Errorf("this node is cut off: of the %d replicas of %s it reaches %d, itself included, which are no majority", len(voters), name, answered)
}

// successor returns another leader than the one that is being asked, as soon as a new
// hint names it or it says itself that it leads, "" when ctx ends first. A router without a replica
// of the group has nobody else to tell it that the leader hangs or was cut off.
func (r *reach) successor(ctx context.Context, group uint32, asked string) string {
	heard := r.node.cfg.Hints.Of(group).Term
	for {
		if leader := r.node.router.pause(ctx, group, asked, heard, r.tenths(lookPatience)); leader != "" || ctx.Err() != nil {
			return leader
		}
		voters, _ := r.voters(group)
		if leader, _ := r.ask(ctx, group, voters); leader != "" && leader != asked {
			return leader
		}
	}
}

// ask asks all replicas of a group at once: who of them leads, and how many answer,
// this node included if it is one of them.
func (r *reach) ask(ctx context.Context, group uint32, voters []string) (leader string, answered int) {
	ctx, cancel := context.WithTimeout(ctx, r.tenths(lookPatience))
	defer cancel()
	said := r.node.askMembers(ctx, group, voters, func(map[groupKey]*peerv1.GroupStatus) bool { return false })
	leader, _ = newestLeader(group, voters, said)
	return leader, len(said)
}

// voters are the replicas that elect the group's leader, as far as is known here.
func (r *reach) voters(group uint32) (ids []string, name string) {
	name = "the catalog"
	if group != store.CatalogGroup {
		name = fmt.Sprintf("shard %d", group)
	}
	placed := r.node.catalog.machine.Placement(group).GetReplicas()
	// A replica that is on its way out may not know who came after it.
	if g, here := r.node.host.Get(group); here && (len(placed) == 0 || slices.Contains(placed, r.node.cfg.Self.GetId())) {
		if ids, _ = g.Members(); len(ids) > 0 {
			return ids, name
		}
	}
	return placed, name
}

// cutOffBy returns why ctx was ended by a watch, nil if it was not.
func cutOffBy(ctx context.Context) error {
	var cut cutOffError
	if errors.As(context.Cause(ctx), &cut) {
		return cut.error
	}
	return nil
}
