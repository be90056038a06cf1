package inproc

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// basicCases are about steps, their verdicts, and what is read of them.
var basicCases = []compatCase{
	{name: "specification without transitions has no initial state", run: func(b *bench) {
		b.define("Empty", "", nil)
		b.init("Empty", "e", "INVALID_ARGUMENT")
		b.init("Empty", "e", "ok", client.WithInitialState("somewhere"))
	}},
	{name: "the first transition's source is where instances begin", run: func(b *bench) {
		b.define("Configured", "idle -start-> running; running -finish-> done; running -fail-> failed; done -restart-> running", nil)
		b.want("state", b.init("Configured", "c", "ok").GetState(), "idle")
		b.want("state", b.init("Configured", "d", "ok", client.WithInitialState("elsewhere")).GetState(), "elsewhere")
	}},
	{name: "tree sealed: deviations are stored whatever the verdict", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.want("equivalent", b.load("Tree", "nil -init-> s0; "+treeEdges).GetEquivalent(), true)
		before := b.model("Tree")
		b.init("Tree", "t", "ok")
		b.step("t", "__internal__", "s0", "still")
		b.want("state", b.get("t").GetState(), "s0")
		b.step("t", "b", "s1", "not rejected")
		b.want("state", b.get("t").GetState(), "s1")
		b.want("history", b.history("t"), []string{"1 __initialisation__ s0", "2 __internal__ s0", "3 b s1"})
		b.want("model", b.model("Tree"), before)
	}},
	{name: "an init elsewhere than the model's deviates and is stored", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.load("Tree", "nil -init-> s0; "+treeEdges)
		b.init("Tree", "t", "not rejected", client.WithInitialState("s2"))
		b.want("state", b.get("t").GetState(), "s2")
	}},
	{name: "init twice is refused", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.init("Tree", "t", "ok")
		b.init("Tree", "t", "INSTANCE_IDENTIFIER_ALREADY_IN_USE")
	}},
	{name: "unknown identifiers and specifications are refused", run: func(b *bench) {
		b.step("nobody", "a", "s1", "INSTANCE_IDENTIFIER_NOT_FOUND")
		_, err := b.m.Get(testContext(b), b.prefix+"nobody")
		b.wantReason(err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		b.init("Nothing", "n", "SPECIFICATION_NOT_FOUND")
		_, err = b.m.SealModel(testContext(b), b.spec("Nothing"))
		b.wantReason(err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
	}},
	{name: "cycle learns what it sees", run: func(b *bench) {
		b.define("Cycle", cycleEdges, nil)
		b.init("Cycle", "c", "ok", client.WithInitialState("x0"))
		b.step("c", "a", "x3", "ok")
		b.want("model", b.learned("Cycle", 2), []string{" -__initialisation__-> x0", "x0 -a-> x3"})
	}},
	{name: "a mock is in its state and changes no model", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.init("Tree", "t", "ok")
		before := b.learned("Tree", 1)
		if _, err := b.m.Mock(testContext(b), b.spec("Tree"), b.prefix+"t", "xxx"); err != nil {
			b.Fatal(err)
		}
		b.want("state", b.get("t").GetState(), "xxx")
		b.want("history", b.history("t"), []string{})
		b.want("model", b.model("Tree"), before)
		b.want("seq", b.step("t", "a", "s1", "ok").GetSeq(), 2)
		b.want("history", b.history("t"), []string{"2 a s1"})
	}},
	{name: "a mock needs its specification and a state", run: func(b *bench) {
		_, err := b.m.Mock(testContext(b), b.spec("Nothing"), b.prefix+"t", "xxx")
		b.wantReason(err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		_, err = b.m.Mock(testContext(b), b.spec("Nothing"), b.prefix+"t", "__internal__")
		b.wantReason(err, typesv1.Reason_REASON_RESERVED_NAME)
	}},
	{name: "deleting what is not there is fine", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		resp, err := b.m.Delete(testContext(b), b.prefix+"nobody")
		b.want("delete", fmt.Sprint(resp.GetDeleted(), err), "false <nil>")
		b.init("Tree", "t", "ok")
		resp, err = b.m.Delete(testContext(b), b.prefix+"t")
		b.want("delete", fmt.Sprint(resp.GetDeleted(), err), "true <nil>")
		b.step("t", "a", "s1", "INSTANCE_IDENTIFIER_NOT_FOUND")
		b.init("Tree", "t", "ok")
	}},
	{name: "names are checked", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.init("Tree", "t", "ok")
		b.step("t", "__initialisation__", "s1", "RESERVED_NAME")
		b.step("t", "a", "__internal__", "RESERVED_NAME")
		b.step("t", "a", "__initialisation__", "RESERVED_NAME")
		b.step("t", "", "s1", "INVALID_ARGUMENT")
		b.step("t", strings.Repeat("a", 300), "s1", "LIMIT_EXCEEDED")
		b.step("t", "a", "s\x00", "INVALID_ARGUMENT")
		b.init("Tree", strings.Repeat("i", 600), "LIMIT_EXCEEDED")
		b.init("Tree", "bad\xff", "INVALID_ARGUMENT")
		for _, empty := range []*typesv1.Specification{nil, {}} {
			_, err := b.m.ApplySpecification(testContext(b), empty)
			b.wantReason(err, typesv1.Reason_REASON_INVALID_ARGUMENT)
			var e *client.Error
			if !errors.As(err, &e) || !e.NotApplied {
				b.Errorf("an empty specification: %v, want one that says that nothing was applied", err)
			}
		}
		b.step("t", "i", "s0", "ok")
		_, err := b.m.ImportModel(testContext(b), b.spec("Tree"), false, []*typesv1.Transition{{From: "x", Action: "__initialisation__", To: "y"}})
		b.wantReason(err, typesv1.Reason_REASON_INVALID_ARGUMENT)
	}},
	{name: "an action called i is not internal", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		b.init("One", "o", "ok")
		b.step("o", "i", "s0", "not rejected")
		b.define("Two", "s0 -i-> s1", nil)
		b.want("equivalent beside an internal step", b.load("Two", "nil -init-> s0; s0 -tau-> s0; s0 -i-> s1").GetEquivalent(), true)
		b.define("Three", "s0 -i-> s1", nil)
		b.want("an internal step instead of i is equivalent", b.load("Three", "nil -init-> s0; s0 -tau-> s1").GetEquivalent(), false)
	}},
	{name: "a missing model is refused when the specification says so", run: func(b *bench) {
		b.define("Strict", oneEdge, func(s *typesv1.Specification) { s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT })
		b.init("Strict", "s", "IMPL_MODEL_NOT_FOUND")
		_, err := b.m.Get(testContext(b), b.prefix+"s")
		b.wantReason(err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		b.load("Strict", "nil -init-> s0; "+oneEdge)
		b.init("Strict", "s", "ok")
	}},
	{name: "the policy decides what is rejected", run: func(b *bench) {
		b.define("Lenient", oneEdge, func(s *typesv1.Specification) {
			s.ErrorPolicy = &typesv1.ErrorPolicy{
				DeviationStillEquivalent: typesv1.ErrorAction_ERROR_ACTION_REJECT, DeviationNotEquivalent: typesv1.ErrorAction_ERROR_ACTION_ACCEPT,
			}
		})
		b.load("Lenient", "nil -init-> s0; "+oneEdge)
		b.init("Lenient", "l", "ok")
		b.step("l", "__internal__", "s0", "still rejected")
		b.step("l", "b", "s0", "not")
	}},
	{name: "the model's verdicts", run: func(b *bench) {
		for i, tt := range []struct {
			spec, model string
			want        bool
		}{
			{oneEdge, "nil -init-> s0; " + oneEdge, true},
			{oneEdge, "nil -init-> s0; s0 -a-> s1; s0 -tau-> s0", true},
			{oneEdge, "nil -init-> s0; s0 -tau-> s0_tau; s0_tau -a-> s1", true},
			{oneEdge, "nil -init-> s0; s0 -a-> s1; s0 -b-> s1", false},
			{oneEdge, "s0 -a-> s1", false},
			{oneEdge, "nil -init-> s0; nil -init-> s1; s0 -a-> s1", false},
			{cycleEdges, cycleModel, true},
			{"s0 -a-> s0", "nil -init-> s0; s0 -a-> s0", true},
			{treeEdges, "nil -init-> s0; " + treeEdges + "; s2 -a-> s1", false},
			{oneEdge, "", false},
		} {
			name := fmt.Sprintf("Model%d", i)
			b.define(name, tt.spec, nil)
			b.want(fmt.Sprintf("%q is equivalent", tt.model), b.load(name, tt.model).GetEquivalent(), tt.want)
		}
	}},
	{name: "a model that is not equivalent says so and is not blamed on the step", run: func(b *bench) {
		b.define("Uncovered", "0 -a-> 1; 0 -b-> 1", nil)
		b.want("equivalent", b.load("Uncovered", "nil -init-> 0; 0 -a-> 1").GetEquivalent(), false)
		b.init("Uncovered", "u", "ok")
		j := b.step("u", "__internal__", "0", "not rejected").GetJudgement()
		b.want("baseline", j.GetBaselineEquivalent(), false)
		b.want("reason", j.GetReason() != "" && j.GetExplanation() != "", true)
	}},
	{name: "a request is applied once", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		id := b.requestID()
		b.init("Point", "p", "ok")
		first := b.step("p", "a", "s0", "ok", client.WithRequestID(id))
		again := b.step("p", "a", "s0", "ok", client.WithRequestID(id))
		b.want("seq", again.GetSeq(), first.GetSeq())
		b.want("duplicate", again.GetDuplicate(), true)
		b.step("p", "b", "s0", "REQUEST_ID_REUSED", client.WithRequestID(id))
		b.step("p", "a", "s0", "INVALID_ARGUMENT", client.WithRequestID("mine"))
		b.step("p", "a", "s0", "ok", client.WithRequestID("mine"), client.WithExpectedSeq(3))
		b.step("p", "b", "s0", "SEQUENCE_MISMATCH", client.WithExpectedSeq(3))
		b.step("p", "a", "s0", "SEQUENCE_MISMATCH", client.WithExpectedSeq(9))
		b.step("p", "a", "s0", "ok", client.WithExpectedSeq(3)) // it is there already
		b.step("p", "a", "s0", "INSTANCE_IDENTIFIER_NOT_FOUND", client.WithIncarnation(1<<60))
	}},
	{name: "a history from both ends, page by page", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		b.init("Point", "p", "ok")
		for i := range 6 {
			b.step("p", "a", fmt.Sprint("s", i), "ok")
		}
		for _, opts := range [][]client.ReadOption{{client.PageSize(2)}, {client.PageSize(3), client.NewestFirst()}, {client.NewestFirst()}} {
			var seqs []uint64
			for s, err := range b.m.History(testContext(b), b.prefix+"p", opts...) {
				if err != nil {
					b.Fatal(err)
				}
				seqs = append(seqs, s.GetSeq())
			}
			if len(opts) == 2 || len(seqs) > 0 && seqs[0] == 7 {
				slices.Reverse(seqs)
			}
			b.want("steps", seqs, []uint64{1, 2, 3, 4, 5, 6, 7})
		}
	}},
	{name: "meta is kept and listed", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		b.init("Point", "p1", "ok", client.WithMeta(map[string]string{"k": "v"}))
		b.init("Point", "p2", "ok")
		b.want("meta", b.get("p1").GetMeta()["k"], "v")
		var ids []string
		for in, err := range b.m.List(testContext(b), client.ListFilter{Spec: b.spec("Point"), PageSize: 1}) {
			if err != nil {
				b.Fatal(err)
			}
			ids = append(ids, strings.TrimPrefix(in.GetId(), b.prefix))
		}
		slices.Sort(ids)
		b.want("ids", ids, []string{"p1", "p2"})
		n := 0
		for _, err := range b.m.List(testContext(b), client.ListFilter{Spec: b.spec("Point"), Limit: 1}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		b.want("limited", n, 1)
	}},
	{name: "learning again and models that are exported", run: func(b *bench) {
		b.define("Cycle", cycleEdges, nil)
		b.load("Cycle", cycleModel)
		if _, err := b.m.LearnModel(testContext(b), b.spec("Cycle")); err != nil {
			b.Fatal(err)
		}
		b.init("Cycle", "c", "ok", client.WithInitialState("x0"))
		b.step("c", "a", "other", "ok")
		dir := b.TempDir()
		files, err := b.m.ExportModels(testContext(b), dir)
		if err != nil || !slices.Contains(files, filepath.Join(dir, b.spec("Cycle")+".spex")) {
			b.Fatalf("exported %v, %v", files, err)
		}
	}},
	{name: "deviations are counted", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		for _, id := range []string{"x", "y"} {
			b.init("One", id, "ok")
			b.step(id, "b", "s0", "not rejected")
		}
		resp, err := b.m.Deviations(testContext(b), b.spec("One"), 0)
		if err != nil || len(resp.GetDeviations()) != 1 {
			b.Fatalf("deviations %v, %v", resp, err)
		}
		b.want("count", resp.GetDeviations()[0].GetCount(), 2)
	}},
	{name: "asynchronous steps keep the order of their instance", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		ctx := testContext(b)
		for _, id := range []string{"p", "q"} {
			if err := b.m.InitAsync(ctx, b.spec("Point"), b.prefix+id); err != nil {
				b.Fatal(err)
			}
		}
		for i := range 20 {
			for _, id := range []string{"p", "q"} {
				if err := b.m.TransitionAsync(ctx, b.prefix+id, "a", fmt.Sprint("s", i)); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := b.m.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		for _, id := range []string{"p", "q"} {
			b.want("seq", b.get(id).GetSeq(), 21)
			b.want("state", b.get(id).GetState(), "s19")
		}
	}},
	{name: "the handler sees errors and deviations", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		b.init("One", "h", "ok")
		b.step("h", "__internal__", "s0", "still")
		b.step("h", "b", "s0", "not rejected")
		b.step("nobody", "b", "s0", "INSTANCE_IDENTIFIER_NOT_FOUND")
		var seen []string
		for _, e := range b.told() {
			if strings.HasPrefix(e.ID, b.prefix) {
				seen = append(seen, fmt.Sprint(strings.TrimPrefix(e.ID, b.prefix), " ", e.Action, " ", e.Deviates(), " ", e.Err != nil))
			}
		}
		b.want("events", seen, []string{"h __internal__ true false", "h b true true", "nobody b false true"})
		// The two that wait behind the first are not made.
		before := len(b.told())
		for range 3 {
			if err := b.m.TransitionAsync(testContext(b), b.prefix+"none", "b", "s0"); err != nil {
				b.Fatal(err)
			}
		}
		if err := b.m.Flush(testContext(b)); err != nil {
			b.Fatal(err)
		}
		var failed int
		for _, e := range b.told()[before:] {
			if e.ID == b.prefix+"none" && e.Async && e.Err != nil {
				failed++
			}
		}
		b.want("failures of asynchronous calls", failed, 3)
	}},
	{name: "a watch tells what happened and goes on from its cursor", run: func(b *bench) {
		b.define("Seen", oneEdge, nil)
		b.define("Other", oneEdge, nil)
		w := startWatch(b, b.m, client.WatchOptions{Specs: []string{b.spec("Seen")}})
		some := startWatch(b, b.m, client.WatchOptions{Specs: []string{b.spec("Seen")}, Kinds: []typesv1.ReportKind{kindDeleted}, AllNamespaces: true})
		w.awaitBegun(b)
		some.awaitBegun(b)
		b.load("Seen", "nil -init-> s0; "+oneEdge)
		b.init("Seen", "x", "ok")
		b.init("Other", "y", "ok")
		b.step("x", "__internal__", "s0", "still")
		if _, err := b.m.Delete(testContext(b), b.prefix+"x"); err != nil {
			b.Fatal(err)
		}
		waitFor(b, w, kindModelMode, []string{""})
		waitFor(b, w, kindDeleted, []string{b.prefix + "x"})
		waitFor(b, some, kindDeleted, []string{b.prefix + "x"})
		w.stop()
		some.stop()
		w.checkOrder(b)
		b.want("life", b.seen(w), []string{"INITIALISED x 1 s0", "DEVIATION x 2 s0 __internal__", "DELETED x 2 s0"})
		b.want("deletions", b.seen(some), []string{"DELETED x 2 s0"})
		b.want("end", fmt.Sprint(errors.Is(w.err, context.Canceled), len(w.gaps)), "true 0")
		b.init("Seen", "x", "ok")
		rest := startWatch(b, b.m, client.WatchOptions{Cursor: w.cursor, Specs: []string{b.spec("Seen")}})
		waitFor(b, rest, kindInitialised, []string{b.prefix + "x"})
		b.step("x", "b", "s1", "not rejected")
		waitFor(b, rest, kindDeviation, []string{b.prefix + "x"})
		rest.stop()
		b.want("after the cursor", b.seen(rest), []string{"INITIALISED x 1 s0", "DEVIATION x 2 s1 b"})
		all := startWatch(b, b.m, client.WatchOptions{Oldest: true, Specs: []string{b.spec("Seen")}})
		waitFor(b, all, kindDeviation, []string{b.prefix + "x"})
		Eventually(b, "all from the oldest", func() bool { return len(b.seen(all)) == 5 })
		all.stop()
		b.want("from the oldest", b.seen(all), append(b.seen(w), b.seen(rest)...))
	}},
	{name: "one report at a time reaches the end", run: func(b *bench) {
		b.define("Paged", oneEdge, nil)
		want := map[string]int{}
		for i := range 6 { // in several shards of a cluster
			id := fmt.Sprint("p", i)
			b.init("Paged", id, "ok")
			b.step(id, "a", "s1", "ok")
			if _, err := b.m.Delete(testContext(b), b.prefix+id); err != nil {
				b.Fatal(err)
			}
			want["INITIALISED "+id], want["DELETED "+id] = 1, 1
		}
		got := map[string]int{}
		opts := client.WatchOptions{Oldest: true, Specs: []string{b.spec("Paged")}, Kinds: []typesv1.ReportKind{kindInitialised, kindDeleted}}
		for range len(want) {
			r := b.next(opts)
			got[strings.TrimPrefix(r.GetKind().String(), "REPORT_KIND_")+" "+strings.TrimPrefix(r.GetInstance(), b.prefix)]++
			opts.Cursor, opts.Oldest = r.Cursor, false
		}
		b.want("each once", got, want)
		b.init("Paged", "later", "ok")
		b.want("and then the next", b.next(opts).GetInstance(), b.prefix+"later")
	}},
	{name: "a watch is checked, and so is whose cursor it has", run: func(b *bench) {
		other, err := local.Open(testContext(b), local.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer other.Close()
		for _, opts := range []client.WatchOptions{
			{Cursor: "nonsense"}, {Cursor: b.begin(other)}, {Cursor: b.begin(b.m), Oldest: true}, {Heartbeat: time.Millisecond},
			{Kinds: []typesv1.ReportKind{99}}, {Specs: []string{""}},
		} {
			b.wantReason(b.refusal(b.m, opts), typesv1.Reason_REASON_INVALID_ARGUMENT)
		}
		b.wantReason(b.refusal(b.m, client.WatchOptions{Specs: slices.Repeat([]string{"s"}, 101)}), typesv1.Reason_REASON_LIMIT_EXCEEDED)
		b.wantReason(b.refusal(other, client.WatchOptions{Cursor: b.begin(b.m)}), typesv1.Reason_REASON_INVALID_ARGUMENT)
	}},
}
