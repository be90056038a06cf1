package cluster

import (
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/callctx"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// world is a cluster in memory, in a synctest bubble, in which one thing happens
// at a time. The nodes are the real ones above an abstract log; what a node's loops
// do is done by hand, one round at a time, in an order that the seed gives. Where
// real nodes would wait for each other, at proposals, reads and calls, other
// things happen first: so rounds overlap, although there are no goroutines whose
// order the seed does not know.
type world struct {
	seed   uint64
	rng    *rand.Rand
	shards uint32
	logs   map[uint32]*abstractLog
	// nodes are all that have ever been, order their ids.
	nodes map[string]*worldNode
	order []string
	// cut has the directions in which nothing gets through.
	cut map[[2]string]bool
	// faults is set while things may break, and depth is how many rounds overlap.
	faults bool
	depth  int
	// quiet is set while nothing new is to begin.
	quiet bool
	// behind is set once a clock was behind by much: where one other clock is left
	// to compare it with, the time of a log may stand still, and timeouts come
	// early then by the true time, not by that of the log.
	behind bool
	// disturbed counts what a look at the cluster of a moment ago does not show:
	// nodes and links that fail, elections, replicas that are deleted.
	disturbed int
	// busy has the rounds under way: a loop has only one at a time.
	busy map[busyKey]bool
	// late are calls that were given up and arrive some time.
	late []func()
	// doubt has the request ids of calls that may arrive although they were answered.
	doubt map[string]bool

	// breaks is what is wrong on purpose.
	breaks simBreak
	// byHand is set where a test changes placements that nobody decided on.
	byHand bool
	// broken is the first check that failed.
	broken  string
	check   *checks
	clients *clients
	sum     hash.Hash64
	tracing bool
	lines   []string
	counts  map[string]int
}

type busyKey struct {
	proc  *worldProc
	group uint32
	what  string
}

// worldNode is a machine with a disk, which is in the logs.
type worldNode struct {
	id   string
	proc *worldProc // nil while it is down
	skew time.Duration
	// gone is set when the cluster has removed it.
	gone bool
}

// worldProc is one run of a node's process.
type worldProc struct {
	w        *world
	id       string
	node     *Node
	replicas map[uint32]*logReplica
	dead     bool
	// placed is the term for which the placement loop has begun anew; current and
	// since are those of placeLoop.
	placed  uint64
	current bool
	pinned  bool
	since   map[uint32]time.Time
	// looked is what disturbed was when the present round of placement looked.
	looked int
}

// fail notes the first check that failed; the world ends soon after.
func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
		w.trace("BROKEN: %s", w.broken)
	}
}

// trace notes what happens: the same seed must give the same.
func (w *world) trace(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	_, _ = w.sum.Write([]byte(line))
	if w.tracing {
		w.lines = append(w.lines, fmt.Sprintf("%9.3f %*s%s", time.Since(worldBegin).Seconds(), 2*w.depth, "", line))
	}
}

// Of two timers that fire at the same time a select takes any: so what bounds
// something is never a sum of what is waited for meanwhile.
const (
	roundTime   = time.Second + 7_001*time.Nanosecond
	callTime    = 200*time.Millisecond + 11_003*time.Nanosecond
	routeTime   = 200*time.Millisecond + 13_007*time.Nanosecond
	requestTime = 400*time.Millisecond + 17_011*time.Nanosecond
	judgeTime   = time.Millisecond + 19_013*time.Nanosecond
)

// worldBegin is when time begins in a bubble.
var worldBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(seed uint64, nodes int, shards uint32) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), shards: shards, logs: map[uint32]*abstractLog{}, nodes: map[string]*worldNode{},
		cut: map[[2]string]bool{}, busy: map[busyKey]bool{}, doubt: map[string]bool{}, sum: fnv.New64a(), counts: map[string]int{},
	}
	w.check = newChecks(w)
	w.clients = newClients(w)
	for i := range nodes {
		w.add(fmt.Sprintf("n%d", i+1))
	}
	return w
}

func (w *world) log(id uint32) *abstractLog {
	if w.logs[id] == nil {
		w.logs[id] = &abstractLog{w: w, id: id, disks: map[string]*logDisk{}, deleted: map[string]bool{}, hashes: map[uint64][32]byte{}}
	}
	return w.logs[id]
}

func (w *world) shuffle(n int, swap func(i, j int)) { w.rng.Shuffle(n, swap) }

// fault is true once in n times, while there are faults.
func (w *world) fault(n int) bool { return w.faults && w.rng.IntN(n) == 0 }

func (w *world) linked(a, b string) bool {
	return !w.cut[[2]string{a, b}] && !w.cut[[2]string{b, a}]
}

