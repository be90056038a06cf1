package cluster

import (
	"flag"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

var (
	simSeeds = flag.Int("sim.seeds", 100, "how many schedules the deterministic simulation runs")
	simFrom  = flag.Uint64("sim.from", 1, "the first of the schedules that are run; those that nobody has run are far from 1")
	simSeed  = flag.Uint64("sim.seed", 0, "run this schedule alone, and print what happens; 0 means those from sim.from on")
	simSteps = flag.Int("sim.steps", 300, "how many things happen in a schedule before the faults end")
)

// simulate runs a schedule in a bubble of its own, with a promise broken or not.
func simulate(t *testing.T, seed uint64, steps int, tracing bool, breaks simBreak) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed, 3+int(seed%3), 1+uint32(seed/3%3))
		w.tracing, w.breaks = tracing, breaks
		w.run(steps)
	})
	return w
}

func (w *world) run(steps int) {
	defer func() {
		for _, id := range w.order {
			w.crash(w.nodes[id])
		}
	}()
	w.quiet = true
	w.form()
	w.settle()
	if w.sealsEarly() {
		w.sealEarly()
	}
	w.faults, w.quiet = true, false
	for range steps {
		if w.step(); w.broken != "" {
			return
		}
	}
	w.calm()
	if w.settle(); w.broken == "" {
		w.atRest()
	}
}

// atRest checks what must hold once nothing is left to do.
func (w *world) atRest() {
	now := map[uint32]int64{} // before the retries below, which take time
	for id := uint32(1); id <= w.shards; id++ {
		now[id] = w.log(id).leader.cfg.Now().UnixNano()
	}
	for id := uint32(0); id <= w.shards; id++ {
		l := w.log(id)
		for _, r := range l.reachable(l.leader, l.members()) {
			r.applyTo(len(l.entries))
			r.compare()
		}
	}
	for _, wr := range w.clients.done { // retries, of the refused ones too
		if wr.answer != nil {
			w.clients.send(wr)
		} else if !wr.refused {
			continue // answered with somebody else's step, which is not remembered
		} else if s := w.check.requests[wr.request]; s != nil && !w.doubt[wr.request] {
			w.fail("%s (%s) was refused, and is %v (I2)", wr.what, wr.request, s.ref)
		}
	}
	list, _, _ := w.check.catalog.ModelTransitions(simSpec)
	known := map[model.Transition]bool{}
	for _, t := range list {
		known[t] = true
	}
	taken := map[model.Transition]bool{}
	for _, s := range w.check.all {
		t := model.Transition{From: s.from, Action: s.action, To: s.to}
		if s.ref.Seq == 1 {
			t = model.Init(s.to)
		}
		taken[t] = true
		switch {
		case s.novel && !s.judged:
			w.fail("%v never got a verdict (I7)", s.ref)
		case s.verdict == typesv1.Verdict_VERDICT_OK && !known[t]:
			w.fail("%v was acknowledged as known or learned, and the model does not have %v (I6)", s.ref, t)
		}
	}
	for _, t := range list {
		if !taken[t] {
			w.fail("the model has %v, which nobody has done (I6)", t)
		}
	}
	for _, s := range w.check.all {
		run := w.check.runs[runKey{s.ref.Key, s.ref.Incarnation}]
		if s == run.last && !run.ended && !s.fired && now[s.shard] > s.logged+int64(specTimeout) {
			w.fail("%v is in %s for longer than it may, and no timeout was reported (I5)", s.ref, s.to)
		}
	}
}

// TestDeterministicSimulation runs schedules of faults, each from a seed of its
// own, and checks what the service promises: I1 to I10.
func TestDeterministicSimulation(t *testing.T) {
	if *simSeed != 0 {
		w := simulate(t, *simSeed, *simSteps, true, unbroken)
		t.Log("\n" + strings.Join(w.lines, "\n"))
		report(t, w)
		t.Log(w.counts)
		return
	}
	totals := map[bool]map[string]int{false: {}, true: {}} // by whether replicas are moved
	for i := range uint64(*simSeeds) {
		w := simulate(t, *simFrom+i, *simSteps, false, unbroken)
		if report(t, w); t.Failed() {
			return
		}
		for what, n := range w.counts {
			totals[w.moves()][what] += n
		}
	}
	t.Logf("replicas moved on purpose: %v; others: %v", totals[true], totals[false])
	for moves, floors := range simFloors {
		for what, floor := range floors {
			if got := totals[moves][what]; *simSeeds >= 100 && *simSteps >= 300 && got < floor**simSeeds/100 {
				t.Errorf("schedules about placement, %v: there are %d %s in %d schedules, want %d in 100", moves, got, what, *simSeeds, floor)
			}
		}
	}
}

// simFloors is what a hundred schedules contain at least, those about placement and
// the others, so that the checks have something to see: about half of what they contain now.
var simFloors = map[bool]map[string]int{
	true:  {"steps": 600, "novel": 150, "verdicts": 130, "seals": 12, "verdicts while replicas move": 60, "unplaced": 35, "changes": 180, "transfers": 25},
	false: {"steps": 600, "novel": 130, "verdicts": 110, "seals": 10},
}

// report fails the test if the world broke, and says how to look into it: with the
// fewest things that have to happen before the faults end, to the next ten.
func report(t *testing.T, w *world) {
	t.Helper()
	if w.broken == "" {
		return
	}
	steps, why := *simSteps, w.broken
	for n := 10; n < *simSteps; n += 10 {
		if less := simulate(t, w.seed, n, false, unbroken); less.broken != "" {
			steps, why = n, less.broken
			break
		}
	}
	t.Errorf("seed %d: %s\nafter %d steps already: %s\nrun it again with: go test ./cluster -run TestDeterministicSimulation -v -sim.seed %d -sim.steps %d",
		w.seed, w.broken, steps, why, w.seed, steps)
}

// TestSimulationIsDeterministic runs schedules twice: the same must happen, or no
// failure could be looked into.
func TestSimulationIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := simulate(t, seed, *simSteps, true, unbroken), simulate(t, seed, *simSteps, true, unbroken)
		if a.sum.Sum64() == b.sum.Sum64() {
			continue
		}
		for i := range min(len(a.lines), len(b.lines)) {
			if a.lines[i] != b.lines[i] {
				t.Fatalf("seed %d: after %s\none run goes on with %s\nthe other with    %s", seed, strings.Join(a.lines[max(0, i-12):i], "\n"), a.lines[i], b.lines[i])
			}
		}
		t.Fatalf("seed %d: two runs differ", seed)
	}
}
