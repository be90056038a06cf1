package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spexio/spex/cluster/plan"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// calm ends the faults.
func (w *world) calm() {
	w.trace("calm")
	w.faults, w.quiet = false, true
	clear(w.cut)
	for len(w.late) > 0 {
		w.deliver()
	}
	for _, id := range w.order {
		n := w.nodes[id]
		n.skew = 0
		if n.proc == nil && !n.gone {
			w.start(n)
		}
	}
}

// quietRounds is in how many rounds a cluster without faults has to come to rest.
const quietRounds = 60

// settle runs every loop in turn until nothing is left to do.
func (w *world) settle() {
	why := ""
	for range quietRounds {
		w.resume()
		if why = w.round(); why == "" || w.broken != "" {
			return
		}
	}
	w.fail("without faults the cluster does not come to rest: %s", why)
}

// round lets every loop do a round, and says what is left to do.
func (w *world) round() string {
	time.Sleep(time.Second)
	for id := uint32(0); id <= w.shards; id++ {
		l := w.log(id)
		for _, id := range w.order { // an unsettled configuration may have others than l.voters
			if l.leader != nil || w.stand(l, id) {
				break
			}
		}
		if l.leader == nil {
			continue
		}
		l.finish()
		for _, r := range l.reachable(l.leader, l.members()) {
			if r != l.leader {
				l.send(l.leader, r, len(l.entries))
				r.applyTo(len(l.entries))
			}
		}
	}
	for _, n := range w.up() {
		for _, what := range []int{2, 0, 1, 3} {
			if n.proc != nil {
				w.nodeRound(n.proc, what)
			}
		}
		w.join(n)
		for what := range 3 {
			if n.proc != nil {
				w.catalogRound(n.proc, what)
			}
		}
		for id := uint32(1); n.proc != nil && id <= w.shards; id++ {
			for what := range 4 {
				w.leaderRound(n.proc, id, what)
			}
		}
	}
	for _, wr := range slices.Clone(w.clients.open) {
		w.clients.send(wr)
	}
	return w.unfinished()
}

// unfinished says what keeps the cluster from being at rest.
func (w *world) unfinished() string {
	if len(w.clients.open) > 0 {
		return fmt.Sprintf("%s has no answer", w.clients.open[0].what)
	}
	for _, n := range w.up() {
		if w.isGone(n.id) {
			return n.id + " is gone and does not know it"
		}
	}
	if p := w.check.catalog.Placing(); p.Paused || p.Replicas != 3 {
		return fmt.Sprintf("placement goes by %+v", p)
	}
	for id := uint32(0); id <= w.shards; id++ {
		l := w.log(id)
		if l.leader == nil {
			return fmt.Sprintf("group %d has no leader", id)
		}
		if len(l.leader.disk.tail) > 0 {
			return fmt.Sprintf("group %d has %d entries that are not committed", id, len(l.leader.disk.tail))
		}
		if id == 0 {
			continue
		}
		m := w.check.shard(id)
		if s := m.Stats(); s.Awaiting > 0 || s.Outbox > 0 {
			return fmt.Sprintf("shard %d has %d steps without a verdict, and %d things for the catalog", id, s.Awaiting, s.Outbox)
		}
		if due, _ := m.Due(time.Now(), 1); len(due) > 0 {
			return fmt.Sprintf("on shard %d the deadline of %v has passed", id, due[0].Ref)
		}
		for _, st := range m.Specs() {
			if cat, _ := w.check.catalog.Model(st.Key); st.Installed && (st.ModeRevision != cat.ModeRevision || st.ModelVersion != cat.Version) {
				return fmt.Sprintf("shard %d works with model %d in mode %v, the catalog has %d in %v", id, st.ModelVersion, st.Mode, cat.Version, cat.Mode)
			}
		}
		if !sameSet(l.voters, w.check.catalog.Placement(id).GetReplicas()) || len(l.nonvoters) > 0 {
			return fmt.Sprintf("shard %d is placed on %v; %v vote and %v follow", id, w.check.catalog.Placement(id).GetReplicas(), l.voters, l.nonvoters)
		}
	}
	for _, m := range w.check.catalog.Models() {
		if m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING {
			return "the model is being sealed"
		}
		if _, ok := w.check.catalog.JointTask(m.Key, 1); ok && m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED {
			return "there are deviations that were not judged together"
		}
	}
	return w.unplaced()
}

// unplaced says what placement would still do.
func (w *world) unplaced() string {
	l := w.log(0)
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	state, _, _ := l.leader.proc.node.placer.gather(ctx)
	changes, waiting := plan.Next(state)
	waiting = slices.DeleteFunc(waiting, func(w plan.Waiting) bool {
		// Two were sent away, or drained, at the same time.
		return strings.Contains(w.Why, "add a node") || strings.Contains(w.Why, "gets nothing new")
	})
	if len(changes)+len(waiting) > 0 {
		return fmt.Sprintf("placement has %v and waits for %v", changes, waiting)
	}
	return ""
}
