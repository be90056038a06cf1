package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// goodSkew is how far good clocks are off at most.
const goodSkew = 2 * time.Second

// simMove is something that can happen, as often as its weight says.
type simMove struct {
	weight int
	do     func()
}

// step lets one thing happen.
func (w *world) step() {
	if w.broken != "" {
		return
	}
	actions := []simMove{
		{30, w.clients.act},
		{25, w.workOfShard},
		{8, w.workOfCatalog},
		{12, w.replicate},
		{6, w.workOfNode},
		{4, w.snapshot},
		{6, w.pass},
		{10, w.electSome},
	}
	if w.faults {
		actions = append(actions, []simMove{
			{2, w.crashSome}, {4, w.startSome}, {2, w.cutSome}, {4, w.mendSome}, {2, w.jump}, {2, w.deliver}, {1, w.loseLeader}, {2, w.usurp}, {2, w.operate},
		}...)
	}
	if w.faults && w.moves() {
		actions = append(actions, []simMove{{30, w.clients.act}, {15, w.workOfShard}, {40, w.workOfPlacement}, {20, w.workOfNode}, {8, w.deliver}, {14, w.operate}}...)
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := w.rng.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			a.do()
			return
		}
	}
}

// moves tells whether the schedule is one about placement, as every second is.
func (w *world) moves() bool { return w.seed/9%2 == 1 }

// sealsEarly tells whether the model is sealed when little has been learned, so that
// most of what comes later awaits a verdict: in every second schedule, whether it is one
// about placement or not.
func (w *world) sealsEarly() bool { return w.seed/18%2 == 1 }

// sealEarly begins a seal after a few requests; the faults come before it is done.
func (w *world) sealEarly() {
	for range w.rng.IntN(12) {
		w.clients.act()
	}
	w.seal(w.log(0).leader.proc)
}

// believers lists who takes itself for the leader of a group.
func (w *world) believers(group uint32) (list []*worldProc) {
	for _, n := range w.up() {
		if r := n.proc.replicas[group]; r != nil && r.leads {
			list = append(list, n.proc)
		}
	}
	return list
}

// workOfPlacement is what moves a replica: a round of placement, of the nodes that
// are asked to open or to delete one, and a little time.
func (w *world) workOfPlacement() {
	if believers := w.believers(0); len(believers) > 0 {
		w.catalogRound(pick(w, believers), 2)
	}
	time.Sleep(time.Duration(w.rng.IntN(1500)) * time.Millisecond)
}

func (w *world) someProc() *worldProc {
	if up := w.up(); len(up) > 0 {
		return pick(w, up).proc
	}
	return nil
}

// workOfShard is a round of one of the loops of a shard's leader.
func (w *world) workOfShard() {
	shard := uint32(1 + w.rng.IntN(int(w.shards)))
	if believers := w.believers(shard); len(believers) > 0 {
		w.leaderRound(pick(w, believers), shard, w.rng.IntN(4))
	}
}

func (w *world) leaderRound(p *worldProc, shard uint32, what int) {
	r, _ := p.node.replica(shard)
	if r == nil || p.replicas[shard] == nil || !p.replicas[shard].leads {
		return
	}
	switch what {
	case 0:
		w.once(p, shard, "judge", func(ctx context.Context) { _ = r.judgeAll(ctx) })
	case 1:
		w.once(p, shard, "sync", func(ctx context.Context) {
			if w.rng.IntN(8) == 0 {
				r.inStep.Store(0)
			}
			_, _ = r.syncOnce(ctx)
		})
	case 2:
		if w.breaks == timersAsleep {
			return
		}
		w.once(p, shard, "timers", func(ctx context.Context) { r.timers.pass(ctx) })
	case 3:
		if !p.node.catalog.machine.Placement(shard).GetFormed() {
			w.once(p, shard, "form", func(ctx context.Context) { r.markFormed(ctx) })
		}
	}
}

// workOfCatalog is a round of one of the loops of the catalog's leader.
func (w *world) workOfCatalog() {
	if believers := w.believers(0); len(believers) > 0 {
		w.catalogRound(pick(w, believers), w.rng.IntN(3))
	}
}

