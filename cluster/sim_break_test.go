package cluster

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// simBreak is a promise that the simulated cluster breaks, so that the checks can
// show that they see it.
type simBreak string

const (
	unbroken simBreak = ""
	// ackBeforeCommit answers what only the leader has applied, and then loses it.
	ackBeforeCommit simBreak = "ack before commit"
	// readsUnconfirmed asks no voter whether there is a newer leader.
	readsUnconfirmed simBreak = "reads unconfirmed"
	// tailLost forgets the last entries at each start.
	tailLost simBreak = "tail lost"
	// dedupeOff makes the first attempt of a request another one than the second.
	dedupeOff simBreak = "dedupe off"
	// verdictWrong records the opposite verdict.
	verdictWrong simBreak = "verdict wrong"
	// outboxDropped acknowledges what a shard has learned, and tells nobody.
	outboxDropped simBreak = "outbox dropped"
	// replicasDiffer has one node apply entries with a time of its own.
	replicasDiffer simBreak = "replicas differ"
	// clockTrusted stamps entries with the node's clock, however wrong it is.
	clockTrusted simBreak = "clock trusted"
	// timersAsleep never proposes a timeout.
	timersAsleep simBreak = "timers asleep"
	// deletesUnasked has nodes delete replicas without asking the shard's leader.
	deletesUnasked simBreak = "deletes unasked"
	// plansUnsettled shows placement configurations as settled that may vanish.
	plansUnsettled simBreak = "plans on an unsettled configuration"
	// dropsAnyVoter removes voters that placement wants to keep for now.
	dropsAnyVoter simBreak = "drops any voter"
	// forwardsAstray names another shard than that of the instance.
	forwardsAstray simBreak = "forwards astray"
	// forwardsGoOn has a node that does not lead a shard look for who does.
	forwardsGoOn simBreak = "forwards go on"
)

// acknowledgeEarly applies an entry to a copy of the leader's state, and forgets it.
func (w *world) acknowledgeEarly(r *logReplica, e logEntry) ([]fsm.Result, bool) {
	if r.log.id == 0 || r.applied != len(r.log.entries) || len(r.disk.tail) > 0 {
		return nil, false
	}
	view := r.cfg.Machine.Snapshot()
	defer view.Release()
	var b bytes.Buffer
	twin := fsm.NewShard()
	if _, err := view.WriteTo(&b); err != nil || twin.Restore(&b) != nil {
		return nil, false
	}
	results, err := twin.Apply(uint64(len(r.log.entries)+1), e.data)
	if err != nil {
		return nil, false
	}
	r.log.resign(r)
	return results, true
}

// mistaken changes what a leader proposes.
func (w *world) mistaken(r *logReplica, cmds []*statev1.Command, now time.Time) ([]*statev1.Command, time.Time) {
	switch w.breaks {
	case clockTrusted:
		return cmds, r.proc.node.cfg.Now()
	case verdictWrong, dedupeOff, outboxDropped:
	default:
		return cmds, now
	}
	list := make([]*statev1.Command, len(cmds))
	for i, c := range cmds {
		list[i] = proto.CloneOf(c)
		switch j := list[i].GetRecordVerdict().GetJudgement(); {
		case w.breaks == dedupeOff:
			w.forgetRequest(list[i])
		case w.breaks == outboxDropped && c.GetReportShard() != nil:
			list[i].GetReportShard().Items = nil
		case w.breaks != verdictWrong || j == nil:
		case j.GetVerdict() == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT:
			j.Verdict = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
		default:
			j.Verdict = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
		}
	}
	return list, now
}

// forgetRequest gives a step another id for the shard, and keeps the one that the
// client knows where the shard does not look.
func (w *world) forgetRequest(c *statev1.Command) {
	if s := c.GetStep(); s != nil && s.GetRequestId() != "" {
		c.Principal = s.GetRequestId()
		w.clients.number++
		s.RequestId = w.clients.requestID()
	}
}

// misapplied changes what one replica applies.
func (w *world) misapplied(r *logReplica, data []byte) []byte {
	if w.breaks != replicasDiffer || r.proc.id != w.order[0] {
		return data
	}
	entry := &statev1.Entry{}
	if err := proto.Unmarshal(data, entry); err != nil {
		w.fail("decode an entry: %v", err)
	}
	entry.TimeUnixNano++
	data, err := proto.Marshal(entry)
	if err != nil {
		w.fail("encode an entry: %v", err)
	}
	return data
}

// astray changes which shard a request is forwarded to.
func (w *world) astray(req *peerv1.ForwardRequest) *peerv1.ForwardRequest {
	if w.breaks == forwardsAstray {
		req = proto.CloneOf(req)
		req.Target.Group = req.GetTarget().GetGroup()%w.shards + 1
	}
	return req
}

// forwarded is what a node does with a request that another one forwards to it.
func (w *world) forwarded(ctx context.Context, n *Node, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	resp, err := n.Forward(ctx, req)
	if e := asError(err); w.breaks == forwardsGoOn && e != nil && wanders(e) {
		return n.router.onShard(ctx, req.GetTarget().GetGroup(), req)
	}
	return resp, err
}

