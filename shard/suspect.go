package shard

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// Failover is what a group needs to replace a lost leader sooner than Raft would
// by itself. All methods are called concurrently and must return soon after
// their context ends.
//
// # Why Raft's own timers are not enough
//
// A follower of hashicorp/raft looks for a lost leader at random moments, one to
// two heartbeat timeouts apart, so that it finds one after up to three of them.
// It then asks for votes, and those who have not looked yet refuse, because they
// still believe in the leader. So the last follower decides; and with many groups
// on one node, the last group. When two look at the same moment they split the
// votes, and wait again.
//
// # What is done instead
//
// A follower that has heard nothing for Timing.Refused looks whether the leader's
// process is gone: whether the machine refuses connections to its address, or
// the process, started again, says that it does not lead. If it is gone, or
// nothing was heard for Timing.Silent, the follower asks the other voters whether
// the same holds for them. With a majority, itself included, the one of them with
// the longest log begins an election; the others wait. That is a pre-vote with
// better knowledge. Raft decides the election by its own rules, as after a
// transfer of leadership: a wrong suspicion costs an election, never safety. And
// Raft's timers run on.
//
// The same is done in a group without any leader that could be lost, one that is new
// or whose nodes were all started again: a majority that has heard of none since it was
// started begins an election, if nobody who answers knows better.
type Failover interface {
	// AskLost asks a node what Group.Lost answers there.
	AskLost(ctx context.Context, nodeID string, group uint32, leader string, term uint64) (Lost, error)
	// Gone reports whether the node's process is certain not to run at its address.
	Gone(ctx context.Context, nodeID string) bool
	// Deliver hands a message to a group's Raft on this node as if it had come from
	// a peer, and returns what Raft answers.
	Deliver(ctx context.Context, group uint32, message any) (answer any, err error)
}

// Lost is what a node says about a leader.
type Lost struct {
	// Lost is set when the leader is lost for the node: fallen silent, or, when
	// it was asked about itself, no longer the leader.
	Lost bool
	// LastTerm and LastIndex are those of the last entry of the node's log; 0 when
	// the node cannot take over, whatever its log holds.
	LastTerm, LastIndex uint64
}

// Lost answers a voter that asks about the leader of a term; leader is empty when
// the voter does not know who it was.
func (g *Group) Lost(ctx context.Context, leader string, term uint64) Lost {
	answer := Lost{}
	answer.LastTerm, answer.LastIndex = g.lastEntry()
	switch {
	case g.ctx.Err() != nil || g.replica.haltCause() != nil || g.voteless():
		return Lost{}
	case leader == g.cfg.NodeID:
		answer.Lost = !g.raftLeads() || g.raft.CurrentTerm() != term
	default:
		// Who has not heard of a leader may not have heard of the term either: only the
		// node that wrote the first configuration has the term of it.
		own := g.raft.CurrentTerm()
		answer.Lost = (own == term || own < term && g.unled()) && g.lost(ctx, leader)
		if answer.Lost {
			signal(g.suspectWake)
		}
	}
	return answer
}

// lastEntry is the end of this node's log.
func (g *Group) lastEntry() (term, index uint64) {
	stats := g.raft.Stats()
	number := func(key string) uint64 {
		n, _ := strconv.ParseUint(stats[key], 10, 64)
		return n
	}
	term, index = number("last_log_term"), number("last_log_index")
	if snapshot := number("last_snapshot_index"); snapshot > index {
		return number("last_snapshot_term"), snapshot
	}
	return term, index
}

// silence is how long this node has not heard of a leader since the group was opened;
// 0 when it leads.
func (g *Group) silence() time.Duration {
	last := g.raft.LastContact()
	state := g.raft.State()
	if state == raft.Leader {
		g.led.Store(int64(time.Since(g.opened)))
	}
	if state != raft.Follower && state != raft.Candidate || g.replica.haltCause() != nil {
		return 0
	}
	// A leader that stepped down has not heard of one for as long as it led.
	silence := time.Since(g.opened) - time.Duration(g.led.Load())
	if !last.IsZero() {
		silence = min(silence, time.Since(last))
	}
	return silence
}