func (w *world) catalogRound(p *worldProc, what int) {
	term, leading := p.replicas[0].Leading()
	if !leading {
		return
	}
	c := p.node.catalog
	switch what {
	case 0:
		w.once(p, 0, "end in time", func(ctx context.Context) { c.endInTime(ctx) })
	case 1:
		w.once(p, 0, "judge together", func(ctx context.Context) {
			for _, m := range c.machine.Models() {
				_, _ = c.judgeTogether(ctx, m)
			}
		})
	case 2:
		w.once(p, 0, "place", func(ctx context.Context) {
			if placing := p.node.placer; p.placed != term {
				placing.remember(memory{})
				p.placed = term
			}
			p.looked = w.disturbed
			var changes sync.WaitGroup
			w.placing(ctx, p, term, &changes)
			changes.Wait()
		})
	}
}

// workOfNode is a round of one of the loops that every node has.
func (w *world) workOfNode() {
	if p := w.someProc(); p != nil {
		w.nodeRound(p, w.rng.IntN(4))
		w.join(w.nodes[p.id])
	}
}

func (w *world) nodeRound(p *worldProc, what int) {
	switch what {
	case 0:
		w.once(p, 0, "open", func(ctx context.Context) {
			if p.current = p.current || p.node.catalogCurrent(ctx); p.current && !p.dead {
				p.node.openPlaced(p.since)
			}
			p.node.finish(ctx)
			if !p.pinned && p.node.ClusterID() != "" {
				// As leadLoop does, so that a node that restarts knows its cluster.
				p.pinned = p.node.catalog.group.Snapshot(ctx) == nil
			}
		})
	case 1:
		w.once(p, 0, "lose", func(ctx context.Context) {
			lost := p.node.lost()
			slices.Sort(lost)
			for _, id := range lost {
				w.losing(ctx, p.node, id)
			}
		})
	case 2:
		w.once(p, 0, "measure", func(ctx context.Context) { p.node.clock.measure(ctx) })
	case 3:
		w.once(p, 0, "belong", func(ctx context.Context) { w.belong(ctx, p) })
	}
}

// belong is a round of belongLoop: of a node whose catalog says that it was removed,
// or that hears of no leader and asks.
func (w *world) belong(ctx context.Context, p *worldProc) {
	g, id := p.replicas[0], p.id
	if l := g.log; l.leader != g && (l.leader == nil || l.leader.proc.id != g.leader || !w.linked(id, g.leader) || !g.member()) {
		g.leader = "" // it misses the leader's heartbeats
	}
	told := p.node.catalog.machine.NodeState(id) == statev1.NodeState_NODE_STATE_GONE
	voters, nonvoters := g.Members()
	_, led := g.Leader()
	if !told && p.node.ClusterID() != "" && (!led || !slices.Contains(slices.Concat(voters, nonvoters), id)) {
		call, cancel := context.WithTimeout(ctx, routeTime)
		defer cancel()
		_, err := p.node.catalog.send(call, p.node.registration())
		told = fsm.ReasonOf(err) == typesv1.Reason_REASON_NODE_REMOVED
	}
	if n := w.nodes[id]; told && n.proc == p {
		if !w.isGone(id) {
			w.fail("%s is told that it is gone, and it is not", id)
		}
		w.trace("%s is gone", id)
		w.counts["gone"]++
		n.gone = true
		w.crash(n)
	}
}

// join has a node that is new ask another one to be let in.
func (w *world) join(n *worldNode) {
	if n.proc == nil || n.gone || w.check.catalog.NodeState(n.id) != statev1.NodeState_NODE_STATE_UNSPECIFIED {
		return
	}
	if to := pick(w, w.order); to != n.id {
		w.once(n.proc, 0, "join", func(ctx context.Context) {
			_, _ = n.proc.node.cfg.Peers.Join(ctx, to, &peerv1.JoinRequest{
				Target: &peerv1.Target{From: n.id}, ClusterName: "sim", Node: w.member(n.id).Node(),
			})
		})
	}
}

// replicate has a leader send what it has to somebody.
func (w *world) replicate() {
	l := w.log(uint32(w.rng.IntN(int(w.shards) + 1)))
	if l.leader == nil {
		return
	}
	if w.rng.IntN(3) == 0 {
		l.finish()
	}
	others := l.reachable(l.leader, l.members())
	if len(others) == 0 {
		return
	}
	to := pick(w, others)
	if to != l.leader {
		l.send(l.leader, to, to.disk.has+w.rng.IntN(len(l.entries)-to.disk.has+1))
		l.share(l.leader, to, w.rng.IntN(len(l.leader.disk.tail)+1))
	}
}

