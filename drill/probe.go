package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/spexio/spex/client"
)

// maxProbeTries bounds how many identifiers are tried to find one for each shard.
const maxProbeTries = 20

// probe writes to one instance of each shard, again and again, until ctx ends.
func (w *Workload) probe(ctx context.Context) {
	c, err := w.dial(ctx, 0, false)
	if err != nil {
		w.cfg.Logger.Warn("no probes", "error", err)
		return
	}
	defer c.Close()
	shards := w.shards(ctx, c)
	var work sync.WaitGroup
	found := map[uint32]bool{}
	for n := 0; len(found) < shards && n < maxProbeTries*shards && ctx.Err() == nil; n++ {
		o := w.probeInit(ctx, c, -1-n)
		if o.Outcome != OK || found[o.Answer.Shard] {
			continue
		}
		found[o.Answer.Shard] = true
		work.Go(func() { w.probeShard(ctx, c, o, shards) })
	}
	if len(found) < shards && ctx.Err() == nil {
		w.cfg.Logger.Warn("not every shard has a probe", "shards", shards, "probes", len(found))
	}
	work.Wait()
}

// shards asks how many there are, until it is told.
func (w *Workload) shards(ctx context.Context, c *client.Client) int {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, w.cfg.CallTimeout)
		st, err := c.Status(call, false)
		cancel()
		if err == nil {
			return len(st.GetShards())
		}
		pause(ctx, w.cfg.ProbeEvery)
	}
	return 0
}

// probeWrite gives a write of a probe what makes it unique.
func (w *Workload) probeWrite(o Operation) Operation {
	o.RequestID, o.Mark = uuid.Must(uuid.NewV7()).String(), w.mark.Add(1)
	return o
}

// probeInit begins an instance in some shard.
func (w *Workload) probeInit(ctx context.Context, c *client.Client, number int) Operation {
	o := w.probeWrite(Operation{Client: number, Instance: fmt.Sprintf("%s-probe-%d", w.cfg.Prefix, w.probed.Add(1)), Kind: Init})
	o = w.send(ctx, c, o)
	w.addProbe(o)
	w.knows(o.Instance)
	return o
}

// probeShard writes to the instance of one shard. A write whose outcome is not
// known is sent again, so that it counts when it is answered.
func (w *Workload) probeShard(ctx context.Context, c *client.Client, first Operation, shards int) {
	for n := 1; ctx.Err() == nil; n++ {
		pause(ctx, w.cfg.ProbeEvery)
		for tries := maxProbeTries * shards; n%w.cfg.ProbeSteps == 0 && tries > 0 && ctx.Err() == nil; tries-- {
			if o := w.probeInit(ctx, c, first.Client); o.Outcome == OK && o.Answer.Shard == first.Answer.Shard {
				first = o
				break
			}
		}
		o := w.probeWrite(Operation{Client: first.Client, Instance: first.Instance, Kind: Step, Action: actionName(0, n), State: stateName(n)})
		for {
			done := w.send(ctx, c, o)
			w.addProbe(done)
			if done.Outcome == OK || ctx.Err() != nil {
				break
			}
			pause(ctx, min(w.cfg.ProbeEvery, 50*time.Millisecond))
		}
	}
}

// addProbe records a call of a probe. Where it was refused for nobody's fault
// but that of the moment it is a call all the same.
func (w *Workload) addProbe(o Operation) {
	if o.Outcome == OK {
		w.acked.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes = append(w.probes, o)
}