// interleave lets something else happen first.
func (w *world) interleave() {
	if w.quiet || w.depth >= 3 || w.rng.IntN(5) != 0 {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	w.tick()
	w.step()
	w.tick()
}

// tick keeps what begins now from ending at the same time as what began before.
func (w *world) tick() { time.Sleep(time.Duration(1 + w.rng.IntN(1000))) }

// once does a round of a loop, unless that is under way.
func (w *world) once(p *worldProc, group uint32, what string, f func(context.Context)) {
	key := busyKey{p, group, what}
	if w.busy[key] || p.dead {
		return
	}
	w.busy[key] = true
	defer delete(w.busy, key)
	w.counts[what]++
	w.trace("%s of group %d on %s", what, group, p.id)
	ctx, cancel := context.WithTimeout(p.node.ctx, roundTime)
	defer cancel()
	f(ctx)
}

// add makes a node, and starts it.
func (w *world) add(id string) *worldNode {
	n := &worldNode{id: id}
	w.nodes[id] = n
	w.order = append(w.order, id)
	w.start(n)
	return n
}

func (w *world) member(id string) Member {
	return Member{ID: id, PeerAddress: id + ":1", ClientAddress: id + ":2", FeatureLevel: fsm.FeatureLevel}
}

// start runs a node's process on what its disk has.
func (w *world) start(n *worldNode) {
	p := &worldProc{w: w, id: n.id, replicas: map[uint32]*logReplica{}, since: map[uint32]time.Time{}}
	n.proc = p
	if w.breaks == tailLost {
		for id := uint32(0); id <= w.shards; id++ {
			if d := w.log(id).disks[n.id]; d != nil {
				d.has, d.tail = max(d.first, d.has-4), nil
			}
		}
	}
	p.node = newNode(NodeConfig{
		Self: w.member(n.id).Node(), Peers: &worldPeers{w: w, proc: p}, groups: logGroups{p}, beside: onlyThis{},
		Now: func() time.Time { return time.Now().Add(n.skew) }, jitter: func(d time.Duration) time.Duration { return d / 2 },
		Placement:   PlacementTiming{Concurrent: 1, Stabilise: 2 * time.Second},
		RouteBudget: routeTime, JudgeBudget: judgeTime,
	})
	if err := p.node.catalog.open(); err != nil {
		w.fail("%s cannot open the catalog: %v", n.id, err)
	}
	for id := uint32(1); id <= w.shards; id++ {
		if w.log(id).disks[n.id] != nil {
			p.node.openReplica(id)
		}
	}
	for id, err := range p.node.refused {
		w.fail("%s cannot open group %d: %v", n.id, id, err)
	}
	w.trace("%s starts", n.id)
	for id := uint32(0); id <= w.shards; id++ {
		w.log(id).durable()
	}
	p.node.clock.measure(p.node.ctx)
}

// onlyThis is beside where one thing happens at a time.
type onlyThis struct{}

func (onlyThis) watch(time.Duration, func()) (end func()) { return func() {} }

func (onlyThis) do(f func()) { f() }

// crash ends a node's process; its disk stays.
func (w *world) crash(n *worldNode) {
	p := n.proc
	if p == nil {
		return
	}
	w.trace("%s crashes", n.id)
	w.disturbed++
	w.counts["crashes"]++
	for _, r := range p.open() {
		r.log.resign(r)
		r.closed = true
	}
	p.dead = true
	p.node.stop()
	p.replicas = map[uint32]*logReplica{}
	n.proc = nil
}

// up lists the nodes that run.
func (w *world) up() (list []*worldNode) {
	for _, id := range w.order {
		if n := w.nodes[id]; n.proc != nil {
			list = append(list, n)
		}
	}
	return list
}

func pick[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// form brings the cluster to the point where its shards are formed.
func (w *world) form() {
	var members []Member
	for _, id := range w.order {
		members = append(members, w.member(id))
	}
	voters, nonvoters := CatalogVoters(members)
	first := w.nodes[voters[0]].proc
	if err := first.node.catalog.group.Bootstrap(voters, nonvoters); err != nil {
		w.fail("bootstrap: %v", err)
	}
	for _, id := range voters[1:] {
		// They get the same entry from the first, which leads.
		w.log(0).disks[id].has, w.log(0).disks[id].term = 1, 1
	}
	if !w.log(0).elect(first.replicas[0]) {
		w.fail("the first node is not elected")
	}
	form, err := NewCluster("sim", Outcome{ClusterID: "sim", Members: members, Shards: w.shards, Replicas: 3})
	if err != nil {
		w.fail("form: %v", err)
	}
	form.DeadAfterNanos = int64(30 * time.Second)
	ctx, cancel := context.WithTimeout(callctx.WithPrincipal(context.Background(), "sim"), time.Minute)
	defer cancel()
	if err := first.node.Form(ctx, form); err != nil {
		w.fail("form: %v", err)
	}
	if _, err := first.node.ApplySpecification(ctx, "default", w.clients.specification()); err != nil {
		w.fail("apply the specification: %v", err)
	}
}

// isGone tells whether the catalog's log says that a node was removed.
func (w *world) isGone(id string) bool {
	return w.check.catalog.NodeState(id) == statev1.NodeState_NODE_STATE_GONE
}