func (w *world) snapshot() {
	if p := w.someProc(); p != nil {
		if r := p.replicas[uint32(w.rng.IntN(int(w.shards)+1))]; r != nil {
			_ = r.Snapshot(p.node.ctx)
		}
	}
}

// pass lets time pass.
func (w *world) pass() {
	d := time.Duration(w.rng.IntN(500)) * time.Millisecond
	switch w.rng.IntN(12) {
	case 0:
		d = time.Duration(w.rng.IntN(40)) * time.Second
	case 1:
		d = specTimeout + time.Duration(w.rng.IntN(3)-1)*time.Millisecond
	case 2:
		if w.rng.IntN(5) == 0 {
			d = specPrune + time.Second
		}
	}
	time.Sleep(d)
}

// electSome lets somebody stand for an election, where nobody leads above all.
func (w *world) electSome() {
	l := w.log(uint32(w.rng.IntN(int(w.shards) + 1)))
	led := l.leader != nil && majority(l.voters, l.reachable(l.leader, l.voters))
	if led && w.rng.IntN(10) > 0 || len(l.voters) == 0 {
		return
	}
	w.stand(l, pick(w, w.order))
}

func (w *world) stand(l *abstractLog, id string) bool {
	r := l.replicaOn(id)
	if r == nil || l.leader == r {
		return false
	}
	return l.elect(r)
}

func (w *world) crashSome() {
	if up := w.up(); len(up) > 1 {
		w.crash(pick(w, up))
	}
}

func (w *world) startSome() {
	id := pick(w, w.order)
	if n := w.nodes[id]; n.proc == nil && !n.gone {
		w.start(n)
	}
}

// cutSome cuts a node off, or one direction between two.
func (w *world) cutSome() {
	a, b := pick(w, w.order), pick(w, w.order)
	if l := w.log(uint32(w.rng.IntN(int(w.shards) + 1))); l.leader != nil && w.rng.IntN(3) == 0 {
		a, b = l.leader.proc.id, l.leader.proc.id
	}
	w.trace("cut %s and %s", a, b)
	w.disturbed++
	if a != b {
		w.cut[[2]string{a, b}] = true
		return
	}
	for _, id := range w.order {
		if id != a {
			w.cut[[2]string{a, id}] = true
		}
	}
}

func (w *world) mendSome() {
	w.trace("mend")
	clear(w.cut)
}

// jump sets the clock of a node. At most one is wrong by more than a little: of two
// nobody could say which.
func (w *world) jump() {
	n := w.nodes[pick(w, w.order)]
	n.skew = time.Duration(w.rng.Int64N(int64(2*goodSkew))) - goodSkew
	if w.rng.IntN(3) == 0 {
		for _, other := range w.nodes {
			if other.skew.Abs() > goodSkew {
				other.skew = 0
			}
		}
		n.skew = time.Duration(w.rng.Int64N(int64(2 * time.Hour)))
		if w.seed%2 == 0 {
			n.skew = -n.skew
			w.behind = true
		}
	}
	w.trace("the clock of %s is off by %v", n.id, n.skew)
}

// deliver lets a call arrive that was given up.
func (w *world) deliver() {
	if len(w.late) == 0 {
		return
	}
	i := w.rng.IntN(len(w.late))
	call := w.late[i]
	w.late = slices.Delete(w.late, i, i+1)
	w.trace("a late call arrives")
	w.disturbed++
	call()
}

func (w *world) loseLeader() {
	l := w.log(uint32(w.rng.IntN(int(w.shards) + 1)))
	if l.leader != nil {
		l.resign(l.leader)
	}
}

// usurp cuts a leader off and has another one elected: the old one believes in
// itself still.
func (w *world) usurp() {
	l := w.log(uint32(w.rng.IntN(int(w.shards) + 1)))
	if l.leader == nil {
		return
	}
	old := l.leader.proc.id
	w.trace("cut %s, the leader of group %d", old, l.id)
	w.disturbed++
	for _, id := range w.order {
		if id != old {
			w.cut[[2]string{old, id}] = true
		}
	}
	for _, id := range l.voters {
		if id != old && w.stand(l, id) {
			return
		}
	}
}
