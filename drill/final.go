package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// finalReaders read the instances at the end.
	finalReaders = 8
	// finalPause is the time between two tries.
	finalPause = 100 * time.Millisecond
)

// Final reads every instance of the workload, and compares the replicas of each
// group. Run has to have ended, and the cluster should be whole again: what
// cannot be read, has no verdict, or does not agree is asked again until ctx ends.
// The error is that of a workload that never ran.
func (w *Workload) Final(ctx context.Context) (*Final, error) {
	if w.control == nil || w.start.IsZero() {
		return nil, fmt.Errorf("drill: the workload has not run")
	}
	f := &Final{Asked: w.now(), Instances: map[string]Answer{}, Unreadable: map[string]string{}}
	w.mu.Lock()
	ids := w.instances
	w.mu.Unlock()
	var (
		mu   sync.Mutex // guards f's maps
		work sync.WaitGroup
		next = make(chan string)
	)
	for range finalReaders {
		work.Go(func() {
			for id := range next {
				a, err := w.settled(ctx, w.control, id)
				mu.Lock()
				if err != nil {
					f.Unreadable[id] = err.Error()
				} else {
					f.Instances[id] = a
				}
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	work.Wait()
	f.Disagreement = w.agreement(ctx)
	return f, nil
}

// settled reads an instance until all of its steps have verdicts.
func (w *Workload) settled(ctx context.Context, c *client.Client, id string) (Answer, error) {
	for {
		o := w.look(ctx, c, Operation{Instance: id, Kind: Read})
		pending := false
		for _, s := range o.Answer.Steps {
			pending = pending || s.Verdict == typesv1.Verdict_VERDICT_PENDING
		}
		if o.Outcome == OK && !pending {
			return o.Answer, nil
		}
		if pause(ctx, finalPause); ctx.Err() != nil {
			if o.Outcome == OK {
				return o.Answer, nil
			}
			return o.Answer, fmt.Errorf("not read in time: %s", o.Error)
		}
	}
}

// agreement asks for the state hashes of all replicas until those of each group
// agree, and returns what does not. A replica that cannot be asked is no disagreement.
func (w *Workload) agreement(ctx context.Context) []string {
	var odd []string
	for {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		st, err := w.control.Status(call, true)
		cancel()
		if err == nil {
			odd = nil
			for _, s := range append(st.GetShards(), st.GetCatalog()) {
				if what := disagreement(s); what != "" {
					odd = append(odd, what)
				}
			}
			if odd == nil {
				return nil
			}
		}
		if pause(ctx, finalPause); ctx.Err() != nil {
			return odd
		}
	}
}

// disagreement compares replicas at the same index.
func disagreement(s *spexv1.ShardStatus) string {
	type known struct{ hash, node string }
	at := map[uint64]known{}
	for _, r := range s.GetReplicas() {
		if r.GetStateHash() == "" {
			continue
		}
		first, ok := at[r.GetStateHashIndex()]
		if !ok {
			at[r.GetStateHashIndex()] = known{r.GetStateHash(), r.GetNodeId()}
		} else if first.hash != r.GetStateHash() {
			return fmt.Sprintf("group %d: at index %d the state of %s is %.16s and that of %s is %.16s",
				s.GetId(), r.GetStateHashIndex(), first.node, first.hash, r.GetNodeId(), r.GetStateHash())
		}
	}
	return ""
}
