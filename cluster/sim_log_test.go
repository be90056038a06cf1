package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// logEntry is committed, or was written by a leader that lost its term. It has
// either commands or a configuration.
type logEntry struct {
	term              uint64
	data              []byte
	voters, nonvoters []string
	// at is the true time at which it was written.
	at time.Time
}

// abstractLog is what a Raft group is to those above it: one order of committed
// entries, and leaders, of which only that of the newest term can commit. What
// Raft does to get there is left out; what it lets others see is not: entries
// that a leader wrote before it lost its term are committed by the next one or
// vanish, replicas apply late, and a leader that was cut off believes in itself.
type abstractLog struct {
	w  *world
	id uint32
	// entries are committed; the index of the first is 1.
	entries []*logEntry
	term    uint64
	leader  *logReplica // that of the newest term, nil while there is none
	// voters and nonvoters are the newest committed configuration.
	voters, nonvoters []string
	// disks holds what a crash leaves of the replicas, by node.
	disks map[string]*logDisk
	// deleted has the nodes that have deleted a replica.
	deleted map[string]bool
	// hashes has the first state that was seen at an index.
	hashes map[uint64][sha256.Size]byte
}

// logDisk is the state of a replica that survives its process.
type logDisk struct {
	// has is how many entries of the log are on the disk, those up to first only
	// as part of the snapshot.
	has, first int
	// tail comes after those, and was not committed when it was written: some
	// leader commits it, or it vanishes when the disk gets what was.
	tail     []*logEntry
	term     uint64
	snapshot []byte
	// returning is set on a replica that was deleted here before, until it has caught up.
	returning bool
}

// logReplica is a group on a running node.
type logReplica struct {
	log  *abstractLog
	proc *worldProc
	cfg  shard.Config
	disk *logDisk
	// leads is what the replica believes, in the term of its disk; leader is whom
	// it believes in.
	leads   bool
	leader  string
	applied int
	// commit is how many entries it knows to be committed.
	commit int
	closed bool
	// changing is set while a change of its members is under way.
	changing bool
	// deposed is when another one became leader while it led.
	deposed time.Time
}

var _ group = (*logReplica)(nil)

func (l *abstractLog) replicaOn(node string) *logReplica {
	n := l.w.nodes[node]
	if n == nil || n.proc == nil {
		return nil
	}
	return n.proc.replicas[l.id]
}

// reachable lists the members among ids that are open and can talk with r,
// itself included.
func (l *abstractLog) reachable(r *logReplica, ids []string) (list []*logReplica) {
	for _, id := range ids {
		other := l.replicaOn(id)
		if other != nil && (other == r || l.w.linked(r.proc.id, id)) {
			list = append(list, other)
		}
	}
	return list
}

func majority(of []string, list []*logReplica) bool { return len(list) > len(of)/2 }

// commitEntry writes an entry on the leader's disk and commits it with all before
// it, if a majority can be reached.
func (l *abstractLog) commitEntry(r *logReplica, e logEntry) (results []fsm.Result, ok bool) {
	r.disk.tail = append(r.disk.tail, &e)
	if !l.commitTail(r) {
		l.spread(r)
		return nil, false
	}
	return r.applyTo(len(l.entries)), true
}

// send gives a replica what it lacks, by a snapshot if the leader does not have
// the entries any more.
func (l *abstractLog) send(from, to *logReplica, upto int) {
	to.hear(from)
	if to.disk.has < from.disk.first {
		if err := to.cfg.Machine.Restore(bytes.NewReader(from.disk.snapshot)); err != nil {
			l.w.fail("group %d on %s: the snapshot of %s cannot be restored: %v", l.id, to.proc.id, from.proc.id, err)
		}
		to.disk.has, to.disk.tail, to.disk.first, to.disk.snapshot = from.disk.first, nil, from.disk.first, from.disk.snapshot
		to.applied, to.commit = to.disk.first, to.disk.first
		l.w.counts["installs"]++
		l.w.trace("group %d: %s gets the snapshot at %d", l.id, to.proc.id, to.disk.first)
		if to.cfg.OnRestore != nil {
			to.cfg.OnRestore(to.cfg.Machine.Applied())
		}
	}
	l.truncate(to.disk, upto)
	if l.w.rng.IntN(3) > 0 {
		to.commit = max(to.commit, min(from.commit, to.disk.has))
	}
	if l.w.rng.IntN(2) == 0 {
		to.applyTo(to.commit)
	}
}

