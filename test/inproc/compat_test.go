package inproc

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// Both managers answer the same: every case of TestCompatibility runs on a cluster
// and in process, in memory and on a directory. docs/compatibility.md names the cases.

// edges reads transitions: "s0 -a-> s1; s1 -b-> s2". The source "nil" begins an instance.
func edges(t testing.TB, text string) []*typesv1.Transition {
	t.Helper()
	var list []*typesv1.Transition
	for part := range strings.SplitSeq(text, ";") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || !strings.HasPrefix(f[1], "-") || !strings.HasSuffix(f[1], "->") {
			t.Fatalf("%q is not FROM -ACTION-> TO", part)
		}
		tr := &typesv1.Transition{From: f[0], Action: strings.TrimSuffix(f[1][1:], "->"), To: f[2]}
		if tr.Action == "tau" {
			tr.Action = "__internal__"
		}
		if tr.From == "nil" {
			tr.From, tr.Action = "", "__initialisation__"
		}
		list = append(list, tr)
	}
	return list
}

const (
	treeEdges  = "s0 -a-> s1; s0 -a-> s2; s1 -b-> s3; s1 -c-> s4"
	cycleEdges = "s0 -a-> s1; s1 -b-> s2; s2 -c-> s0"
	oneEdge    = "s0 -a-> s1"
	cycleModel = "nil -init-> x0; x0 -a-> x1; x1 -b-> x2; x1 -b-> x2_; x2 -c-> x3; x2_ -c-> x3; x3 -tau-> x0; x3 -tau-> x4; x4 -tau-> x0"
)

// bench is one manager with names of its own for one case, so that cases share a cluster.
type bench struct {
	testing.TB
	m      client.Manager
	prefix string
	events *[]client.Event
}

func (b *bench) spec(name string) string { return b.prefix + name }

// define applies a specification; change may be nil.
func (b *bench) define(name, text string, change func(*typesv1.Specification)) {
	b.Helper()
	s := &typesv1.Specification{Name: b.spec(name), Transitions: edges(b, text)}
	if change != nil {
		change(s)
	}
	if _, err := b.m.ApplySpecification(testContext(b), s); err != nil {
		b.Fatalf("apply %s: %v", name, err)
	}
}

// load imports a model and seals it, and returns what is said about it.
func (b *bench) load(name, text string) *spexv1.ModelInfo {
	b.Helper()
	if _, err := b.m.ImportModel(testContext(b), b.spec(name), false, edges(b, text)); err != nil {
		b.Fatalf("import %s: %v", name, err)
	}
	resp, err := b.m.SealModel(testContext(b), b.spec(name))
	if err != nil {
		b.Fatalf("seal %s: %v", name, err)
	}
	return resp.GetModel()
}

// init and step record a step and check verdict and reason: "ok", "still", "not" or
// "not rejected"; a refusal is the name of its reason.
func (b *bench) init(name, id, want string, opts ...client.InitOption) *spexv1.StepResponse {
	b.Helper()
	resp, err := b.m.Init(testContext(b), b.spec(name), b.prefix+id, opts...)
	b.check("init "+id, resp, err, want)
	return resp
}

func (b *bench) step(id, action, state, want string, opts ...client.StepOption) *spexv1.StepResponse {
	b.Helper()
	resp, err := b.m.Transition(testContext(b), b.prefix+id, action, state, opts...)
	b.check("step "+action+" of "+id, resp, err, want)
	return resp
}

func (b *bench) check(what string, resp *spexv1.StepResponse, err error, want string) {
	b.Helper()
	if got := answered(resp, err); got != want {
		b.Fatalf("%s: %s (%v), want %s", what, got, err, want)
	}
}

// answered is the answer about a step in one word or two.
func answered(resp *spexv1.StepResponse, err error) string {
	var e *client.Error
	if errors.As(err, &e) {
		return strings.TrimPrefix(e.Reason.String(), "REASON_")
	}
	words := map[typesv1.Verdict]string{verdictOK: "ok", verdictStill: "still", verdictNot: "not", verdictPending: "pending"}
	word := words[resp.GetVerdict()]
	var d *client.DeviationError
	switch {
	case err == nil:
		return word
	case errors.As(err, &d) && d.Response == resp:
		return word + " rejected"
	}
	return err.Error()
}

