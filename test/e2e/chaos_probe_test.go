//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/drill"
)

// probePace is the pause between two writes of a probe.
const probePace = 15 * time.Millisecond

// probe writes to one shard, one step after the other, and takes down when each
// was acknowledged.
type probe struct {
	shard uint32
	id    string
	c     *client.Client

	mu    sync.Mutex // guards the fields below
	acked []ack
	err   error
}

// ack is one acknowledged write.
type ack struct {
	sent, done time.Time
	seq        uint64
}

// probes has a probe for every shard.
type probes struct {
	list []*probe
	// nodes is how many there were in the beginning.
	nodes int
	stop  context.CancelFunc
	work  sync.WaitGroup
}

func startProbes(a *arena, spec string, shards int) *probes {
	a.t.Helper()
	return a.startProbes(spec, shards)
}

// startProbes makes an instance in every shard and begins to write.
func (s *servers) startProbes(spec string, shards int) *probes {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &probes{nodes: len(s.nodes), stop: stop}
	s.t.Cleanup(p.end)
	admin := s.connect(s.nodes...)
	seen := map[uint32]bool{}
	setup, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for i := 0; len(seen) < shards; i++ {
		if i == 50*shards {
			s.t.Fatalf("after %d instances only the shards %v have one", i, seen)
		}
		id := fmt.Sprintf("probe-%d", i)
		resp, err := admin.Init(setup, spec, id)
		if err != nil {
			s.t.Fatalf("init of a probe: %v", err)
		}
		if seen[resp.GetShard()] {
			continue
		}
		seen[resp.GetShard()] = true
		p.list = append(p.list, &probe{shard: resp.GetShard(), id: id, c: s.connect(s.nodes...)})
	}
	for _, one := range p.list {
		p.work.Go(func() { one.run(ctx) })
	}
	return p
}

// end stops the probes and waits for them; it may be called twice.
func (p *probes) end() {
	p.stop()
	p.work.Wait()
}

// run writes until ctx ends. A write that fails is repeated with the same
// request, so that the probe knows what its instance holds.
func (p *probe) run(ctx context.Context) {
	seq, request := uint64(1), ""
	for ctx.Err() == nil {
		sent := time.Now()
		if request == "" {
			request = uuid.Must(uuid.NewV7()).String()
		}
		// A write that was sent gets its answer even when the probe is to stop.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		resp, err := p.c.Transition(call, p.id, "a", fmt.Sprintf("s%d", (seq+1)%2), client.WithRequestID(request), client.WithExpectedSeq(seq+1))
		cancel()
		var deviation *client.DeviationError
		var failed *client.Error
		switch {
		case errors.As(err, &deviation):
			resp, err = deviation.Response, nil
		case errors.As(err, &failed) && (failed.Temporary() || errors.Is(err, context.DeadlineExceeded)):
			continue
		case errors.Is(err, client.ErrDiskSpace):
			// Refused until there is room, at once.
			wait(probePace)
			continue
		}
		p.mu.Lock()
		if err == nil && resp.GetSeq() != seq+1 {
			err = fmt.Errorf("seq %d where %d was asked for", resp.GetSeq(), seq+1)
		}
		if err != nil {
			p.err = fmt.Errorf("%s in shard %d, seq %d: %w", p.id, p.shard, seq+1, err)
			p.mu.Unlock()
			return
		}
		seq, request = seq+1, ""
		p.acked = append(p.acked, ack{sent, time.Now(), seq})
		p.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(probePace):
		}
	}
}

// since reports whether a write was acknowledged that began after a moment.
func (p *probe) since(moment time.Time) (done time.Time, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.acked, moment, func(a ack, m time.Time) int { return a.sent.Compare(m) })
	if i < len(p.acked) {
		return p.acked[i].done, true, p.err
	}
	return time.Time{}, false, p.err
}

// await waits until every shard has acknowledged a write since the moment and
// returns how long the last of them took.
func (p *probes) await(t *testing.T, moment time.Time, patience time.Duration, why string) time.Duration {
	t.Helper()
	deadline := time.Now().Add(patience)
	longest := time.Duration(0)
	for _, one := range p.list {
		for {
			done, ok, err := one.since(moment)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				longest = max(longest, done.Sub(moment))
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: shard %d has acknowledged no write for %s", why, one.shard, time.Since(moment).Round(time.Millisecond))
			}
			wait(5 * time.Millisecond)
		}
	}
	return longest
}

// none wants no shard to have acknowledged a write that began after the moment.
func (p *probes) none(t *testing.T, moment time.Time, why string) {
	t.Helper()
	for _, one := range p.list {
		if done, ok, _ := one.since(moment); ok {
			t.Errorf("%s: shard %d acknowledged a write %s after nobody could have", why, one.shard, done.Sub(moment).Round(time.Millisecond))
		}
	}
}

// longestGap is the longest time in which a shard acknowledged nothing, from the
// last write before a span to its end, and which shard that was.
func (p *probes) longestGap(from, to time.Time) (gap time.Duration, shard uint32) {
	for _, one := range p.list {
		one.mu.Lock()
		var acks []time.Duration
		for _, a := range one.acked {
			acks = append(acks, a.done.Sub(from))
		}
		one.mu.Unlock()
		if d, _ := drill.LongestGap(acks, 0, to.Sub(from), to.Sub(from)); d > gap {
			gap, shard = d, one.shard
		}
	}
	return max(0, gap-probePace), shard
}

// check compares what the probes were told with what the cluster holds.
func (p *probes) check(ctx context.Context, t *testing.T) (acked int) {
	t.Helper()
	for _, one := range p.list {
		seq := uint64(0)
		last := one.acked[len(one.acked)-1].seq
		info, err := one.c.Get(ctx, one.id)
		if err != nil {
			t.Fatalf("%s: %v", one.id, err)
		}
		if info.GetInstance().GetSeq() < last || info.GetInstance().GetSeq() > last+1 {
			t.Errorf("%s has come to seq %d; the last acknowledged one is %d", one.id, info.GetInstance().GetSeq(), last)
		}
		for step, err := range one.c.History(ctx, one.id) {
			if err != nil {
				t.Fatalf("%s: history: %v", one.id, err)
			}
			if seq != 0 && step.GetSeq() != seq+1 {
				t.Errorf("%s: seq %d after %d", one.id, step.GetSeq(), seq)
			}
			if seq = step.GetSeq(); seq > 1 && step.GetState() != fmt.Sprintf("s%d", seq%2) {
				t.Errorf("%s: seq %d holds %v", one.id, seq, step)
			}
		}
		acked += len(one.acked)
	}
	return acked
}