// unled reports whether this node has neither heard of a leader nor led since the
// group was opened, nor given its vote: whoever leads, it is not to this node's knowledge.
func (g *Group) unled() bool {
	_, known := g.Leader()
	return !known && g.raft.LastContact().IsZero() && g.led.Load() == 0 && g.replica.haltCause() == nil
}

// lost reports whether the leader is lost for this node. It may take as long as a
// look at the leader's process.
func (g *Group) lost(ctx context.Context, leader string) bool {
	known, ok := g.Leader()
	if leader == "" {
		leader = known
	}
	if ok && known != leader {
		return false
	}
	if !ok && g.raft.State() == raft.Candidate {
		return true // its own timers were first
	}
	silence := g.silence()
	switch {
	case leader == "" && g.unled():
		return true
	case silence < g.cfg.Timing.Refused:
		return false
	case silence >= g.cfg.Timing.Silent:
		return true
	}
	return g.gone(ctx, leader) && g.silence() >= silence
}

// gone reports whether a leader's process is certain not to lead any more.
func (g *Group) gone(ctx context.Context, leader string) bool {
	if leader == "" || leader == g.cfg.NodeID {
		return false
	}
	if g.cfg.Failover.Gone(ctx, leader) {
		return true
	}
	answer, err := g.cfg.Failover.AskLost(ctx, leader, g.cfg.ID, leader, g.raft.CurrentTerm())
	return err == nil && answer.Lost
}

// suspectLoop watches over the leader while this node follows.
func (g *Group) suspectLoop() {
	if g.cfg.Failover == nil {
		return
	}
	var s suspicion
	for g.pauseWatch(&s, g.watch(&s)) {
	}
}

// pauseWatch waits for d, or until a voter asks about the leader: but for that once
// in a term only, as whoever looks asks the others, and a voter that asks again does
// so because it has waited in vain and campaigns itself now. It reports false at the
// end.
func (g *Group) pauseWatch(s *suspicion, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-g.suspectWake:
			if !s.woken {
				s.woken = true
				return true
			}
		case <-g.ctx.Done():
			return false
		}
	}
}

// suspicion is what a node remembers from one look at the leader to the next.
type suspicion struct {
	// term is the term whose leader was found lost, leader the last one known in it.
	term   uint64
	leader string
	// until is when this node campaigns although another one should have.
	until time.Time
	// woken is set when a voter has made this node look.
	woken bool
	// campaigned is when this node campaigned last, in any term; zero once the
	// election gave a leader that is heard.
	campaigned time.Time
}

// watch looks at the leader once, and campaigns if it is lost and this node is
// the one to do it. It returns when to look again.
func (g *Group) watch(s *suspicion) time.Duration {
	step := g.cfg.Timing.Refused
	voters, _ := g.members()
	silence, term := g.silence(), g.raft.CurrentTerm()
	if term != s.term {
		*s = suspicion{term: term, campaigned: s.campaigned}
	}
	if leader, known := g.Leader(); known {
		s.leader = leader
		if silence < step {
			*s = suspicion{term: term, leader: leader}
		}
	}
	// A candidate of a term that had a leader is one whose own timers were first,
	// and who gets no votes from those who still believe in that leader.
	voting := g.raft.State() == raft.Candidate && s.leader == ""
	if silence < step || voting || !slices.Contains(voters, g.cfg.NodeID) || g.voteless() {
		// At most a beat later than due, however short the rest is.
		return max(step-silence, step/10)
	}
	if held := g.heldBack(s); held > 0 {
		// Never for longer than a look: an election may give a leader, and lose it.
		return min(held, step)
	}
	ctx, cancel := context.WithTimeout(g.ctx, max(step, g.cfg.Timing.Heartbeat/2))
	defer cancel()
	if !g.lost(ctx, s.leader) {
		return step/4 + rand.N(step/4)
	}
	lost := g.askVoters(ctx, voters, s.leader, term)
	if len(lost)+1 < len(voters)/2+1 {
		return step/2 + rand.N(step/2)
	}
	before, votes := g.standing(lost, voters)
	if votes < len(voters)/2+1 {
		return step // somebody with a longer log has to do it
	}
	if before > 0 {
		if s.until.IsZero() {
			s.until = time.Now().Add(time.Duration(before) * step)
		}
		if rest := time.Until(s.until); rest > 0 {
			return rest
		}
	}
	if g.silence() < step || g.raft.CurrentTerm() != term {
		return step
	}
	s.campaigned = time.Now()
	g.cfg.Logger.Info("nobody hears a leader; this node campaigns", "leader", s.leader, "term", term, "silence", silence.Round(time.Millisecond), "agreeing", len(lost)+1)
	if err := g.campaign(ctx, term); err != nil {
		g.cfg.Logger.Warn("the election could not be begun", "error", err)
	}
	return step
}

