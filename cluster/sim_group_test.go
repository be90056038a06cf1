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
	voters, _ := r.Members()
	for _, v := range r.log.reachable(r, voters) {
		if v.disk.term == r.disk.term {
			yes = append(yes, v)
		}
	}
	if r.log.w.breaks != readsUnconfirmed && !majority(voters, yes) {
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
func (r *logReplica) member() bool { return slices.Contains(r.log.members(), r.proc.id) }

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
		Commit: uint64(r.commit), Last: uint64(r.disk.has + len(r.disk.tail)),
	}
	if term, ok := r.Leading(); ok {
		s.State, s.Leading, s.Term = "leader", true, term
		s.Settled = r.settled()
	}
	if r.closed {
		s.State = shard.StateShutdown
	}
	s.Voters, s.Nonvoters = r.Members()
	return s
}

// Members is the newest configuration on the disk, committed or not.
func (r *logReplica) Members() (voters, nonvoters []string) { return r.log.config(r.disk) }

func (r *logReplica) Bootstrap(voters, nonvoters []string) error {
	l := r.log
	first := logEntry{term: 1, voters: slices.Sorted(slices.Values(voters)), nonvoters: slices.Sorted(slices.Values(nonvoters))}
	if r.disk.has > 0 || r.disk.term > 0 {
		return shard.ErrHasState
	}
	if len(l.entries) == 0 {
		l.entries = []*logEntry{&first}
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