func (b *bench) get(id string) *spexv1.Instance {
	b.Helper()
	resp, err := b.m.Get(testContext(b), b.prefix+id)
	if err != nil {
		b.Fatalf("get %s: %v", id, err)
	}
	return resp.GetInstance()
}

func (b *bench) wantReason(err error, want typesv1.Reason) {
	b.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != want || e.Code != transport.CodeOf(want) {
		b.Fatalf("error %v, want %s", err, want)
	}
}

// model reads the transitions of a model as text.
func (b *bench) model(name string) []string {
	b.Helper()
	_, list, err := b.m.GetModel(testContext(b), b.spec(name), 0)
	if err != nil {
		b.Fatalf("model of %s: %v", name, err)
	}
	var lines []string
	for _, t := range list {
		lines = append(lines, fmt.Sprintf("%s -%s-> %s", t.GetFrom(), t.GetAction(), t.GetTo()))
	}
	return lines
}

// learned waits until a model has as many transitions: in a cluster they reach
// the catalog moments after the step was acknowledged.
func (b *bench) learned(name string, n int) []string {
	b.Helper()
	ctx := testContext(b)
	for {
		lines := b.model(name)
		if len(lines) == n {
			return lines
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			b.Fatalf("the model of %s has %v, want %d transitions", name, lines, n)
		}
	}
}

func (b *bench) history(id string) []string {
	b.Helper()
	var lines []string
	for s, err := range b.m.History(testContext(b), b.prefix+id) {
		if err != nil {
			b.Fatalf("history of %s: %v", id, err)
		}
		lines = append(lines, fmt.Sprintf("%d %s %s", s.GetSeq(), s.GetAction(), s.GetState()))
	}
	return lines
}

