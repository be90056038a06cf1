package spextest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/spexio/spex/model"
	"github.com/spexio/spex/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const orders = `name: orders
transitions:
  - {from: new, action: pay, to: paid}
  - {from: paid, action: ship, to: done}
  - {from: paid, action: refund, to: new}
`

// tests stand for a *testing.M: each word is one instance whose steps go from the
// specification's states, "ps" being pay and ship.
type tests struct {
	t     *testing.T
	walks string
	code  int
}

var steps = map[rune][2]string{'p': {"pay", "paid"}, 's': {"ship", "done"}, 'r': {"refund", "new"}, 'x': {"steal", "done"}}

func (ts tests) Run() int {
	ctx := context.Background()
	for i, walk := range strings.Fields(ts.walks) {
		id := ID(ts.t, fmt.Sprint(i))
		if _, err := Manager().Init(ctx, "orders", id); err != nil {
			ts.t.Error(err)
		}
		for _, r := range walk {
			if s, ok := steps[r]; ok {
				if err := Manager().TransitionAsync(ctx, id, s[0], s[1]); err != nil {
					ts.t.Error(err)
				}
			}
		}
	}
	return ts.code
}

type outcome struct {
	code   int
	output string
	file   string // empty when there is none
}

func run(t *testing.T, dir, walks string, code int, opts ...Option) outcome {
	t.Helper()
	specs := filepath.Join(t.TempDir(), "orders.yaml")
	if err := os.WriteFile(specs, []byte(orders), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	// The flags of the run of this very test must not matter.
	whole := func(c *config) { c.partial = func() string { return "" } }
	o := outcome{code: Run(tests{t, walks, code}, append([]Option{Specs(specs), Dir(dir), Output(&out), whole}, opts...)...), output: out.String()}
	data, err := os.ReadFile(filepath.Join(dir, "orders.spex"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	o.file = string(data)
	return o
}

const whole = `Specification: orders
Learning mode: false

