package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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
	entries []logEntry
	// limbo was written by the last leader, and the next one decides about it.
	limbo             []logEntry
	term              uint64
	leader            *logReplica // that of the newest term, nil while there is none
	voters, nonvoters []string
	// disks holds what a crash leaves of the replicas, by node.
	disks map[string]*logDisk
	// hashes has the first state that was seen at an index.
	hashes map[uint64][sha256.Size]byte
}

// logDisk is the state of a replica that survives its process.
type logDisk struct {
	// has is how many entries of the log are on the disk, those up to first only
	// as part of the snapshot.
	has, first int
	term       uint64
	snapshot   []byte
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

// commitEntry commits an entry of the leader, if a majority can be reached: it is
// then on the disks of some majority, and the leader has applied it.
func (l *abstractLog) commitEntry(r *logReplica, e logEntry) (results []fsm.Result, ok bool) {
	voters := l.voters
	if e.data == nil {
		voters = e.voters // counts from when it is written
	}
	there := l.reachable(r, voters)
	if !majority(voters, there) {
		return nil, false
	}
	l.entries = append(l.entries, e)
	index := len(l.entries)
	if e.data == nil {
		l.voters, l.nonvoters = e.voters, e.nonvoters
	}
	l.w.committed(l, uint64(index), e)
	r.disk.has = index
	// The rest of the majority, and whom it reached beside.
	need := len(voters)/2 + 1
	if slices.Contains(voters, r.proc.id) {
		need--
	}
	l.w.shuffle(len(there), func(i, j int) { there[i], there[j] = there[j], there[i] })
	for _, other := range there {
		if other == r {
			continue
		}
		if need > 0 || l.w.rng.IntN(2) == 0 {
			l.send(r, other, index)
			need--
		}
	}
	l.durable()
	return r.applyTo(index), true
}

// send gives a replica what it lacks, by a snapshot if the leader does not have
// the entries any more.
func (l *abstractLog) send(from, to *logReplica, upto int) {
	to.hear(from)
	if to.disk.has < from.disk.first {
		if err := to.cfg.Machine.Restore(bytes.NewReader(from.disk.snapshot)); err != nil {
			l.w.fail("group %d on %s: the snapshot of %s cannot be restored: %v", l.id, to.proc.id, from.proc.id, err)
		}
		to.disk.has, to.disk.first, to.disk.snapshot = from.disk.first, from.disk.first, from.disk.snapshot
		to.applied, to.commit = to.disk.first, to.disk.first
		l.w.counts["installs"]++
		l.w.trace("group %d: %s gets the snapshot at %d", l.id, to.proc.id, to.disk.first)
		if to.cfg.OnRestore != nil {
			to.cfg.OnRestore(to.cfg.Machine.Applied())
		}
	}
	to.disk.has = max(to.disk.has, upto)
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
		if d := l.disks[id]; d != nil && d.has == len(l.entries) {
			have++
		}
	}
	if have <= len(l.voters)/2 {
		l.w.fail("group %d: of its voters %v only %d have all %d entries: acknowledged writes can be lost", l.id, l.voters, have, len(l.entries))
	}
}

