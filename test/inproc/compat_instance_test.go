package inproc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// list reads the identifiers that a filter selects, and the errors at the end.
func (b *bench) list(f client.ListFilter) (ids []string, failed []error) {
	b.Helper()
	for in, err := range b.m.List(testContext(b), f) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		ids = append(ids, strings.TrimPrefix(in.GetId(), b.prefix))
	}
	slices.Sort(ids)
	return ids, failed
}

// instanceCases are about many instances, and about who is told what.
var instanceCases = []compatCase{
	{name: "lists and deletions by expression", run: func(b *bench) {
		b.define("Q", "s0 -a-> s1", nil)
		b.load("Q", "nil -init-> s0; s0 -a-> s1; s1 -tau-> s1") // what is terminal is not stuck
		for i := range 10 {
			b.init("Q", fmt.Sprint(i), "ok", client.WithMeta(map[string]string{"n": fmt.Sprint(i)}))
		}
		b.advance(time.Hour + time.Second)
		b.step("7", "a", "s1", "ok")
		for _, tt := range []struct {
			filter client.ListFilter
			want   string
		}{
			{client.ListFilter{PageSize: 3}, "0 1 2 3 4 5 6 7 8 9"},
			{client.ListFilter{State: "s1"}, "7"},
			{client.ListFilter{Where: `state == "s1" || int(meta.n) < 2`}, "0 1 7"},
			{client.ListFilter{Where: `seq > 1`}, "7"},
			{client.ListFilter{Stuck: time.Hour, PageSize: 4}, "0 1 2 3 4 5 6 8 9"},
			{client.ListFilter{Stuck: time.Hour, Where: `int(meta.n) % 2 == 1`}, "1 3 5 9"},
			{client.ListFilter{Where: `age >= duration("1h") && !off_model`, State: "s1"}, ""},
		} {
			tt.filter.Spec = b.spec("Q")
			ids, failed := b.list(tt.filter)
			b.want(say(tt.filter.Where, tt.filter.State, tt.filter.Stuck), say(strings.Join(ids, " "), len(failed)), say(tt.want, 0))
		}
		_, failed := b.list(client.ListFilter{Spec: b.spec("Q"), Where: `meta.other == ""`})
		var left *client.UnevaluatedError
		b.want("without a value", len(failed) == 1 && errors.As(failed[0], &left) && left.Count == 10, true)
		for _, where := range []string{"nope", "state", "(((("} {
			_, failed := b.list(client.ListFilter{Where: where})
			b.want(where, len(failed) == 1 && errors.Is(failed[0], client.ErrInvalidArgument), true)
		}

		where := client.DeleteFilter{Spec: b.spec("Q"), Where: `int(meta.n) >= 5`, DryRun: true}
		d, err := b.m.DeleteMatching(testContext(b), where)
		b.want("dry run", say(d.Matched, d.Deleted, err), "5 0 <nil>")
		where.DryRun = false
		d, err = b.m.DeleteMatching(testContext(b), where)
		b.want("deletion", say(d.Matched, d.Deleted, d.MovedOn, err), "5 5 0 <nil>")
		ids, _ := b.list(client.ListFilter{Spec: b.spec("Q")})
		b.want("left", ids, []string{"0", "1", "2", "3", "4"})
		_, err = b.m.DeleteMatching(testContext(b), client.DeleteFilter{Spec: b.spec("Q")})
		b.want("without an expression", errors.Is(err, client.ErrInvalidArgument), true)
	}},
	{name: "what has finished is not stuck", run: func(b *bench) {
		b.define("Arrow", oneEdge, nil)
		b.load("Arrow", "nil -init-> s0; "+oneEdge)
		b.init("Arrow", "finished", "ok")
		b.step("finished", "a", "s1", "ok")
		b.init("Arrow", "waits", "ok")
		b.advance(2 * time.Hour)
		ids, failed := b.list(client.ListFilter{Spec: b.spec("Arrow"), Stuck: time.Hour})
		b.want("stuck", say(ids, len(failed)), say([]string{"waits"}, 0))
	}},
	{name: "lists of nothing are empty", run: func(b *bench) {
		ids, failed := b.list(client.ListFilter{Spec: b.spec("Nothing")})
		b.want("instances", say(len(ids), len(failed)), "0 0")
		resp, err := b.m.Deviations(testContext(b), b.spec("Nothing"), 0)
		b.want("deviations", say(len(resp.GetDeviations()), err), "0 <nil>")
		b.define("Bare", oneEdge, nil)
		info, list, err := b.m.GetModel(testContext(b), b.spec("Bare"), 0)
		b.want("model", say(len(list), info.GetTransitions(), err), "0 0 <nil>")
		d, err := b.m.DeleteMatching(testContext(b), client.DeleteFilter{Spec: b.spec("Bare"), Where: "true"})
		b.want("deletion", say(d.Matched, err), "0 <nil>")
	}},
	{name: "identifiers are known by all of their bytes", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		ids := []string{"order-8046", "order-10525", "1", "1.0", "ORDER-8046", "order-8046 ", "ördér", "\u00f6rde\u0301r"}
		for i, id := range ids {
			b.init("Point", id, "ok", client.WithInitialState(fmt.Sprint("s", i)))
		}
		for i, id := range ids {
			b.want(id, b.get(id).GetState(), fmt.Sprint("s", i))
		}
	}},
	{name: "a history has a limit, and is told where it begins", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", func(s *typesv1.Specification) { s.HistoryLimit = 10 })
		b.init("Point", "p", "ok")
		for range 30 {
			b.step("p", "a", "s0", "ok")
		}
		steps := b.history("p")
		b.want("newest", steps[len(steps)-1], "31 a s0")
		b.want("kept", len(steps) >= 10 && len(steps) < 31, true)
		b.want("seq", b.get("p").GetSeq(), 31)
		b.step("p", "a", "s0", "ok", client.WithExpectedSeq(31)) // it is there already
	}},
	{name: "the time of an event is kept beside the time of the log", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		at := time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)
		b.init("Point", "p", "ok", client.WithEventTime(at))
		b.step("p", "a", "s0", "ok", client.WithEventTime(time.Unix(0, 0)))
		var times []string
		for s, err := range b.m.History(testContext(b), b.prefix+"p") {
			if err != nil {
				b.Fatal(err)
			}
			times = append(times, say(s.GetTime().AsTime().Equal(b.clock()), s.GetEventTime() != nil && s.GetEventTime().AsTime().Equal(at)))
		}
		b.want("times", times, []string{"true true", "true false"})
	}},
	{name: "the handler decides what the caller gets, in the caller's process", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		b.init("One", "h", "ok")
		ours := errors.New("ours")
		b.decide(func(e *client.Event) error {
			switch {
			case e.Operation == "Transition" && e.Action == "b":
				// The step is stored, and the manager may be asked.
				in := b.get("h")
				if in.GetState() != e.State {
					return fmt.Errorf("the handler sees %v", in)
				}
				return nil
			case errors.Is(e.Err, client.ErrInstanceInUse):
				return ours
			}
			return e.Err
		})
		b.step("h", "b", "x", "not") // rejected by the policy, accepted by the handler
		if _, err := b.m.Init(testContext(b), b.spec("One"), b.prefix+"h"); !errors.Is(err, ours) {
			b.Fatalf("got %v", err)
		}
		b.step("nobody", "a", "s1", "INSTANCE_IDENTIFIER_NOT_FOUND")
		b.want("state", b.get("h").GetState(), "x")
		b.decide(func(e *client.Event) error {
			if e.Deviates() {
				panic("a handler that breaks")
			}
			return e.Err
		})
		func() {
			defer func() { b.want("panic", recover(), "a handler that breaks") }()
			b.step("h", "c", "y", "not rejected")
		}()
		b.want("the manager goes on", b.get("h").GetState(), "y")
	}},
	{name: "asynchronous calls that fail are told to OnError", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		ctx := testContext(b)
		for _, err := range []error{
			b.m.InitAsync(ctx, b.spec("One"), b.prefix+"a"), b.m.TransitionAsync(ctx, b.prefix+"a", "b", "x"),
			b.m.TransitionAsync(ctx, b.prefix+"nobody", "a", "s1"), b.m.InitAsync(ctx, b.spec("One"), b.prefix+"a"), b.m.Flush(ctx),
		} {
			b.want("handed over", err, nil)
		}
		var failed []string
		for _, e := range b.failed() {
			failed = append(failed, say(e.Operation, strings.TrimPrefix(e.ID, b.prefix), e.Async, errors.Is(e.Err, client.ErrDeviationNotEquivalent),
				errors.Is(e.Err, client.ErrInstanceNotFound), errors.Is(e.Err, client.ErrInstanceInUse)))
		}
		slices.Sort(failed)
		b.want("failures", failed, []string{"Init a true false false true", "Transition a true true false false", "Transition nobody true false true false"})
	}},
	{name: "an init that is refused leaves nothing behind", run: func(b *bench) {
		b.define("Strict", oneEdge, func(s *typesv1.Specification) { s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT })
		b.init("Strict", "s", "IMPL_MODEL_NOT_FOUND")
		b.init("Strict", "s", "RESERVED_NAME", client.WithInitialState("__internal__"))
		b.init("Strict", "s", "INVALID_ARGUMENT", client.WithMeta(map[string]string{"": "x"}))
		b.want("there", b.gone("s"), true)
		b.define("Other", oneEdge, nil)
		b.init("Other", "s", "ok") // the identifier is free
	}},
	{name: "a watch tells of timeouts, prunes, models and deviations", run: func(b *bench) {
		b.define("All", oneEdge, timed(time.Hour, 2*time.Hour, pruneAll))
		w := startWatch(b, b.m, client.WatchOptions{Specs: []string{b.spec("All")}})
		w.awaitBegun(b)
		b.load("All", "nil -init-> s0; "+oneEdge)
		b.init("All", "x", "ok")
		b.advance(90 * time.Minute)
		waitFor(b, w, kindTimeout, []string{b.prefix + "x"})
		b.step("x", "b", "s0", "not rejected")
		b.advance(3 * time.Hour)
		waitFor(b, w, kindPruned, []string{b.prefix + "x"})
		w.stop()
		w.checkOrder(b)
		b.want("reports", b.seen(w), []string{"INITIALISED x 1 s0", "TIMEOUT x 1 s0 __initialisation__", "DEVIATION x 2 s0 b", "TIMEOUT x 2 s0 b", "PRUNED x 2 s0 b"})
	}},
}
