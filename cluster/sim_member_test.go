package cluster

import (
	"context"
	"slices"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// settled tells what the real one tells: that it leads and no change is under way.
// One that was deposed does not know that, for as long as its lease lasts.
func (r *logReplica) settled() bool {
	if r.log.leader != r && (r.deposed.IsZero() || time.Since(r.deposed) > lease) {
		return false
	}
	return !r.changing && r.disk.unsettled() == nil
}

// Change checks what the real one checks. The new configuration counts from when it
// is written; whether it comes to be may stay open for long.
func (r *logReplica) Change(ctx context.Context, c shard.MemberChange) error {
	l := r.log
	l.w.interleave()
	if err := r.usable(ctx); err != nil {
		return err
	}
	if !r.settled() && l.leader == r && (r.changing || !l.finish()) {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, true, "another change of membership is under way")
	}
	e, ok := r.fits(c)
	if !ok {
		return r.misfit()
	}
	if c.Kind == shard.TransferChange {
		return r.TransferLeadership(ctx, c.Node)
	}
	l.w.trace("group %d: change %d of %s: %v vote and %v follow", l.id, int(c.Kind), c.Node, e.voters, e.nonvoters)
	l.w.counts["changes"]++
	if l.leader != r {
		l.resign(r)
		return r.unknown("another leader was elected")
	}
	l.w.check.changed(r, c, e)
	r.disk.tail = append(r.disk.tail, e)
	r.changing = true
	l.spread(r)
	l.w.interleave()
	r.changing = false
	switch {
	case slices.Contains(l.entries, e):
		return nil
	case r.closed || l.leader != r || l.w.fault(20):
		l.resign(r)
		return r.unknown("leadership was lost")
	case l.w.fault(3):
		l.w.counts["changes left open"]++
		l.w.trace("group %d: the change is left open", l.id)
		return r.unknown("it takes too long")
	case l.finish():
		return nil
	}
	l.spread(r)
	return r.unknown("no majority can be reached")
}

// fits returns the entry for a change that makes sense in the present configuration.
func (r *logReplica) fits(c shard.MemberChange) (*logEntry, bool) {
	voters, nonvoters := r.Members()
	fits := sameSet(voters, c.Voters) && sameSet(nonvoters, c.Nonvoters)
	votes, follows := slices.Contains(voters, c.Node), slices.Contains(nonvoters, c.Node)
	self := c.Node == r.proc.id
	without := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return id == c.Node })
	}
	with := func(list []string) []string { return slices.Sorted(slices.Values(append(slices.Clone(list), c.Node))) }
	e := &logEntry{term: r.disk.term, voters: without(voters), nonvoters: without(nonvoters)}
	switch c.Kind {
	case shard.TransferChange:
		fits = fits && (votes || c.Node == "" && len(voters) > 1)
	case shard.AddNonvoterChange:
		fits = fits && !votes && !follows
		e.nonvoters = with(e.nonvoters)
	case shard.PromoteChange:
		fits = fits && follows
		e.voters = with(e.voters)
	case shard.DemoteChange:
		fits = fits && votes && !self
		e.nonvoters = with(e.nonvoters)
	case shard.RemoveChange:
		fits = fits && (votes || follows) && !self
	}
	return e, fits && (c.Node != "" || c.Kind == shard.TransferChange)
}

func (r *logReplica) misfit() error {
	return r.err(typesv1.Reason_REASON_PLACEMENT_CHANGED, true, "the members are left as they are")
}

// finish commits what the leader has written, if there is anything.
func (l *abstractLog) finish() bool {
	if len(l.leader.disk.tail) == 0 {
		return true
	}
	if !l.commitTail(l.leader) {
		return false
	}
	l.leader.applyTo(len(l.entries))
	return true
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// TransferLeadership hands the leadership to a voter that can be reached; any but
// this one when to is empty.
func (r *logReplica) TransferLeadership(ctx context.Context, to string) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	if to == r.proc.id {
		return nil
	}
	voters, _ := r.Members()
	heirs := slices.DeleteFunc(r.log.reachable(r, voters), func(h *logReplica) bool { return h == r || to != "" && h.proc.id != to })
	if len(heirs) == 0 || r.log.leader != r {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, false, "%q was not reached", to)
	}
	heir := pick(r.log.w, heirs)
	r.log.send(r, heir, len(r.log.entries))
	r.log.share(r, heir, len(r.disk.tail))
	if !r.log.elect(heir) {
		return r.err(typesv1.Reason_REASON_UNAVAILABLE, false, "%s was not elected", heir.proc.id)
	}
	r.hear(heir)
	r.log.w.counts["transfers"]++
	return nil
}

// changed checks a voter's removal when it is written: it must leave a majority that
// follows the leader and so can commit it, by all that placement could see when it
// looked. Where something has happened since, placement could not know.
func (c *checks) changed(r *logReplica, m shard.MemberChange, e *logEntry) {
	looker := c.w.looker()
	voters, _ := r.Members()
	if looker == nil || !slices.Contains(voters, m.Node) || m.Kind != shard.RemoveChange && m.Kind != shard.DemoteChange {
		return
	}
	c.w.counts["removals checked"]++
	following := 0
	for _, v := range e.voters {
		other := r.log.replicaOn(v)
		if other != nil && (other == r || c.w.linked(looker.id, v) && other.leader == r.proc.id && other.disk.term == r.disk.term) {
			following++
		}
	}
	if following <= len(e.voters)/2 {
		c.w.fail("group %d: %s loses its vote, and of %v only %d follow the leader: nobody can commit", r.log.id, m.Node, e.voters, following)
	}
}

// looker is the node whose round of placement is under way, if nothing has happened
// since it looked and there is only one.
func (w *world) looker() (p *worldProc) {
	for key := range w.busy {
		if key.what != "place" {
			continue
		}
		if p != nil || key.proc.looked != w.disturbed {
			return nil
		}
		p = key.proc
	}
	return p
}

// unplaced checks a node that is taken off the table of a shard, or let go: it must
// not be a voter by the committed configuration, for it deletes its replica.
func (c *checks) unplaced(shard uint32, node string) {
	if l := c.w.log(shard); !c.w.byHand && slices.Contains(l.voters, node) {
		c.w.fail("shard %d: %s is let go, and votes still among %v", shard, node, l.voters)
	}
}

// deleted checks a replica whose state is deleted: it must not be a voter, and not
// be a member for the shard's leader if that could be asked.
func (c *checks) deleted(l *abstractLog, p *worldProc) {
	if slices.Contains(l.voters, p.id) {
		c.w.fail("shard %d: the replica on %s is deleted, and votes still among %v", l.id, p.id, l.voters)
	}
	lead := l.leader
	if lead == nil || lead.proc == p || !c.w.linked(p.id, lead.proc.id) || !slices.Contains(p.node.catalog.machine.Placement(l.id).GetReplicas(), lead.proc.id) {
		return
	}
	if slices.Contains(l.members(), p.id) {
		c.w.fail("shard %d: the replica on %s is deleted, and %s, which leads, counts it as a member", l.id, p.id, lead.proc.id)
	}
}