// elect makes a replica the leader of a new term, if a majority would vote for it.
func (l *abstractLog) elect(r *logReplica) bool {
	voters := l.reachable(r, l.voters)
	if r.closed || r.disk.has != len(l.entries) || !slices.Contains(l.voters, r.proc.id) || !majority(l.voters, voters) {
		return false
	}
	// A majority is there for longer than it takes to look at the clocks of others.
	r.proc.node.clock.measure(r.proc.node.ctx)
	l.leader = nil // the old one may believe in itself still
	l.term++
	for _, v := range voters {
		v.disk.term, v.leads, v.leader = l.term, false, ""
	}
	limbo := l.limbo
	l.limbo = nil
	for _, e := range limbo {
		if l.w.rng.IntN(2) == 0 {
			break
		}
		if e.data == nil && (!slices.Contains(e.voters, r.proc.id) || !majority(e.voters, l.reachable(r, e.voters))) {
			break
		}
		if _, ok := l.commitEntry(r, e); !ok {
			break
		}
		l.w.trace("group %d: %d was written in an earlier term", l.id, len(l.entries))
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
	l.limbo = append(l.limbo, e)
	l.resign(r)
	return 0, nil, r.unknown("leadership was lost")
}

func (r *logReplica) ID() uint32 { return r.log.id }

func (r *logReplica) Propose(ctx context.Context, cmd *statev1.Command) (shard.Applied, error) {
	results, err := r.ProposeAll(ctx, []*statev1.Command{cmd})
	if err != nil {
		return shard.Applied{}, err
	}
	return results[0], nil
}

func (r *logReplica) ProposeAll(ctx context.Context, cmds []*statev1.Command) ([]shard.Applied, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	parts := [][]*statev1.Command{cmds}
	if len(cmds) > 1 && r.log.w.rng.IntN(3) == 0 {
		at := 1 + r.log.w.rng.IntN(len(cmds)-1)
		parts = [][]*statev1.Command{cmds[:at], cmds[at:]}
	}
	applied := make([]shard.Applied, 0, len(cmds))
	for i, part := range parts {
		if err := r.usable(ctx); err != nil && i == 0 {
			return nil, err
		}
		index, results, err := r.write(ctx, logEntry{data: r.encode(part), at: time.Now()})
		if err == nil {
			for _, res := range results {
				applied = append(applied, shard.Applied{Index: index, Result: res})
			}
			continue
		}
		if i == 0 {
			return nil, err
		}
		var e *fsm.Error
		errors.As(err, &e)
		for range part {
			applied = append(applied, shard.Applied{Result: fsm.Result{Err: e}})
		}
		part := *e
		part.NotApplied = false
		return applied, &part
	}
	return applied, nil
}

// ReadIndex asks the voters for their terms, as the real one does.
func (r *logReplica) ReadIndex(ctx context.Context) (uint64, error) {
	if err := r.usable(ctx); err != nil {
		return 0, err
	}
	commit := r.commit
	r.log.w.interleave()
	if err := r.usable(ctx); err != nil {
		return 0, err
	}
	var yes []*logReplica
	for _, v := range r.log.reachable(r, r.log.voters) {
		if v.disk.term == r.disk.term {
			yes = append(yes, v)
		}
	}
	if r.log.w.breaks != readsUnconfirmed && !majority(r.log.voters, yes) {
		return 0, r.err(typesv1.Reason_REASON_NO_LEADER, true, "no majority confirmed the term")
	}
	r.applyTo(commit)
	return r.cfg.Machine.Applied(), nil
}

func (r *logReplica) WaitApplied(ctx context.Context, index uint64) error {
	if err := ctx.Err(); err != nil || r.closed {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "the group is closed, or the time is over: %v", err)
	}
	if l := r.log.leader; l != nil && l != r && r.log.w.linked(r.proc.id, l.proc.id) && r.member() {
		r.log.send(l, r, min(int(index), len(r.log.entries)))
	}
	if n := min(int(index), r.disk.has); n > r.applied && n <= len(r.log.entries) && r.member() {
		r.applyTo(n)
	}
	if r.cfg.Machine.Applied() < index {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "index %d was not applied in time", index)
	}
	return nil
}

// member tells whether the leader sends to the replica.
func (r *logReplica) member() bool {
	return slices.Contains(r.log.voters, r.proc.id) || slices.Contains(r.log.nonvoters, r.proc.id)
}

func (r *logReplica) ConfirmTerm(term uint64) (bool, uint64) {
	return r.disk.term == term, r.disk.term
}

func (r *logReplica) Lost(context.Context, string, uint64) shard.Lost { return shard.Lost{} }

func (r *logReplica) Leader() (string, bool) { return r.leader, r.leader != "" && !r.closed }

