package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
// cannot be read, has no verdict, or cannot be compared is asked again until ctx ends.
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

// agreement asks for the state hashes of all replicas until each group has been
// compared, or two replicas differ, and returns what is wrong: what has not been
// compared in time is.
func (w *Workload) agreement(ctx context.Context) []string {
	seen := sightings{}
	missing := []string{notCompared}
	for n := 0; ; n++ {
		st, err := w.states(ctx, n)
		if err == nil && len(st.GetShards()) > 0 {
			var odd []string
			if odd, missing = seen.look(st); odd != nil || missing == nil {
				return odd
			}
		}
		if pause(ctx, finalPause); ctx.Err() != nil {
			return missing
		}
	}
}

const notCompared = "no group was compared: nobody told the states of the replicas"

// Disagreement says what keeps the replicas of a cluster from being the same, nil when
// they are: each group, the catalog too, has a leader, and all of its replicas one
// state hash at one index. The status has to be one with state hashes. It is one look,
// which replicas that are written to hardly ever pass.
func Disagreement(st *spexv1.GetStatusResponse) []string {
	if len(st.GetShards()) == 0 {
		return []string{notCompared}
	}
	odd, missing := sightings{}.look(st)
	odd = append(odd, missing...)
	for _, s := range append(st.GetShards(), st.GetCatalog()) {
		if s.GetLeader() == "" {
			odd = append(odd, fmt.Sprintf("group %d has no leader", s.GetId()))
		}
	}
	return odd
}

// statesPatience bounds one status with hashes. A minute of patience has room for two.
const statesPatience = 25 * time.Second

// states asks the n-th node for the status with the state hashes. Of large states
// those take longer than any other answer.
func (w *Workload) states(ctx context.Context, n int) (*spexv1.GetStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statesPatience)
	defer cancel()
	c, err := w.dial(ctx, n, true)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status(ctx, true)
}

// sightings are the state hashes that were seen, by group, index and node. They add
// up from look to look, as replicas of a group that is written to are at one index
// in different looks.
type sightings map[uint32]map[uint64]map[string]string

// differ takes a look at a group, and says when two replicas have different states
// at one index, "" otherwise.
func (g sightings) differ(s *spexv1.ShardStatus) string {
	if g[s.GetId()] == nil {
		g[s.GetId()] = map[uint64]map[string]string{}
	}
	for _, r := range s.GetReplicas() {
		if r.GetStateHash() == "" {
			continue
		}
		at := g[s.GetId()][r.GetStateHashIndex()]
		for node, hash := range at {
			if hash != r.GetStateHash() {
				return fmt.Sprintf("group %d: at index %d the state of %s is %.16s and that of %s is %.16s",
					s.GetId(), r.GetStateHashIndex(), node, hash, r.GetNodeId(), r.GetStateHash())
			}
		}
		if at == nil {
			at = map[string]string{}
			g[s.GetId()][r.GetStateHashIndex()] = at
		}
		at[r.GetNodeId()] = r.GetStateHash()
	}
	return ""
}

// look adds a status, and says which groups have replicas that differ, and which of
// the others were not compared yet.
func (g sightings) look(st *spexv1.GetStatusResponse) (odd, missing []string) {
	for _, s := range append(st.GetShards(), st.GetCatalog()) {
		if what := g.differ(s); what != "" {
			odd = append(odd, what)
		} else if what := g.lack(s); what != "" {
			missing = append(missing, what)
		}
	}
	return odd, missing
}

// lack says why a group has not been compared, "" when all of its replicas were
// seen at one index.
func (g sightings) lack(s *spexv1.ShardStatus) string {
	for _, at := range g[s.GetId()] {
		if all := len(s.GetReplicas()) > 0 && !slices.ContainsFunc(s.GetReplicas(), func(r *spexv1.ReplicaStatus) bool { return at[r.GetNodeId()] == "" }); all {
			return ""
		}
	}
	var now []string
	for _, r := range s.GetReplicas() {
		now = append(now, fmt.Sprintf("%s is %s at index %d%s", r.GetNodeId(), r.GetState(), r.GetStateHashIndex(), noHash(r)))
	}
	return fmt.Sprintf("group %d was not compared: its replicas were not seen at one index: %s", s.GetId(), strings.Join(now, ", "))
}

func noHash(r *spexv1.ReplicaStatus) string {
	if r.GetStateHash() == "" {
		return " without a hash"
	}
	return ""
}