// hear notes the word of a leader.
func (r *logReplica) hear(leader *logReplica) {
	if leader.disk.term >= r.disk.term {
		r.leads = r.leads && r == leader
		r.disk.term, r.leader = leader.disk.term, leader.proc.id
	}
}

// durable checks that every committed entry is on a majority of the voters: what
// was deleted does not count.
func (l *abstractLog) durable() {
	if len(l.entries) == 0 {
		return
	}
	have := 0
	for _, id := range l.voters {
		if d := l.disks[id]; d != nil {
			if l.absorb(d); d.has == len(l.entries) {
				have++
			}
		}
	}
	if have <= len(l.voters)/2 {
		l.w.fail("group %d: of its voters %v only %d have all %d entries: acknowledged writes can be lost", l.id, l.voters, have, len(l.entries))
	}
}

// elect makes a replica the leader of a new term, if a majority of the configuration
// that it knows votes for it. What it wrote earlier, or got, and was not committed is
// committed with the first entry of its term; what others have of that vanishes.
func (l *abstractLog) elect(r *logReplica) bool {
	config, _ := l.config(r.disk)
	if r.closed || r.disk.returning || !slices.Contains(config, r.proc.id) {
		return false
	}
	voters := slices.DeleteFunc(l.reachable(r, config), func(v *logReplica) bool { return !l.grants(v, r) })
	if !majority(config, voters) {
		return false
	}
	if r.disk.has != len(l.entries) {
		l.w.fail("group %d: %s is elected with %d of %d committed entries, by a majority of %v: acknowledged writes are lost", l.id, r.proc.id, r.disk.has, len(l.entries), config)
		return false
	}
	// A majority is there for longer than it takes to look at the clocks of others.
	r.proc.node.clock.measure(r.proc.node.ctx)
	if l.leader != nil { // it may believe in itself still
		l.leader.deposed = time.Now()
	}
	l.leader = nil
	l.term++
	l.w.disturbed++
	for _, v := range voters {
		v.disk.term, v.leads, v.leader = l.term, false, ""
	}
	if e := r.disk.unsettled(); e != nil {
		l.w.counts["inherited configurations"]++
		l.w.trace("group %d: %s has an unsettled configuration: %v vote", l.id, r.proc.id, e.voters)
	}
	r.leads, r.leader, l.leader = true, r.proc.id, r
	l.w.counts["terms"]++
	l.w.trace("group %d: %s leads term %d", l.id, r.proc.id, l.term)
	lead := &statev1.Command{Kind: &statev1.Command_Lead{Lead: &statev1.Lead{Term: l.term, NodeId: r.proc.id}}}
	if _, ok := l.commitEntry(r, logEntry{term: l.term, data: r.encode([]*statev1.Command{lead}), at: time.Now()}); !ok {
		l.resign(r)
		return false
	}
	if rep, _ := r.proc.node.replica(l.id); rep != nil {
		rep.inStep.Store(0)
	}
	return true
}

// resign ends the leadership that a replica believes in.
func (l *abstractLog) resign(r *logReplica) {
	if r.leads {
		l.w.disturbed++
		l.w.trace("group %d: %s leads no more", l.id, r.proc.id)
	}
	r.leads, r.leader = false, ""
	if l.leader == r {
		l.leader = nil
	}
}