func (r *logReplica) Leading() (uint64, bool) {
	if !r.leads || r.closed {
		return 0, false
	}
	return r.disk.term, true
}

func (r *logReplica) Changes() <-chan struct{} { return nil }

func (r *logReplica) Status() shard.Status {
	s := shard.Status{
		Group: r.log.id, State: "follower", Term: r.disk.term, Leader: r.leader, Applied: r.cfg.Machine.Applied(),
		Commit: uint64(r.commit), Last: uint64(r.disk.has),
	}
	if term, ok := r.Leading(); ok {
		s.State, s.Leading, s.Term = "leader", true, term
		s.Settled = r.log.leader == r
	}
	if r.closed {
		s.State = shard.StateShutdown
	}
	s.Voters, s.Nonvoters = r.Members()
	return s
}

// Members is the newest configuration among the entries on the disk.
func (r *logReplica) Members() (voters, nonvoters []string) {
	for i := min(r.disk.has, len(r.log.entries)) - 1; i >= 0; i-- {
		if e := r.log.entries[i]; e.data == nil {
			return e.voters, e.nonvoters
		}
	}
	return nil, nil
}

func (r *logReplica) Bootstrap(voters, nonvoters []string) error {
	l := r.log
	first := logEntry{term: 1, voters: slices.Sorted(slices.Values(voters)), nonvoters: slices.Sorted(slices.Values(nonvoters))}
	if r.disk.has > 0 || r.disk.term > 0 {
		return shard.ErrHasState
	}
	if len(l.entries) == 0 {
		l.entries = []logEntry{first}
		l.voters, l.nonvoters = first.voters, first.nonvoters
	} else if !slices.Equal(l.entries[0].voters, first.voters) || !slices.Equal(l.entries[0].nonvoters, first.nonvoters) {
		l.w.fail("group %d is bootstrapped with %v and with %v", l.id, l.entries[0].voters, first.voters)
	}
	if !slices.Contains(l.voters, r.proc.id) {
		return shard.ErrNotVoter
	}
	r.disk.has, r.disk.term = 1, 1
	l.term = max(l.term, 1)
	return nil
}

// Change checks what the real one checks.
func (r *logReplica) Change(ctx context.Context, c shard.MemberChange) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	l := r.log
	voters, nonvoters := slices.Clone(l.voters), slices.Clone(l.nonvoters)
	votes, follows := slices.Contains(voters, c.Node), slices.Contains(nonvoters, c.Node)
	self := c.Node == r.proc.id
	fits := c.Node != "" && sameSet(voters, c.Voters) && sameSet(nonvoters, c.Nonvoters)
	without := func(list []string) []string {
		return slices.DeleteFunc(list, func(id string) bool { return id == c.Node })
	}
	switch c.Kind {
	case shard.TransferChange:
		if !fits || !votes {
			return r.misfit()
		}
		return r.TransferLeadership(ctx, c.Node)
	case shard.AddNonvoterChange:
		fits = fits && !votes && !follows
		nonvoters = append(nonvoters, c.Node)
	case shard.PromoteChange:
		fits = fits && follows
		nonvoters, voters = without(nonvoters), append(voters, c.Node)
	case shard.DemoteChange:
		fits = fits && votes && !self
		voters, nonvoters = without(voters), append(nonvoters, c.Node)
	case shard.RemoveChange:
		fits = fits && (votes || follows) && !self
		voters, nonvoters = without(voters), without(nonvoters)
	}
	if !fits {
		return r.misfit()
	}
	before := len(l.entries)
	l.w.interleave()
	if len(l.entries) != before && (!sameSet(l.voters, c.Voters) || !sameSet(l.nonvoters, c.Nonvoters)) {
		return r.misfit()
	}
	slices.Sort(voters)
	slices.Sort(nonvoters)
	l.w.trace("group %d: change %d of %s", l.id, int(c.Kind), c.Node)
	l.w.counts["changes"]++
	if err := r.usable(ctx); err != nil {
		return err
	}
	if l.leader != r {
		l.resign(r)
		return r.unknown("another leader was elected")
	}
	e := logEntry{term: r.disk.term, voters: voters, nonvoters: nonvoters}
	if !l.w.fault(20) {
		if _, ok := l.commitEntry(r, e); ok {
			return nil
		}
	}
	l.limbo = append(l.limbo, e)
	l.resign(r)
	return r.unknown("leadership was lost")
}

