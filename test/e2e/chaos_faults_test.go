//go:build e2e && linux

package e2e

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// fault is something that breaks. Its moments are drawn from the seed; whom it
// hits is said by roles (the node that leads most shards), since who leads what
// is not in anybody's hand.
type fault struct {
	name string
	// what is the row of the table in docs/failure-modes.md.
	what string
	// least is how many nodes it needs, copies how many replicas of each shard.
	least, copies int
	// inject breaks something and returns what ends it. It is given how long it
	// will last.
	inject func(r *round, hold time.Duration) (heal func())
	// min and max bound how long it lasts.
	min, max time.Duration
	// frozen is set for a fault of a minority that may last while the others have to go on.
	frozen bool
	// moves is set for a fault that is likely to change leaders.
	moves bool
	// delay is set when the network needs to be able to delay packets.
	delay bool
	// quorumless is set when no shard can be written to until it is over.
	quorumless bool
	// everywhere is set when that is so only while each shard is on all nodes.
	everywhere bool
}

const second = time.Second

var faults = []fault{
	{name: "kill-leader", what: "SIGKILL of the node that leads most shards", inject: killLeader, min: second, max: 3 * second, frozen: true, moves: true},
	{name: "kill-one", what: "SIGKILL of any node", inject: killOne, min: second / 2, max: 2 * second},
	{name: "kill-minority", what: "SIGKILL of two nodes of five, five replicas", copies: 5, inject: killMinority, min: second, max: 3 * second, frozen: true, moves: true},
	{name: "kill-majority", what: "SIGKILL of a majority", inject: killMajority, min: second / 2, max: second, quorumless: true, everywhere: true},
	{name: "kill-all", what: "SIGKILL of all nodes at once", inject: killAll, min: 0, max: second / 2, quorumless: true},
	{name: "restart-loop", what: "one node killed and started again five times", inject: restartLoop, max: second / 2},
	{name: "stop-leader", what: "SIGTERM of the node that leads most shards", inject: stopLeader, min: second, max: 2 * second, moves: true},
	{name: "pause-leader", what: "SIGSTOP of the node that leads most shards, then SIGCONT", inject: pauseLeader, min: 2 * second, max: 5 * second, frozen: true, moves: true},
	{name: "pause-all", what: "SIGSTOP of all nodes one after the other, then SIGCONT", inject: pauseAll, min: second, max: 3 * second, quorumless: true},
	{name: "isolate-leader", what: "the node that leads most shards is cut off from the others", inject: isolateLeader, min: 2 * second, max: 5 * second, frozen: true, moves: true},
	{name: "split", what: "a minority is cut off from the majority", inject: split, min: 2 * second, max: 4 * second, frozen: true, moves: true},
	{name: "deaf-leader", what: "the leading node hears no other node, they hear it", inject: deafLeader, min: 2 * second, max: 5 * second, frozen: true, moves: true},
	{name: "mute-leader", what: "no other node hears the leading one, it hears them", inject: muteLeader, min: 2 * second, max: 5 * second, frozen: true, moves: true},
	{name: "bridge", what: "two halves see each other only over one node between them", inject: bridge, min: 2 * second, max: 4 * second},
	{name: "ring", what: "every node sees only its two neighbours", least: 5, inject: ringOnly, min: 2 * second, max: 4 * second},
	{name: "flap", what: "the leading node is cut off and back five times", inject: flap, max: second / 2},
	{name: "udp-loss", what: "no UDP between the nodes: gossip fails, Raft does not", inject: udpLoss, min: 2 * second, max: 5 * second},
	{name: "tcp-loss", what: "no TCP to and from the leading node: Raft fails, gossip does not", inject: tcpLoss, min: 2 * second, max: 5 * second, frozen: true, moves: true},
	{name: "packet-loss", what: "one of five packets between the nodes is lost", inject: packetLoss, min: 2 * second, max: 4 * second},
	{name: "slow-leader", what: "what the leading node sends takes 50 to 150 ms", inject: slowLeader, min: 2 * second, max: 4 * second, delay: true},
	{name: "kill-in-split", what: "a node cut off and another killed, so that nobody has a majority", inject: killInSplit, min: second, max: 2 * second, quorumless: true, everywhere: true},
	{name: "new-address", what: "a node comes back with another address", inject: newAddress, min: second / 2, max: second},
	{name: "kill-in-seal", what: "SIGKILL of the leading node while a model is being sealed", inject: killInSeal, min: second / 2, max: second, moves: true},
	{name: "kill-in-drain", what: "SIGKILL of a node while the leading one is drained", inject: killInDrain, min: second / 2, max: 2 * second, moves: true},
	{name: "kill-in-transfer", what: "SIGKILL of the leading node while it hands all its shards over", inject: killInTransfer, min: second / 2, max: second, moves: true},
	{name: "other-name", what: "a node of another cluster name tries to join", inject: otherName, min: 2 * second, max: 3 * second},
	{name: "other-cluster", what: "a node of another cluster of the same name tries to join", inject: otherCluster, min: second, max: 2 * second},
}