// applyTo applies up to n entries and returns the results of the last.
func (r *logReplica) applyTo(n int) (results []fsm.Result) {
	r.commit = max(r.commit, n)
	for r.applied < n {
		e := r.log.entries[r.applied]
		r.applied++
		results = nil
		if e.data == nil {
			continue
		}
		index := uint64(r.applied)
		var err error
		if results, err = r.cfg.Machine.Apply(index, r.log.w.misapplied(r, e.data)); err != nil {
			r.log.w.fail("group %d on %s halts: %v", r.log.id, r.proc.id, err)
		}
		if index%8 == 0 {
			r.compare()
		}
		if r.cfg.OnApply != nil {
			r.cfg.OnApply(index, e.data, results)
		}
	}
	return results
}

// compare checks that replicas have the same state at the same index (I8).
func (r *logReplica) compare() {
	index, sum, err := r.cfg.Machine.(interface {
		StateHash() (uint64, [sha256.Size]byte, error)
	}).StateHash()
	if err != nil {
		r.log.w.fail("group %d on %s: no hash: %v", r.log.id, r.proc.id, err)
	}
	if first, ok := r.log.hashes[index]; ok && first != sum {
		r.log.w.fail("group %d on %s: its state at %d is not that of another replica (I8)", r.log.id, r.proc.id, index)
	}
	r.log.hashes[index] = sum
}

func (r *logReplica) encode(cmds []*statev1.Command) []byte {
	cmds, now := r.log.w.mistaken(r, cmds, r.cfg.Now())
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&statev1.Entry{
		FeatureLevel: fsm.FeatureLevel, TimeUnixNano: now.UnixNano(), Commands: cmds,
	})
	if err != nil {
		r.log.w.fail("encode an entry: %v", err)
	}
	return data
}

func (r *logReplica) err(reason typesv1.Reason, notApplied bool, format string, args ...any) *fsm.Error {
	return &fsm.Error{Reason: reason, Message: fmt.Sprintf(format, args...), Shard: r.log.id, NotApplied: notApplied}
}

func (r *logReplica) notLeader() *fsm.Error {
	e := r.err(typesv1.Reason_REASON_NOT_LEADER, true, "%s does not lead group %d", r.proc.id, r.log.id)
	if r.leader != r.proc.id {
		e.LeaderID = r.leader
	}
	return e
}

func (r *logReplica) unknown(why string) *fsm.Error {
	return r.err(typesv1.Reason_REASON_OUTCOME_UNKNOWN, false, "the outcome is unknown: %s", why)
}

// usable says why nothing can be proposed or read here.
func (r *logReplica) usable(ctx context.Context) error {
	switch {
	case r.closed:
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "the group is closed")
	case ctx.Err() != nil:
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "given up: %v", ctx.Err())
	case !r.leads:
		return r.notLeader()
	}
	return nil
}

// write has an entry committed, or not; the seed decides.
func (r *logReplica) write(ctx context.Context, e logEntry) (index uint64, results []fsm.Result, err error) {
	l, w := r.log, r.log.w
	w.interleave()
	if err := r.usable(ctx); err != nil {
		return 0, nil, err
	}
	e.term = r.disk.term
	if l.leader != r { // somebody else leads: it is never committed
		l.resign(r)
		return 0, nil, r.unknown("another leader was elected")
	}
	lost := w.fault(40)
	if w.breaks == ackBeforeCommit && w.faults && w.rng.IntN(10) == 0 {
		if results, ok := w.acknowledgeEarly(r, e); ok {
			return uint64(len(l.entries) + 1), results, nil
		}
	}
	if !lost {
		if results, ok := l.commitEntry(r, e); ok {
			index := uint64(len(l.entries))
			if w.fault(50) || w.broken != "" {
				return 0, nil, r.unknown("the answer came too late")
			}
			w.interleave()
			if r.closed {
				return 0, nil, r.unknown("the node crashed")
			}
			return index, results, nil
		}
	}
	if lost {
		r.disk.tail = append(r.disk.tail, &e)
		l.spread(r)
	}
	l.resign(r)
	return 0, nil, r.unknown("leadership was lost")
}
