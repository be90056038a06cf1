package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

func compareIDs(a, b string) int { return strings.Compare(a, b) }

// act carries a decision out. An outcome without a kind means: go on. problem
// says what failed and will be tried again, "" if the decision is to wait.
func (b *Bootstrap) act(ctx context.Context, d decision, round int) (out Outcome, problem string) {
	switch d.action {
	case actRestarted:
		return Outcome{Kind: Restarted, ClusterID: d.clusterID}, ""
	case actPledged:
		p, _, durable := b.pledges.current()
		if !durable {
			// The cluster exists, so the pledge was on disk once it was counted.
			if err := b.pledges.pledge(p); err != nil {
				return Outcome{}, err.Error()
			}
		}
		return b.outcome(Pledged, p), ""
	case actJoin:
		return b.join(ctx, d, round)
	case actPropose:
		if problem := b.try(ctx, d.members); problem != "" {
			return Outcome{}, problem
		}
		if problem := b.propose(d.members); problem != "" {
			return Outcome{}, problem
		}
		return b.ask(ctx)
	case actAsk:
		return b.ask(ctx)
	default:
		return Outcome{}, ""
	}
}

// proposal describes a new cluster of the given members, without an id.
func (b *Bootstrap) proposal(members []string) Proposal {
	return Proposal{
		ClusterName: b.identity.ClusterName(),
		Members:     members,
		Shards:      b.cfg.Shards,
		Replicas:    b.cfg.Replicas,
	}
}

// try asks the members whether they would pledge. Without it a proposal that
// cannot succeed, say because of one server's settings, would bind this node for
// ever before anybody could mend them.
func (b *Bootstrap) try(ctx context.Context, members []string) (problem string) {
	if problems := b.collect(ctx, b.proposal(members)); len(problems) > 0 {
		return "not proposed yet: " + strings.Join(problems, "; ")
	}
	return ""
}

// propose mints a proposal and pledges this node to it. The pledge on disk is
// the memory of the proposal: after a crash the same one is asked for again.
func (b *Bootstrap) propose(members []string) (problem string) {
	id, err := uuid.NewRandomFromReader(b.cfg.Rand)
	if err != nil {
		return fmt.Sprintf("make a cluster id: %v", err)
	}
	p := b.proposal(members)
	p.ClusterID = id.String()
	if err := p.check(); err != nil {
		return err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.joining != "" {
		return fmt.Sprintf("asked to join cluster id %s, which went out of sight: waiting for it; restart this server to make it forget", b.joining)
	}
	err = b.pledges.pledge(p)
	switch {
	case errors.Is(err, errPledgedElsewhere):
		return "pledged to another proposal meanwhile"
	case err != nil:
		return err.Error()
	}
	b.log.Info("proposing a new cluster", "cluster_id", p.ClusterID, "members", p.Members, "shards", p.Shards, "replicas", p.Replicas)
	return ""
}

// ask asks every member for its pledge to this node's own proposal.
func (b *Bootstrap) ask(ctx context.Context) (out Outcome, problem string) {
	p, _, _ := b.pledges.current()
	if p.Proposer() != b.cfg.Self.ID {
		return Outcome{}, "the proposal is another node's"
	}
	// Its own pledge is counted like the others, so it has to be on disk too.
	if err := b.pledges.pledge(p); err != nil {
		return Outcome{}, err.Error()
	}
	if problems := b.collect(ctx, p); len(problems) > 0 {
		return Outcome{}, "the proposal lacks pledges: " + strings.Join(problems, "; ")
	}
	// A cluster may have come into sight meanwhile, or a member gone out of it.
	if again := decide(b.gather()); again.action != actAsk {
		return Outcome{}, "all pledged, but the situation changed: " + again.reason
	}
	return b.outcome(Formed, p), ""
}

// collect asks all other members at once, and returns for each one that did not
// pledge why.
func (b *Bootstrap) collect(ctx context.Context, p Proposal) []string {
	missing := make([]string, len(p.Members))
	var wg sync.WaitGroup
	for i, id := range p.Members {
		if id == b.cfg.Self.ID {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			resp, err := b.cfg.Peers.Pledge(ctx, id, p.request())
			switch {
			case err != nil:
				missing[i] = fmt.Sprintf("%s: %v", id, err)
			case !resp.GetPledged():
				missing[i] = fmt.Sprintf("%s: %s", id, resp.GetReason())
			case resp.GetClusterId() != p.ClusterID:
				missing[i] = fmt.Sprintf("%s: pledged to %q when asked for %q", id, resp.GetClusterId(), p.ClusterID)
			}
		})
	}
	wg.Wait()
	var problems []string
	for _, m := range missing {
		if m != "" {
			problems = append(problems, m)
		}
	}
	return problems
}

// startJoin keeps this node from pledging while it joins. It fails when the
// node has pledged since the decision.
func (b *Bootstrap) startJoin(clusterID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, bound, _ := b.pledges.current(); bound {
		return false
	}
	b.joining = clusterID
	return true
}

// join asks the servers of the cluster in turn, another one first each round.
// The mark of startJoin stays after a failure: the request may have arrived.
func (b *Bootstrap) join(ctx context.Context, d decision, round int) (out Outcome, problem string) {
	if !b.startJoin(d.clusterID) {
		return Outcome{}, "pledged to a proposal meanwhile"
	}
	req := func() *peerv1.JoinRequest {
		return &peerv1.JoinRequest{ClusterName: b.identity.ClusterName(), Node: b.cfg.Self.Node()}
	}
	failpoint.Hit("cluster/join-before-asked")
	var problems []string
	for i := range d.candidates {
		id := d.candidates[(i+round)%len(d.candidates)]
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		resp, err := b.cfg.Peers.Join(ctx, id, req())
		cancel()
		var refusal *fsm.Error
		switch {
		case errors.As(err, &refusal):
			problems = append(problems, fmt.Sprintf("%s: %s (%s)", id, refusal.Message, refusal.Reason))
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", id, err))
		case resp.GetClusterId() != d.clusterID:
			problems = append(problems, fmt.Sprintf("%s: answered for cluster id %q, gossip says %s", id, resp.GetClusterId(), d.clusterID))
		default:
			if err := b.identity.SetClusterID(d.clusterID); err != nil {
				return Outcome{}, fmt.Sprintf("taken in by %s, but: %v", id, err)
			}
			failpoint.Hit("cluster/join-bound")
			return Outcome{Kind: Joined, ClusterID: d.clusterID}, ""
		}
	}
	return Outcome{}, "not taken in yet: " + strings.Join(problems, "; ")
}

// outcome describes the first members with what gossip knows of them.
func (b *Bootstrap) outcome(kind OutcomeKind, p Proposal) Outcome {
	out := Outcome{Kind: kind, ClusterID: p.ClusterID, Shards: p.Shards, Replicas: p.Replicas}
	known := map[string]Member{}
	if b.cfg.Membership != nil {
		for _, m := range b.cfg.Membership.Members() {
			known[m.ID] = m
		}
	}
	known[b.cfg.Self.ID] = b.cfg.Self
	for _, id := range p.Members {
		m := known[id]
		m.ID = id
		out.Members = append(out.Members, m)
	}
	return out
}