// heldBack is for how long yet this node does not campaign, because it did and no
// leader came of it. Where everything is too slow for an election, more of them make
// it worse: then Raft's own timers, with their pre-votes, are the better judge.
func (g *Group) heldBack(s *suspicion) time.Duration {
	return 2*(g.cfg.Timing.Heartbeat+g.cfg.Timing.Election) - time.Since(s.campaigned)
}

// askVoters returns what the voters answer for whom the leader is lost as well. A node
// that has not heard of a leader since it was started may only not have heard of it
// yet: then they count only if all who answer agree, a leader among them.
func (g *Group) askVoters(ctx context.Context, voters []string, leader string, term uint64) map[string]Lost {
	answers := g.askAll(ctx, voters, leader, term)
	asked := len(answers)
	maps.DeleteFunc(answers, func(_ string, answer Lost) bool { return !answer.Lost })
	if len(answers) < asked && g.unled() {
		return nil
	}
	return answers
}

// askAll asks all voters but this node and the leader, and returns the answers
// that come before ctx ends.
func (g *Group) askAll(ctx context.Context, voters []string, leader string, term uint64) map[string]Lost {
	type reply struct {
		voter  string
		answer Lost
		err    error
	}
	var asked int
	replies := make(chan reply, len(voters))
	for _, voter := range voters {
		if voter == g.cfg.NodeID || voter == leader {
			continue
		}
		if g.spawn(func() {
			answer, err := g.cfg.Failover.AskLost(ctx, voter, g.cfg.ID, leader, term)
			replies <- reply{voter, answer, err}
		}) {
			asked++
		}
	}
	answers := map[string]Lost{}
	for ; asked > 0; asked-- {
		select {
		case r := <-replies:
			if r.err == nil {
				answers[r.voter] = r.answer
			}
		case <-ctx.Done():
			return answers
		}
	}
	return answers
}

// standing counts the voters that should campaign before this node, those with a
// longer log, and of those with the same one the earlier in rank; and the votes that
// this node can get, its own included.
func (g *Group) standing(others map[string]Lost, voters []string) (before, votes int) {
	order := slices.Sorted(slices.Values(voters))
	mine := Lost{}
	mine.LastTerm, mine.LastIndex = g.lastEntry()
	votes = 1
	for voter, theirs := range others {
		longer := cmp.Or(cmp.Compare(theirs.LastTerm, mine.LastTerm), cmp.Compare(theirs.LastIndex, mine.LastIndex))
		if longer <= 0 {
			votes++
		}
		if cmp.Or(longer, cmp.Compare(g.rank(order, g.cfg.NodeID), g.rank(order, voter))) > 0 {
			before++
		}
	}
	return before, votes
}

// rank is the place of a voter in an order that differs between groups, so that
// several nodes share the leaderships that one leaves behind.
func (g *Group) rank(order []string, voter string) int {
	return (slices.Index(order, voter) + int(g.cfg.ID)) % len(order)
}
