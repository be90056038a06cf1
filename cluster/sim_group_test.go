package cluster

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

func (r *logReplica) ID() uint32 { return r.log.id }

func (r *logReplica) Now() time.Time { return r.cfg.Now() }

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