nil --[__initialisation__]-> new
new --[pay]-> paid
paid --[refund]-> new
paid --[ship]-> done
`

func TestRun(t *testing.T) {
	partial := Option(func(c *config) { c.partial = func() string { return "-run" } })
	for _, tt := range []struct {
		name  string
		walks string
		tests int // what the tests end with
		opts  []Option
		code  int
		says  []string
		lines int // of the file; 0 when it is not written
	}{
		{name: "all is shown", walks: "ps prps", says: []string{"orders: equivalent, 4 transitions"}, lines: 7},
		{name: "something is not shown", walks: "ps", code: 1, says: []string{"NOT EQUIVALENT", "2 of 3", "paid --[refund]-> new"}, lines: 6},
		{name: "something is too much", walks: "prps x", code: 1, says: []string{"NOT EQUIVALENT", "does not have the trace: steal"}, lines: 8},
		{name: "nothing is shown", walks: "", code: 1, says: []string{"NOT EQUIVALENT"}},
		{name: "only reported", walks: "ps", opts: []Option{ReportOnly()}, says: []string{"NOT EQUIVALENT"}, lines: 6},
		{name: "the tests failed", walks: "ps", tests: 3, code: 3, says: []string{"the tests failed"}},
		{name: "a part of the tests", walks: "ps", opts: []Option{partial}, says: []string{"only a part of the tests ran (-run)"}},
		{name: "a part of the tests is merged", walks: "ps", opts: []Option{partial, Merge()}, code: 1, says: []string{"2 of 3"}, lines: 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, t.TempDir(), tt.walks, tt.tests, tt.opts...)
			if got.code != tt.code || strings.Count(got.file, "\n") != tt.lines {
				t.Errorf("code %d, want %d; file:\n%s\n%s", got.code, tt.code, got.file, got.output)
			}
			for _, s := range tt.says {
				if !strings.Contains(got.output, s) {
					t.Errorf("the output does not say %q:\n%s", s, got.output)
				}
			}
		})
	}
}

// A run begins with empty models unless it merges, and what it writes is sorted.
func TestRunReplacesOrMerges(t *testing.T) {
	dir := t.TempDir()
	if got := run(t, dir, "prps", 0); got.file != whole {
		t.Fatalf("wrote\n%s", got.file)
	}
	if got := run(t, dir, "pr", 0); got.code != 1 || strings.Contains(got.file, "ship") {
		t.Fatalf("an old model is still there: %d\n%s", got.code, got.file)
	}
	if got := run(t, dir, "ps", 0, Merge()); got.code != 0 || got.file != whole {
		t.Fatalf("not merged: %d\n%s%s", got.code, got.file, got.output)
	}
}

// The variable is for all packages of a go test, also for those that write nothing.
func TestMergeOfTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	if got := run(t, dir, "prps", 0); got.code != 0 {
		t.Fatal(got.output)
	}
	t.Setenv(mergeVariable, "1")
	if got := run(t, dir, "ps", 0); got.code != 0 || got.file != whole {
		t.Errorf("not merged: %d\n%s%s", got.code, got.file, got.output)
	}
	if got := run(t, dir, "prps", 0, Dir("")); got.code != 0 || !strings.Contains(got.output, "option Dir") {
		t.Errorf("nothing to merge with: %d %s", got.code, got.output)
	}
	t.Setenv(mergeVariable, "please")
	if got := run(t, dir, "prps", 0); got.code != 1 || !strings.Contains(got.output, "give 1 or 0") {
		t.Errorf("a value that says nothing: %d %s", got.code, got.output)
	}
	t.Setenv(mergeVariable, "0")
	if got := run(t, dir, "ps", 0); got.code != 1 {
		t.Errorf("merged though it was not asked for: %s", got.output)
	}
}

// more is a test that applies a smaller specification of the same name after the others.
type more struct {
	tests
	t *testing.T
}

func (m more) Run() int {
	code := m.tests.Run()
	s, err := spec.Parse("smaller", []byte("name: orders\ntransitions:\n  - {from: new, action: pay, to: paid}\n"))
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := Manager().ApplySpecification(context.Background(), s.Proto()); err != nil {
		m.t.Fatal(err)
	}
	for _, action := range []string{"", "pay"} {
		if action == "" {
			_, err = Manager().Init(context.Background(), "orders", "smaller")
		} else {
			_, err = Manager().Transition(context.Background(), "smaller", action, "paid")
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return code
}

// A model file would keep what was done in one of the versions alone.
func TestVersionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	if got := run(t, dir, "prps", 0); got.file != whole {
		t.Fatal(got.output)
	}
	specs := filepath.Join(t.TempDir(), "orders.yaml")
	if err := os.WriteFile(specs, []byte(orders), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, report := range map[int]bool{1: false, 0: true} {
		var out bytes.Buffer
		opts := []Option{Specs(specs), Dir(dir), Output(&out), func(c *config) { c.partial, c.report = func() string { return "" }, report }}
		code := Run(more{tests{t, "prps", 0}, t}, opts...)
		if code != want || !strings.Contains(out.String(), "in 2 versions") {
			t.Errorf("code %d, want %d: %s", code, want, out.String())
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "orders.spex")); err != nil || string(data) != whole {
		t.Errorf("%v; the model is now\n%s", err, data)
	}
}

// sealing is a test that seals a model that other tests learn.
type sealing struct{ t *testing.T }

func (s sealing) Run() int {
	if _, err := Manager().SealModel(context.Background(), "orders"); err == nil || !strings.Contains(err.Error(), "client/local") {
		s.t.Errorf("sealed: %v", err)
	}
	return tests{s.t, "prps", 0}.Run()
}

func TestNobodySeals(t *testing.T) {
	specs := filepath.Join(t.TempDir(), "orders.yaml")
	if err := os.WriteFile(specs, []byte(orders), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := Run(sealing{t}, Specs(specs), Output(&out), func(c *config) { c.partial = func() string { return "" } }); code != 0 {
		t.Error(out.String())
	}
}

// Packages that share a directory make up the model together, and each replaces
// only what it did itself.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	if got := run(t, dir, "ps", 0, Shared("a")); got.code != 0 || !strings.Contains(got.output, "2 of 3") {
		t.Fatalf("what another package may show fails the run: %d\n%s", got.code, got.output)
	}
	if got := run(t, dir, "pr", 0, Shared("b")); got.code != 0 || got.file != whole {
		t.Fatalf("not united: %d\n%s", got.code, got.file)
	}
	if got := run(t, dir, "prx", 0, Shared("b")); got.code != 1 || !strings.Contains(got.file, "steal") {
		t.Fatalf("too much: %d\n%s", got.code, got.file)
	}
	if got := run(t, dir, "pr", 0, Shared("b")); got.code != 0 || got.file != whole {
		t.Fatalf("the part of an earlier run is still there: %d\n%s", got.code, got.file)
	}
	if got := run(t, dir, "pr", 0, Shared("../b")); got.code != 1 {
		t.Fatal("a part outside of the directory")
	}
}

// Packages that end at the same time lose nothing.
func TestSharedAtTheSameTime(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		const parts = 8
		var work sync.WaitGroup
		for i := range parts {
			work.Go(func() {
				c := &config{dir: dir, part: fmt.Sprint("p", i)}
				if _, err := c.store("s", []model.Transition{{From: "x", Action: fmt.Sprint("a", i), To: "y"}}); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		if list, err := read(filepath.Join(dir, "s.spex")); err != nil || len(list) != parts {
			t.Fatalf("%d of %d transitions are left: %v", len(list), parts, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bad, t.TempDir(), filepath.Join(t.TempDir(), "none.yaml")} {
		var out bytes.Buffer
		if code := Run(tests{t: t}, Specs(path), Output(&out)); code != 1 || out.Len() == 0 {
			t.Errorf("%s: code %d, output %q", path, code, out.String())
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("there is a manager without a run")
		}
	}()
	Manager()
}
