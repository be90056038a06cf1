package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/spexio/spex/client"
)

// maxUnknown ends the work on an instance after so many unknown outcomes: each of
// them may have happened anywhere later, which the search has to try.
const maxUnknown = 4

// target is the instance that a group works on.
type target struct {
	id string
	// calls and unknown count; live and seq are what the group last heard.
	calls, unknown atomic.Int64
	live           atomic.Bool
	seq            atomic.Uint64
}

// group is some clients that share instances.
type group struct {
	w      *Workload
	number int

	mu   sync.Mutex // guards the fields below
	n    int
	last *target
}

// current is the instance to work on.
func (g *group) current() *target {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last == nil || g.last.calls.Load() >= int64(g.w.cfg.InstanceOps) || g.last.unknown.Load() >= maxUnknown {
		g.last = &target{id: fmt.Sprintf("%s-%d-%d", g.w.cfg.Prefix, g.number, g.n)}
		g.n++
		g.w.knows(g.last.id)
	}
	return g.last
}

// player is one client of a group.
type player struct {
	w            *Workload
	c            *client.Client
	group        *group
	number, lane int
	pinned       bool
	rng          *rand.Rand
	// variant counts the steps, so that each has another action.
	variant int
	// target is what sent are the latest writes on.
	target *target
	sent   []Operation
	// index is the highest one that this player was told about the target.
	index uint64
}

// maxSent is how many of its writes a player may repeat.
const maxSent = 6

// play makes calls until the end.
func (p *player) play(ctx context.Context) {
	most := int64(p.w.cfg.Operations)
	for ctx.Err() == nil && (most == 0 || p.w.calls.Add(1) <= most) {
		in := p.group.current()
		in.calls.Add(1)
		if p.target != in {
			p.target, p.sent, p.index = in, nil, 0
		}
		p.once(ctx, in)
		pause(ctx, time.Duration(p.rng.Int64N(int64(p.w.cfg.Think)+1)))
	}
}

// once makes one call.
func (p *player) once(ctx context.Context, in *target) {
	if n := len(p.sent); n > 0 && p.sent[n-1].Outcome == Unknown && p.rng.IntN(10) < 6 {
		p.again(ctx, in, p.sent[n-1], false)
		return
	}
	if p.pinned && p.rng.IntN(10) < 6 {
		p.read(ctx, in, []Kind{Get, Get, Read, Stale, Stale}[p.rng.IntN(5)])
		return
	}
	if !in.live.Load() && p.rng.IntN(10) < 6 {
		p.write(ctx, in, Operation{Kind: Init})
		return
	}
	switch dice := p.rng.IntN(100); {
	case dice < 40:
		p.step(ctx, in, Operation{})
	case dice < 60:
		p.step(ctx, in, Operation{ExpectedSeq: in.seq.Load() + 1})
	case dice < 63:
		p.write(ctx, in, Operation{Kind: Step, Action: wrongAction, State: stateName(p.rng.IntN(states))})
	case dice < 66:
		p.write(ctx, in, Operation{Kind: Step, Action: silentAction, State: stateName(p.rng.IntN(states))})
	case dice < 72:
		p.read(ctx, in, Get)
	case dice < 76:
		p.read(ctx, in, Stale)
	case dice < 84:
		p.read(ctx, in, Read)
	case dice < 86:
		p.read(ctx, in, List)
	case dice < 88:
		p.write(ctx, in, Operation{Kind: Delete})
	case dice < 90:
		p.write(ctx, in, Operation{Kind: Init})
	case dice < 98 && len(p.sent) > 0:
		p.again(ctx, in, p.sent[p.rng.IntN(len(p.sent))], false)
	default:
		p.forge(ctx, in)
	}
}

// forge uses the request id of an acknowledged write for another one.
func (p *player) forge(ctx context.Context, in *target) {
	for _, o := range p.sent {
		if o.Outcome == OK && o.Kind != Delete { // a Delete has no body
			p.again(ctx, in, o, true)
			return
		}
	}
	p.step(ctx, in, Operation{})
}

// step sends the next step of this player.
func (p *player) step(ctx context.Context, in *target, o Operation) {
	o.Kind, o.Action, o.State = Step, actionName(p.lane, p.variant), stateName(p.variant)
	p.variant++
	p.write(ctx, in, o)
}

// again sends a write once more, or with its request id another one, which the
// cluster has to tell apart.
func (p *player) again(ctx context.Context, in *target, o Operation, forged bool) {
	o = Operation{Kind: o.Kind, RequestID: o.RequestID, Mark: o.Mark, Action: o.Action, State: o.State, ExpectedSeq: o.ExpectedSeq}
	if forged {
		o.Forged, o.Mark, o.ExpectedSeq = true, p.w.mark.Add(1), 0
	}
	p.write(ctx, in, o)
}

// write makes a write and records it.
func (p *player) write(ctx context.Context, in *target, o Operation) {
	if o.RequestID == "" {
		o.RequestID = uuid.Must(uuid.NewV7()).String()
		if o.Kind != Delete {
			o.Mark = p.w.mark.Add(1)
		}
	}
	o.Client, o.Instance = p.number, in.id
	o = p.w.send(ctx, p.c, o)
	switch {
	case o.Outcome == Unknown:
		in.unknown.Add(1)
	case o.Outcome == OK && !o.Forged:
		p.index = max(p.index, o.Answer.Index)
		in.live.Store(o.Kind != Delete)
		in.seq.Store(o.Answer.Seq)
	case o.Reason == mismatch:
		in.seq.Store(o.Answer.CurrentSeq)
	case o.Reason == absent:
		in.live.Store(false)
	case o.Reason == inUse:
		in.live.Store(true)
	}
	p.w.add(o)
	if o.Forged {
		return
	}
	if p.sent = append(p.sent, o); len(p.sent) > maxSent {
		p.sent = p.sent[1:]
	}
}

// read makes a read and records it.
func (p *player) read(ctx context.Context, in *target, kind Kind) {
	o := Operation{Client: p.number, Instance: in.id, Kind: kind}
	if kind == Stale {
		o.MinIndex = p.index
	}
	o = p.w.look(ctx, p.c, o)
	p.index = max(p.index, o.Answer.Index)
	if o.Outcome == OK && kind != Stale {
		in.live.Store(o.Answer.Exists)
		in.seq.Store(o.Answer.Seq)
	}
	p.w.add(o)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
