package inproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/client"
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
	*stand
	prefix string
	begun  int // by together
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

// seen is what a watch said about instances, without violations of runs.
func (b *bench) seen(w *collector) []string {
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

// next is the first report of a watch, which ends with it.
func (b *bench) next(opts client.WatchOptions) client.Report {
	b.Helper()
	ctx, cancel := context.WithTimeout(testContext(b), Patience)
	defer cancel()
	for r, err := range b.m.Watch(ctx, opts) {
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Fatal("the watch brought nothing")
	return client.Report{}
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

// compatCase is something that both managers do alike.
type compatCase struct {
	name string
	run  func(b *bench)
	// restarts says that the case ends the process in between, which a manager in
	// memory does not survive.
	restarts bool
}

var compatibility = slices.Concat(basicCases, inputCases, instanceCases, modelCases, timeCases)

func TestCompatibility(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *stand{
		"cluster": onCluster, "memory": func(t *testing.T) *stand { return inProcess(t, "") }, "disk": func(t *testing.T) *stand { return inProcess(t, t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for i, tt := range compatibility {
				t.Run(tt.name, func(t *testing.T) {
					if tt.restarts && s.stopped == nil {
						t.Skip("nothing of a manager in memory is left after a restart")
					}
					s.reset()
					tt.run(&bench{TB: t, stand: s, prefix: fmt.Sprintf("c%d-", i)})
				})
			}
			if err := s.m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