// able reports whether the fault can be had with so many nodes and replicas.
func (f *fault) able(nodes, copies int) bool {
	return f.least <= nodes && f.copies <= copies && (copies == nodes || !f.everywhere) && (canDelay() || !f.delay)
}

func faultNamed(name string) (fault, bool) {
	for _, f := range faults {
		if f.name == name {
			return f, true
		}
	}
	return fault{}, false
}

func faultNames() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// pick draws n different nodes.
func (r *round) pick(n int) []*node {
	var list []*node
	for _, i := range r.rng.Perm(len(r.a.nodes))[:n] {
		list = append(list, r.a.nodes[i])
	}
	return list
}

// minority is how many nodes may fail without any shard losing its majority.
func (r *round) minority() int { return (r.copies - 1) / 2 }

func (r *round) leader() *node { return r.a.leading()[0] }

// killing kills nodes as close together as can be.
func (r *round) killing(nodes ...*node) func() {
	for _, nd := range nodes {
		r.a.signal(nd, syscall.SIGKILL)
	}
	for _, nd := range nodes {
		<-nd.done
	}
	r.note("killed %s", names(nodes))
	return r.a.revive
}

// cutting cuts off what the cuts say.
func (r *round) cutting(cuts ...cut) func() {
	r.a.cut(cuts...)
	return func() { r.a.cut() }
}

func killLeader(r *round, _ time.Duration) func() { return r.killing(r.leader()) }

func killOne(r *round, _ time.Duration) func() { return r.killing(r.pick(1)...) }

func killMinority(r *round, _ time.Duration) func() {
	return r.killing(r.a.leading()[:r.minority()]...)
}

func killMajority(r *round, _ time.Duration) func() {
	return r.killing(r.pick(len(r.a.nodes)/2 + 1)...)
}

func killAll(r *round, _ time.Duration) func() { return r.killing(r.a.nodes...) }

// restartLoop never lets the node come to the end of its start.
func restartLoop(r *round, _ time.Duration) func() {
	nd := r.pick(1)[0]
	for range 5 {
		r.killing(nd)
		r.a.start(nd)
		wait(time.Duration(50+r.rng.IntN(600)) * time.Millisecond)
	}
	r.killing(nd)
	return r.a.revive
}

func stopLeader(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("stopping %s", nd.name)
	if code := r.a.terminate(nd, 15*time.Second); code != 0 {
		r.a.t.Fatalf("%s: exit status %d after SIGTERM", nd.name, code)
	}
	return r.a.revive
}

// pausing stops nodes where they are.
func (r *round) pausing(nodes ...*node) func() {
	for _, nd := range nodes {
		r.a.signal(nd, syscall.SIGSTOP)
	}
	r.note("paused %s", names(nodes))
	return func() {
		for _, nd := range nodes {
			r.a.signal(nd, syscall.SIGCONT)
			wait(time.Duration(r.rng.IntN(200)) * time.Millisecond)
		}
	}
}

func pauseLeader(r *round, _ time.Duration) func() { return r.pausing(r.leader()) }

func pauseAll(r *round, _ time.Duration) func() { return r.pausing(r.pick(len(r.a.nodes))...) }

func isolateLeader(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("isolated %s", nd.name)
	return r.cutting(between(r.a.at(nd), r.a.at(r.a.without(nd)...), "")...)
}

func split(r *round, _ time.Duration) func() {
	some := r.pick(r.minority())
	r.note("split off %s", names(some))
	return r.cutting(between(r.a.at(some...), r.a.at(r.a.without(some...)...), "")...)
}

func deafLeader(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("%s hears nobody", nd.name)
	return r.cutting(into(r.a.at(nd), r.a.at(r.a.without(nd)...), "")...)
}