func (b *bench) want(what string, got, want any) {
	b.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// told is what a watch said about instances, without violations of runs.
func (b *bench) told(w *collector) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := []string{}
	for _, r := range w.reports {
		kind := strings.TrimPrefix(r.GetKind().String(), "REPORT_KIND_")
		if r.GetInstance() == "" || kind == "RUN_VIOLATION" {
			continue
		}
		line := fmt.Sprint(kind, " ", strings.TrimPrefix(r.GetInstance(), b.prefix), " ", r.GetSeq(), " ", r.GetState(), " ", r.GetTransition().GetAction())
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// begin is where a watch of a manager would begin now.
func (b *bench) begin(m client.Manager) (cursor string) {
	b.Helper()
	ctx, cancel := context.WithCancel(testContext(b))
	defer cancel()
	for _, err := range m.Watch(ctx, client.WatchOptions{OnProgress: func(p client.WatchProgress) { cursor = p.Cursor; cancel() }}) {
		if !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
	}
	return cursor
}

// refusal is the error that a watch begins and ends with.
func (b *bench) refusal(m client.Manager, opts client.WatchOptions) error {
	b.Helper()
	ctx, cancel := context.WithTimeout(testContext(b), 5*time.Second)
	defer cancel()
	for _, err := range m.Watch(ctx, opts) {
		return err
	}
	return nil
}

var compatibility = []struct {
	name string
	run  func(b *bench)
}{
	{"specification without transitions has no initial state", func(b *bench) {
		b.define("Empty", "", nil)
		b.init("Empty", "e", "INVALID_ARGUMENT")
		b.init("Empty", "e", "ok", client.WithInitialState("somewhere"))
	}},
	{"the first transition's source is where instances begin", func(b *bench) {
		b.define("Configured", "idle -start-> running; running -finish-> done; running -fail-> failed; done -restart-> running", nil)
		b.want("state", b.init("Configured", "c", "ok").GetState(), "idle")
		b.want("state", b.init("Configured", "d", "ok", client.WithInitialState("elsewhere")).GetState(), "elsewhere")
	}},
	{"tree sealed: deviations are stored whatever the verdict", func(b *bench) {
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
	{"an init elsewhere than the model's deviates and is stored", func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.load("Tree", "nil -init-> s0; "+treeEdges)
		b.init("Tree", "t", "not rejected", client.WithInitialState("s2"))
		b.want("state", b.get("t").GetState(), "s2")
	}},
	{"init twice is refused", func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.init("Tree", "t", "ok")
		b.init("Tree", "t", "INSTANCE_IDENTIFIER_ALREADY_IN_USE")
	}},
	{"unknown identifiers and specifications are refused", func(b *bench) {
		b.step("nobody", "a", "s1", "INSTANCE_IDENTIFIER_NOT_FOUND")
		_, err := b.m.Get(testContext(b), b.prefix+"nobody")
		b.wantReason(err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		b.init("Nothing", "n", "SPECIFICATION_NOT_FOUND")
		_, err = b.m.SealModel(testContext(b), b.spec("Nothing"))
		b.wantReason(err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
	}},
	{"cycle learns what it sees", func(b *bench) {
		b.define("Cycle", cycleEdges, nil)
		b.init("Cycle", "c", "ok", client.WithInitialState("x0"))
		b.step("c", "a", "x3", "ok")
		b.want("model", b.learned("Cycle", 2), []string{" -__initialisation__-> x0", "x0 -a-> x3"})
	}},
	{"a mock is in its state and changes no model", func(b *bench) {
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
	{"a mock needs its specification and a state", func(b *bench) {
		_, err := b.m.Mock(testContext(b), b.spec("Nothing"), b.prefix+"t", "xxx")
		b.wantReason(err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		_, err = b.m.Mock(testContext(b), b.spec("Nothing"), b.prefix+"t", "__internal__")
		b.wantReason(err, typesv1.Reason_REASON_RESERVED_NAME)
	}},
	{"deleting what is not there is fine", func(b *bench) {
		b.define("Tree", treeEdges, nil)
		resp, err := b.m.Delete(testContext(b), b.prefix+"nobody")
		b.want("delete", fmt.Sprint(resp.GetDeleted(), err), "false <nil>")
		b.init("Tree", "t", "ok")
		resp, err = b.m.Delete(testContext(b), b.prefix+"t")
		b.want("delete", fmt.Sprint(resp.GetDeleted(), err), "true <nil>")
		b.step("t", "a", "s1", "INSTANCE_IDENTIFIER_NOT_FOUND")
		b.init("Tree", "t", "ok")
	}},
	{"names are checked", func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.init("Tree", "t", "ok")
		b.step("t", "__initialisation__", "s1", "RESERVED_NAME")
		b.step("t", "a", "__internal__", "RESERVED_NAME")
		b.step("t", "", "s1", "INVALID_ARGUMENT")
		b.step("t", strings.Repeat("a", 300), "s1", "LIMIT_EXCEEDED")
		b.step("t", "a", "s\x00", "INVALID_ARGUMENT")
		b.init("Tree", strings.Repeat("i", 600), "LIMIT_EXCEEDED")
		b.step("t", "i", "s0", "ok")
		_, err := b.m.ImportModel(testContext(b), b.spec("Tree"), false, []*typesv1.Transition{{From: "x", Action: "__initialisation__", To: "y"}})
		b.wantReason(err, typesv1.Reason_REASON_INVALID_ARGUMENT)
	}},
	{"an action called i is not internal", func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		b.init("One", "o", "ok")
		b.step("o", "i", "s0", "not rejected")
	}},
	{"a missing model is refused when the specification says so", func(b *bench) {
		b.define("Strict", oneEdge, func(s *typesv1.Specification) { s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT })
		b.init("Strict", "s", "IMPL_MODEL_NOT_FOUND")
		_, err := b.m.Get(testContext(b), b.prefix+"s")
		b.wantReason(err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		b.load("Strict", "nil -init-> s0; "+oneEdge)
		b.init("Strict", "s", "ok")
	}},
	{"the policy decides what is rejected", func(b *bench) {
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
	{"the model's verdicts", func(b *bench) {
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
	{"harmless alone, harmful together", func(b *bench) {
		b.define("Joint", "0 -a-> 1; 0 -a-> 2; 1 -b-> 3; 2 -b-> 3; 2 -c-> 3", nil)
		b.load("Joint", "nil -init-> 0; 0 -a-> 1; 0 -a-> 1x; 1 -b-> 3; 1x -b-> 3; 0 -a-> 2; 2 -b-> 3; 2 -c-> 3")
		for _, id := range []string{"p", "q"} {
			b.init("Joint", id, "ok")
		}
		b.step("p", "a", "1", "ok")
		b.step("q", "a", "1x", "ok")
		b.step("p", "c", "3", "still")
		// Which shard judges q is chance in a cluster; see the cases on joint
		// deviations there. The verdict by the model alone is the same everywhere.
		b.step("q", "c", "3", "still")
	}},
	{"a model that is not equivalent says so and is not blamed on the step", func(b *bench) {
		b.define("Uncovered", "0 -a-> 1; 0 -b-> 1", nil)
		b.want("equivalent", b.load("Uncovered", "nil -init-> 0; 0 -a-> 1").GetEquivalent(), false)
		b.init("Uncovered", "u", "ok")
		j := b.step("u", "__internal__", "0", "not rejected").GetJudgement()
		b.want("baseline", j.GetBaselineEquivalent(), false)
		b.want("reason", j.GetReason() != "" && j.GetExplanation() != "", true)
	}},
	{"a request is applied once", func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		id := requestID()
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
	{"a history from both ends, page by page", func(b *bench) {
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
	{"meta is kept and listed", func(b *bench) {
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
	{"learning again and models that are exported", func(b *bench) {
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
	{"deviations are counted", func(b *bench) {
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
	{"asynchronous steps keep the order of their instance", func(b *bench) {
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
	{"the handler sees errors and deviations", func(b *bench) {
		b.define("One", oneEdge, nil)
		b.load("One", "nil -init-> s0; "+oneEdge)
		b.init("One", "h", "ok")
		b.step("h", "__internal__", "s0", "still")
		b.step("h", "b", "s0", "not rejected")
		b.step("nobody", "b", "s0", "INSTANCE_IDENTIFIER_NOT_FOUND")
		var seen []string
		for _, e := range *b.events {
			if strings.HasPrefix(e.ID, b.prefix) {
				seen = append(seen, fmt.Sprint(strings.TrimPrefix(e.ID, b.prefix), " ", e.Action, " ", e.Deviates(), " ", e.Err != nil))
			}
		}
		b.want("events", seen, []string{"h __internal__ true false", "h b true true", "nobody b false true"})
	}},
	{"a watch tells what happened and goes on from its cursor", func(b *bench) {
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
		b.want("life", b.told(w), []string{"INITIALISED x 1 s0", "DEVIATION x 2 s0 __internal__", "DELETED x 2 s0"})
		b.want("deletions", b.told(some), []string{"DELETED x 2 s0"})
		b.want("end", fmt.Sprint(errors.Is(w.err, context.Canceled), len(w.gaps)), "true 0")
		b.init("Seen", "x", "ok")
		rest := startWatch(b, b.m, client.WatchOptions{Cursor: w.cursor, Specs: []string{b.spec("Seen")}})
		waitFor(b, rest, kindInitialised, []string{b.prefix + "x"})
		b.step("x", "b", "s1", "not rejected")
		waitFor(b, rest, kindDeviation, []string{b.prefix + "x"})
		rest.stop()
		b.want("after the cursor", b.told(rest), []string{"INITIALISED x 1 s0", "DEVIATION x 2 s1 b"})
		all := startWatch(b, b.m, client.WatchOptions{Oldest: true, Specs: []string{b.spec("Seen")}})
		waitFor(b, all, kindDeviation, []string{b.prefix + "x"})
		Eventually(b, "all from the oldest", func() bool { return len(b.told(all)) == 5 })
		all.stop()
		b.want("from the oldest", b.told(all), append(b.told(w), b.told(rest)...))
	}},
	{"a watch is checked, and so is whose cursor it has", func(b *bench) {
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

func TestCompatibility(t *testing.T) {
	c := Start(t, Options{Nodes: 1, Shards: 2, Replicas: 1})
	var events []client.Event
	handler := func(_ context.Context, e *client.Event) error {
		events = append(events, *e) // the cases run one after another, and wait for their calls
		return e.Err
	}
	inMemory, err := local.Open(testContext(t), local.Options{ManagerOptions: client.ManagerOptions{Handler: handler}})
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := local.Open(testContext(t), local.Options{Dir: t.TempDir(), ManagerOptions: client.ManagerOptions{Handler: handler}})
	if err != nil {
		t.Fatal(err)
	}
	overNetwork, err := client.Dial(testContext(t), client.Options{Addresses: []string{c.Server(0).Addr()}, Handler: handler})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]client.Manager{"cluster": overNetwork, "memory": inMemory, "disk": onDisk} {
		t.Run(name, func(t *testing.T) {
			events = nil
			for i, tt := range compatibility {
				t.Run(tt.name, func(t *testing.T) {
					tt.run(&bench{TB: t, m: m, prefix: fmt.Sprintf("c%d-", i), events: &events})
				})
			}
		})
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
