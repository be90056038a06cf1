package inproc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	kindTimeout = typesv1.ReportKind_REPORT_KIND_TIMEOUT
	kindPruned  = typesv1.ReportKind_REPORT_KIND_PRUNED
)

// timed gives a specification its times; 0 means never.
func timed(timeout, prune time.Duration, prunable *typesv1.PrunableStates) func(*typesv1.Specification) {
	return func(s *typesv1.Specification) {
		if timeout > 0 {
			s.TransitionTimeout = durationpb.New(timeout)
		}
		if prune > 0 {
			s.PruneTimeout = durationpb.New(prune)
		}
		s.PrunableStates = prunable
	}
}

var (
	pruneAll      = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL}
	pruneTerminal = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_TERMINAL}
)

// watch collects what a specification's instances time out and are pruned for,
// from the oldest report on.
func (b *bench) watch(spec string) *collector {
	w := startWatch(b, b.m, client.WatchOptions{Specs: []string{b.spec(spec)}, Kinds: []typesv1.ReportKind{kindTimeout, kindPruned}, Oldest: true})
	b.Cleanup(w.stop)
	return w
}

// fired waits for that many reports, and returns each with how long after the
// given time the log had it, sorted: shards have no common order.
func (b *bench) fired(w *collector, since time.Time, n int) []string {
	b.Helper()
	Eventually(b, fmt.Sprint(n, " reports about time"), func() bool { return len(b.seen(w)) >= n })
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, r := range w.reports {
		kind := map[typesv1.ReportKind]string{kindTimeout: "timeout", kindPruned: "pruned"}[r.GetKind()]
		lines = append(lines, say(kind, r.GetInstance()[len(b.prefix):], r.GetSeq(), r.GetTime().AsTime().Sub(since)))
	}
	slices.Sort(lines)
	return lines
}

// entries adds entries to the log of every shard, so that whatever the timers had
// seen before is in the log too.
func (b *bench) entries() {
	b.Helper()
	b.define("Marker", oneEdge, nil)
	for _, id := range b.together("Marker", 3) {
		if _, err := b.m.Delete(testContext(b), b.prefix+id); err != nil {
			b.Fatal(err)
		}
	}
}

// gone says whether an instance is not there.
func (b *bench) gone(id string) bool {
	_, err := b.m.Get(testContext(b), b.prefix+id)
	return errors.Is(err, client.ErrInstanceNotFound)
}