func (r *logReplica) misfit() error {
	return r.err(typesv1.Reason_REASON_PLACEMENT_CHANGED, true, "the members are left as they are")
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func (r *logReplica) TransferLeadership(ctx context.Context, to string) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	if to == r.proc.id {
		return nil
	}
	other := r.log.replicaOn(to)
	if other == nil || r.log.leader != r || !r.log.w.linked(r.proc.id, to) {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, false, "%s was not reached", to)
	}
	r.log.send(r, other, len(r.log.entries))
	if !r.log.elect(other) {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, false, "%s was not elected", to)
	}
	r.hear(other)
	return nil
}

func (r *logReplica) HandOver(context.Context) error { return nil }

func (r *logReplica) Snapshot(context.Context) error {
	if r.closed || r.applied == 0 || r.cfg.Machine.Applied() == 0 {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "there is nothing to take a snapshot of")
	}
	view := r.cfg.Machine.Snapshot()
	defer view.Release()
	var b bytes.Buffer
	if _, err := view.WriteTo(&b); err != nil {
		return err
	}
	r.disk.snapshot, r.disk.first = b.Bytes(), r.applied
	return nil
}

func (r *logReplica) RefuseGrowth(string) {}

// logGroups holds the groups of a process of the simulation.
type logGroups struct{ proc *worldProc }

func (h logGroups) Open(cfg shard.Config) (group, error) {
	l := h.proc.w.log(cfg.ID)
	d := l.disks[h.proc.id]
	if d == nil {
		d = &logDisk{}
		l.disks[h.proc.id] = d
	}
	r := &logReplica{log: l, proc: h.proc, cfg: cfg, disk: d}
	if d.snapshot != nil {
		if err := cfg.Machine.Restore(io.Reader(bytes.NewReader(d.snapshot))); err != nil {
			return nil, err
		}
		r.applied, r.commit = d.first, d.first
		if cfg.OnRestore != nil {
			cfg.OnRestore(cfg.Machine.Applied())
		}
	}
	h.proc.replicas[cfg.ID] = r
	h.proc.w.trace("%s opens group %d at %d of %d", h.proc.id, cfg.ID, r.applied, d.has)
	return r, nil
}

func (h logGroups) Get(id uint32) (group, bool) {
	if r := h.proc.replicas[id]; r != nil {
		return r, true
	}
	return nil, false
}

func (h logGroups) Groups() (list []group) {
	for _, r := range h.proc.open() {
		list = append(list, r)
	}
	return list
}

func (h logGroups) CloseGroup(_ context.Context, id uint32) error {
	if r := h.proc.replicas[id]; r != nil {
		r.log.resign(r)
		r.closed = true
		delete(h.proc.replicas, id)
	}
	return nil
}

func (h logGroups) Remove(id uint32) error {
	l := h.proc.w.log(id)
	h.proc.w.trace("%s deletes group %d", h.proc.id, id)
	delete(l.disks, h.proc.id)
	l.durable()
	return nil
}

func (h logGroups) Close(ctx context.Context) error {
	for _, r := range h.proc.open() {
		_ = h.CloseGroup(ctx, r.log.id)
	}
	return nil
}

// open lists the open groups by id.
func (p *worldProc) open() []*logReplica {
	var list []*logReplica
	for _, r := range p.replicas {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *logReplica) int { return cmp.Compare(a.log.id, b.log.id) })
	return list
}