func muteLeader(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("nobody hears %s", nd.name)
	return r.cutting(into(r.a.at(r.a.without(nd)...), r.a.at(nd), "")...)
}

func bridge(r *round, _ time.Duration) func() {
	all := r.pick(len(r.a.nodes))
	half := len(all) / 2
	left, right := all[1:1+half], all[1+half:]
	r.note("%s and %s see only %s both", names(left), names(right), all[0].name)
	return r.cutting(between(r.a.at(left...), r.a.at(right...), "")...)
}

func ringOnly(r *round, _ time.Duration) func() {
	all := r.a.at(r.pick(len(r.a.nodes))...)
	var cuts []cut
	for i, h := range all {
		for j, other := range all {
			if d := (j - i + len(all)) % len(all); d > 1 && d < len(all)-1 {
				cuts = append(cuts, cut{to: h, from: other})
			}
		}
	}
	return r.cutting(cuts...)
}

func flap(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("%s flaps", nd.name)
	for range 5 {
		heal := r.cutting(between(r.a.at(nd), r.a.at(r.a.without(nd)...), "")...)
		wait(time.Duration(100+r.rng.IntN(900)) * time.Millisecond)
		heal()
		wait(time.Duration(50+r.rng.IntN(400)) * time.Millisecond)
	}
	return func() {}
}

func udpLoss(r *round, _ time.Duration) func() {
	all := r.a.at(r.a.nodes...)
	return r.cutting(into(all, all, "udp")...)
}

func tcpLoss(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("no TCP for %s", nd.name)
	return r.cutting(between(r.a.at(nd), r.a.at(r.a.without(nd)...), "tcp")...)
}

func packetLoss(r *round, _ time.Duration) func() {
	all := r.a.at(r.a.nodes...)
	cuts := into(all, all, "")
	for i := range cuts {
		cuts[i].loss = 20
	}
	return r.cutting(cuts...)
}

func slowLeader(r *round, _ time.Duration) func() {
	nd := r.leader()
	r.note("%s sends slowly", nd.name)
	slow := func(d time.Duration) {
		if err := r.a.net.slow(r.a.hosts[nd], d); err != nil {
			r.a.t.Fatal(err)
		}
	}
	slow(100 * time.Millisecond)
	return func() { slow(0) }
}

func killInSplit(r *round, _ time.Duration) func() {
	all := r.pick(len(r.a.nodes))
	away, dead := all[:1], all[1:1+r.minority()]
	heal := r.cutting(between(r.a.at(away...), r.a.at(all[1:]...), "")...)
	wait(time.Duration(r.rng.IntN(1500)) * time.Millisecond)
	back := r.killing(dead...)
	r.note("%s is alone", names(away))
	return func() { heal(); back() }
}

// newAddress is what happens to a pod: the same data, another address, which the
// node tells and nobody else.
func newAddress(r *round, _ time.Duration) func() {
	nd := r.pick(1)[0]
	back := r.killing(nd)
	if err := r.a.hosts[nd].move(); err != nil {
		r.a.t.Fatal(err)
	}
	r.a.address(nd)
	r.note("%s moved to %s", nd.name, r.a.hosts[nd].address)
	return back
}

func names(nodes []*node) string {
	text := ""
	for i, nd := range nodes {
		if i > 0 {
			text += ", "
		}
		text += nd.name
	}
	return text
}

// strike is a fault at its place in a schedule.
type strike struct {
	fault fault
	hold  time.Duration
	pause time.Duration // before it
}

// schedule draws the faults of a round: different ones, one at least that moves leaders.
func schedule(rng *rand.Rand, nodes, copies, length int) []strike {
	var able []fault
	for _, f := range faults {
		if f.able(nodes, copies) {
			able = append(able, f)
		}
	}
	for {
		var list []strike
		moves := false
		for _, i := range rng.Perm(len(able))[:length] {
			list = append(list, newStrike(rng, able[i]))
			moves = moves || able[i].moves
		}
		if moves {
			return list
		}
	}
}

func newStrike(rng *rand.Rand, f fault) strike {
	return strike{
		fault: f, hold: f.min + time.Duration(rng.Int64N(int64(f.max-f.min)+1)),
		pause: time.Duration(200+rng.IntN(800)) * time.Millisecond,
	}
}