// timeCases are about deadlines. The clock stands still unless a case sets it
// forward, so that times are exact.
var timeCases = []compatCase{
	{name: "101 ms after a step with a timeout of 100 ms is over, 100 ms is not", run: func(b *bench) {
		b.define("Cycle", cycleEdges, timed(100*time.Millisecond, 0, nil))
		b.load("Cycle", "nil -init-> s0; "+cycleEdges)
		ids := b.together("Cycle", 3) // a shard takes its deadlines in their order
		w := b.watch("Cycle")
		began := b.clock()
		b.step(ids[0], "a", "s1", "ok")
		b.advance(time.Millisecond)
		b.step(ids[1], "a", "s1", "ok")
		b.want("deadline", b.get(ids[1]).GetDeadline().AsTime().Sub(began), 101*time.Millisecond)
		b.advance(98 * time.Millisecond)
		b.step(ids[2], "a", "s1", "ok")
		b.advance(2 * time.Millisecond)
		// 101 ms after the first step, 100 after the second, 2 after the third.
		Eventually(b, "the first to time out", func() bool { return b.get(ids[0]).GetTimedOut() })
		for range 5 {
			b.step(ids[2], "__internal__", "s1", "still")
			b.want("timed out at 100 ms", b.get(ids[1]).GetTimedOut(), false)
		}
		b.advance(time.Millisecond)
		Eventually(b, "the reports of both", func() bool {
			told := strings.Join(b.seen(w), "\n")
			return strings.Contains(told, ids[0]+" 2 ") && strings.Contains(told, ids[1]+" 2 ")
		})
		// Those of another shard that took no step time out at their first one.
		mine := slices.DeleteFunc(b.fired(w, began, 2), func(line string) bool { return strings.Fields(line)[2] != "2" })
		b.want("reports", mine, []string{say("timeout", ids[0], 2, 101*time.Millisecond), say("timeout", ids[1], 2, 102*time.Millisecond)})
		b.want("the third", b.get(ids[2]).GetTimedOut(), false)
	}},
	{name: "a timeout is reported once for each step", run: func(b *bench) {
		b.define("Cycle", cycleEdges, timed(time.Second, 0, nil))
		b.load("Cycle", "nil -init-> s0; "+cycleEdges)
		w := b.watch("Cycle")
		began := b.clock()
		b.init("Cycle", "c", "ok")
		b.advance(2 * time.Second)
		b.want("first", b.fired(w, began, 1), []string{say("timeout", "c", 1, 2*time.Second)})
		b.advance(time.Hour)
		b.step("c", "a", "s1", "ok")
		b.want("a step ends it", b.get("c").GetTimedOut(), false)
		b.advance(2 * time.Second)
		b.want("second", b.fired(w, began, 2)[1], say("timeout", "c", 2, time.Hour+4*time.Second))
		b.advance(time.Second)
		b.step("c", "b", "s2", "ok")
		b.want("in all", len(b.seen(w)), 2)
	}},
	{name: "without a history nothing times out or is pruned", run: func(b *bench) {
		b.define("Cycle", cycleEdges, timed(time.Second, 2*time.Second, pruneAll))
		if _, err := b.m.Mock(testContext(b), b.spec("Cycle"), b.prefix+"mock", "s1"); err != nil {
			b.Fatal(err)
		}
		b.want("deadlines", say(b.get("mock").GetDeadline(), b.get("mock").GetPruneAt()), "<nil> <nil>")
		b.init("Cycle", "real", "ok")
		b.advance(time.Minute)
		Eventually(b, "the other one to be pruned", func() bool { return b.gone("real") })
		b.entries()
		b.want("mock", say(b.get("mock").GetTimedOut(), b.get("mock").GetState()), "false s1")
		b.step("mock", "b", "s2", "ok")
		b.advance(time.Minute)
		Eventually(b, "the mock to be pruned after a step", func() bool { return b.gone("mock") })
	}},
	{name: "finished instances time out only when asked to", run: func(b *bench) {
		b.define("Arrow", oneEdge, timed(time.Second, 0, nil))
		b.define("Asked", oneEdge, func(s *typesv1.Specification) {
			timed(time.Second, 0, nil)(s)
			s.TimeoutInTerminalStates = true
		})
		for _, name := range []string{"Arrow", "Asked"} {
			b.load(name, "nil -init-> x0; x0 -a-> x1") // states of its own: the model says what is terminal
			b.init(name, name, "ok", client.WithInitialState("x0"))
			b.step(name, "a", "x1", "ok")
		}
		b.init("Arrow", "waits", "ok", client.WithInitialState("x0"))
		b.advance(time.Minute)
		Eventually(b, "the others to time out", func() bool { return b.get("Asked").GetTimedOut() && b.get("waits").GetTimedOut() })
		b.entries()
		b.want("the finished one", b.get("Arrow").GetTimedOut(), false)
	}},
	{name: "24 hours are pruned after 6 hours, 1 hour is not", run: func(b *bench) {
		b.define("Tree", treeEdges, timed(0, 6*time.Hour, pruneAll))
		w := b.watch("Tree")
		began := b.clock()
		b.init("Tree", "old", "ok")
		b.step("old", "a", "s1", "ok")
		b.advance(24 * time.Hour)
		b.want("pruned", b.fired(w, began, 1), []string{say("pruned", "old", 2, 24*time.Hour)})
		b.want("old", b.gone("old"), true)
		b.init("Tree", "young", "ok")
		b.want("due", b.get("young").GetPruneAt().AsTime().Sub(began), 30*time.Hour)
		b.advance(time.Hour)
		b.entries()
		b.want("young", b.gone("young"), false)
		b.advance(5 * time.Hour)
		b.entries()
		b.want("after 6 hours exactly", b.gone("young"), false)
		b.advance(time.Millisecond)
		Eventually(b, "the young one to be pruned", func() bool { return b.gone("young") })
		b.init("Tree", "old", "ok") // the identifier is free again
	}},
	{name: "states that are prunable are the implementation's, terminal is judged on the model", run: func(b *bench) {
		b.define("Arrow", oneEdge, timed(0, time.Hour, pruneTerminal))
		b.load("Arrow", "nil -init-> x0; x0 -a-> x1")
		b.define("List", oneEdge, timed(0, time.Hour, &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_LIST, States: []string{"x0"}}))
		b.define("None", oneEdge, timed(0, time.Hour, nil))
		for _, name := range []string{"Arrow", "List", "None"} {
			b.init(name, name+"0", "ok", client.WithInitialState("x0"))
			b.init(name, name+"1", "ok", client.WithInitialState("x0"))
			b.step(name+"1", "a", "x1", "ok")
		}
		b.advance(2 * time.Hour)
		Eventually(b, "the prunable ones to go", func() bool { return b.gone("Arrow1") && b.gone("List0") })
		b.entries()
		for _, id := range []string{"Arrow0", "List1", "None0", "None1"} {
			b.want(id+" is gone", b.gone(id), false)
		}
	}},
	{name: "late retries after a delete, a prune and another init are not applied again", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", timed(0, time.Hour, pruneAll))
		began, step, removal := b.requestID(), b.requestID(), b.requestID()
		first := b.init("Point", "p", "ok", client.WithRequestID(began))
		b.step("p", "a", "s0", "ok", client.WithRequestID(step))
		if _, err := b.m.Delete(testContext(b), b.prefix+"p", client.WithRequestID(removal)); err != nil {
			b.Fatal(err)
		}
		retries := func(there bool) {
			b.Helper()
			again := b.init("Point", "p", "ok", client.WithRequestID(began))
			b.want("init", say(again.GetDuplicate(), again.GetIncarnation()), say(true, first.GetIncarnation()))
			again = b.step("p", "a", "s0", "ok", client.WithRequestID(step))
			b.want("step", say(again.GetDuplicate(), again.GetSeq(), again.GetIncarnation()), say(true, 2, first.GetIncarnation()))
			resp, err := b.m.Delete(testContext(b), b.prefix+"p", client.WithRequestID(removal))
			b.want("delete", say(resp.GetDuplicate(), resp.GetDeleted(), err), "true true <nil>")
			b.want("gone", b.gone("p"), !there)
		}
		retries(false)
		second := b.init("Point", "p", "ok")
		b.want("incarnation", second.GetIncarnation() > first.GetIncarnation(), true)
		retries(true)
		b.step("p", "a", "s0", "INSTANCE_IDENTIFIER_NOT_FOUND", client.WithIncarnation(first.GetIncarnation()))
		b.advance(2 * time.Hour)
		Eventually(b, "the second one to be pruned", func() bool { return b.gone("p") })
		retries(false)
		b.advance(30 * time.Hour)
		b.entries() // the time of the log is that of its entries
		b.step("p", "a", "s0", "OUTCOME_UNKNOWN", client.WithRequestID(step))
	}},
	{name: "what was due while the process was away is due when it is back, once", restarts: true, run: func(b *bench) {
		b.define("Cycle", cycleEdges, timed(time.Hour, 0, nil))
		b.load("Cycle", "nil -init-> s0; "+cycleEdges)
		b.define("Tree", treeEdges, timed(0, 6*time.Hour, pruneAll))
		w := b.watch("Cycle")
		began := b.clock()
		b.init("Cycle", "over", "ok")
		b.init("Tree", "pruned", "ok")
		b.advance(50 * time.Minute)
		b.init("Cycle", "later", "ok")
		w.stop()
		b.stopped(b, func() { b.advance(30 * time.Minute) })
		Eventually(b, "the first to time out", func() bool { return b.get("over").GetTimedOut() })
		b.want("later", b.get("later").GetTimedOut(), false)
		b.stopped(b, func() { b.advance(6 * time.Hour) })
		Eventually(b, "the second to time out", func() bool { return b.get("later").GetTimedOut() && b.gone("pruned") })
		b.stopped(b, func() {})
		b.entries()
		b.want("reports", b.fired(b.watch("Cycle"), began, 2), []string{say("timeout", "later", 1, 80*time.Minute+6*time.Hour), say("timeout", "over", 1, 80*time.Minute)})
	}},
}