// losing has a node give up a replica that the catalog places elsewhere.
func (w *world) losing(ctx context.Context, n *Node, id uint32) {
	if w.breaks != deletesUnasked {
		_ = n.lose(ctx, id)
		return
	}
	call, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
	defer cancel()
	if n.catalog.refresh(call) == nil && !n.keeps(id) {
		_ = n.deleteReplica(ctx, id, 0)
	}
}

// placing is a round of placement.
func (w *world) placing(ctx context.Context, p *worldProc, term uint64, changes *sync.WaitGroup) {
	p.node.placer.round(ctx, term, changes)
	changes.Wait()
	if w.breaks != dropsAnyVoter || p.dead {
		return
	}
	p.looked = w.disturbed
	state, _, _ := p.node.placer.gather(ctx)
	_, waiting := plan.Next(state)
	for _, wait := range waiting {
		if strings.Contains(wait.Why, " for now (") {
			_ = p.node.placer.make(ctx, plan.Change{Kind: plan.Remove, Group: wait.Group, Node: wait.Node}, groupOf(state, wait.Group))
		}
	}
}

// TestSimulationSeesBreaks breaks one promise after the other: a check that fits
// must see it within a few schedules.
func TestSimulationSeesBreaks(t *testing.T) {
	for _, c := range []struct {
		breaks simBreak
		seen   string // in the failure: one of these
	}{
		{ackBeforeCommit, "(I1)"},
		{readsUnconfirmed, "(I4)"},
		{tailLost, "acknowledged writes can be lost"},
		{dedupeOff, "(I2)"},
		{verdictWrong, "(I6, I7)"},
		{outboxDropped, "(I6)"},
		{replicasDiffer, "(I8)"},
		{clockTrusted, "(I5)|(I10)"},
		{timersAsleep, "the deadline of"},
		{plansUnsettled, "is let go, and votes still"},
		{dropsAnyVoter, "nobody can commit"},
		{forwardsAstray, "belongs to shard"},
		{forwardsGoOn, "has forwarded to it (I9)"},
	} {
		t.Run(string(c.breaks), func(t *testing.T) {
			others := map[string]int{}
			for seed := uint64(1); seed <= 300; seed++ {
				w := simulate(t, seed, *simSteps, false, c.breaks)
				if slices.ContainsFunc(strings.Split(c.seen, "|"), func(s string) bool { return strings.Contains(w.broken, s) }) {
					t.Logf("seen after %d schedules: %s; before that %v", seed, w.broken, others)
					return
				}
				if w.broken != "" {
					others[w.broken[max(0, len(w.broken)-20):]]++
				}
			}
			t.Errorf("300 schedules did not show it as %s; they showed %v", c.seen, others)
		})
	}
}

// TestNobodyDeletesUnasked: the call that makes a node a member of a shard arrives
// when the catalog has taken the node off the table again, on which it was when the
// call was made, and a leader of the catalog that does not know that gives it its vote.
// The node keeps its replica, as the shard's leader counts on it; where it does not
// ask, the check sees what it does. Random schedules come to this too rarely to be
// counted on.
func TestNobodyDeletesUnasked(t *testing.T) {
	for _, c := range []struct {
		breaks simBreak
		votes  bool
		seen   string
	}{
		{unbroken, false, ""}, {unbroken, true, ""},
		{deletesUnasked, false, "counts it as a member"}, {deletesUnasked, true, "is deleted, and votes still"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1, 4, 1)
			defer func() {
				for _, id := range w.order {
					w.crash(w.nodes[id])
				}
			}()
			w.quiet, w.breaks = true, c.breaks
			w.form()
			w.settle()
			l, catalog := w.log(1), w.log(0)
			node := w.others(l.voters...)[0]
			voters := slices.Clone(l.voters)
			tell := func(cmd *statev1.Command) {
				if _, err := catalog.leader.Propose(t.Context(), cmd); err != nil {
					t.Fatal(err)
				}
				for _, r := range catalog.reachable(catalog.leader, catalog.members()) {
					if r != catalog.leader {
						catalog.send(catalog.leader, r, len(catalog.entries))
						r.applyTo(len(catalog.entries))
					}
				}
			}
			tell(&statev1.Command{Kind: &statev1.Command_PlaceReplica{PlaceReplica: &statev1.PlaceReplica{Shard: 1, Node: node}}})
			w.nodeRound(w.nodes[node].proc, 0)
			tell(&statev1.Command{Kind: &statev1.Command_UnplaceReplica{UnplaceReplica: &statev1.UnplaceReplica{Shard: 1, Node: node}}})
			change := shard.MemberChange{Kind: shard.AddNonvoterChange, Node: node, Voters: voters}
			if err := l.leader.Change(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if change = (shard.MemberChange{Kind: shard.PromoteChange, Node: node, Voters: voters, Nonvoters: []string{node}}); c.votes {
				if err := l.leader.Change(t.Context(), change); err != nil {
					t.Fatal(err)
				}
			}
			w.nodeRound(w.nodes[node].proc, 1)
			switch kept := l.disks[node] != nil; {
			case kept != (c.seen == ""):
				t.Errorf("%q: the replica is kept: %v", c.breaks, kept)
			case c.seen == "" && w.broken != "" || !strings.Contains(w.broken, c.seen):
				t.Errorf("%q was seen as %q, not as %q", c.breaks, w.broken, c.seen)
			}
		})
	}
}
