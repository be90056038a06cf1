package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func point(name string) *typesv1.Specification {
	return &typesv1.Specification{Name: name, Transitions: []*typesv1.Transition{{From: "s", Action: "a", To: "s"}}}
}

func open(t testing.TB, opts Options) client.Manager {
	t.Helper()
	m, err := Open(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closed(t testing.TB, m client.Manager) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// must fails the test on any error but a rejected deviation.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		var d *client.DeviationError
		if err != nil && !errors.As(err, &d) {
			t.Fatal(err)
		}
		return v
	}
}

// dump is all that can be read, as text.
func dump(t testing.TB, m client.Manager) string {
	t.Helper()
	ctx := testContext(t)
	var b strings.Builder
	for in, err := range m.List(ctx, client.ListFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, in.GetId(), in.GetIncarnation(), in.GetSeq(), in.GetState(), in.GetOffModel(), in.GetMeta())
		for s, err := range m.History(ctx, in.GetId()) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&b, " ", s.GetSeq(), s.GetAction(), s.GetState(), s.GetVerdict(), s.GetTime().AsTime().UnixNano())
		}
	}
	for _, info := range must(m.Models(ctx))(t) {
		_, list, err := m.GetModel(ctx, info.GetSpec(), 0)
		fmt.Fprintln(&b, info.GetSpec(), info.GetMode(), info.GetVersion(), list, err)
	}
	return b.String()
}

// work does a bit of everything.
func work(t testing.TB, m client.Manager, round int) {
	t.Helper()
	ctx := testContext(t)
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.ApplySpecification(ctx, point(fmt.Sprint("learned-", round))))(t)
	id := fmt.Sprint("i", round)
	must(m.Init(ctx, "point", id, client.WithMeta(map[string]string{"round": fmt.Sprint(round)})))(t)
	for range 20 {
		must(m.Transition(ctx, id, "a", "s"))(t)
	}
	must(m.SealModel(ctx, "point"))(t)
	must(m.Transition(ctx, id, fmt.Sprint("new", round), "s"))(t)
	must(m.Init(ctx, fmt.Sprint("learned-", round), id+"-l"))(t)
	must(m.Transition(ctx, id+"-l", "a", "s"))(t)
	must(m.Mock(ctx, "point", id+"-m", "mocked"))(t)
	must(m.Init(ctx, "point", id+"-d"))(t)
	must(m.Delete(ctx, id+"-d"))(t)
}

// What was acknowledged is there after a process that was killed, whose directory
// is what it is at that moment, and after one that closed; with and without snapshots.
func TestDirectory(t *testing.T) {
	for _, bytes := range []int64{0, 1, 4096} {
		t.Run(fmt.Sprint("snapshots at ", bytes), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			for round := range 4 {
				m := open(t, Options{Dir: dir, SnapshotBytes: bytes})
				work(t, m, round)
				want := dump(t, m)
				killed := filepath.Join(t.TempDir(), "killed")
				if bytes == 0 { // nothing writes in the background, so that the copy is of one moment
					if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
						t.Fatal(err)
					}
					again := open(t, Options{Dir: killed})
					if got := dump(t, again); got != want {
						t.Fatalf("after a kill:\n%s\nwant\n%s", got, want)
					}
					closed(t, again)
				}
				closed(t, m)
				again := open(t, Options{Dir: dir})
				if got := dump(t, again); got != want {
					t.Fatalf("after closing:\n%s\nwant\n%s", got, want)
				}
				closed(t, again)
			}
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	m := open(t, Options{Dir: dir})
	defer closed(t, m)
	if again, err := Open(testContext(t), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v, %v", again, err)
	}
}

// A write that fails makes the manager refuse everything: what is on disk is not known.
func TestWriteFails(t *testing.T) {
	st := &failing{}
	_, m := inEngine(t, st)
	defer closed(t, m)
	ctx := testContext(t)
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.Init(ctx, "point", "p"))(t)
	st.broken.Store(true)
	if _, err := m.Transition(ctx, "p", "a", "s"); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("the step got %v", err)
	}
	st.broken.Store(false)
	var e2 *client.Error
	if _, err := m.Transition(ctx, "p", "a", "s"); !errors.As(err, &e2) || e2.NotApplied {
		t.Errorf("the step after it got %v", err)
	}
}

func TestClosed(t *testing.T) {
	m := open(t, Options{})
	closed(t, m)
	closed(t, m)
	ctx := testContext(t)
	for name, f := range map[string]func() error{
		"Init":        func() error { _, err := m.Init(ctx, "point", "p"); return err },
		"Transition":  func() error { _, err := m.Transition(ctx, "p", "a", "s"); return err },
		"Get":         func() error { _, err := m.Get(ctx, "p"); return err },
		"Models":      func() error { _, err := m.Models(ctx); return err },
		"Seal":        func() error { _, err := m.SealModel(ctx, "point"); return err },
		"InitAsync":   func() error { return m.InitAsync(ctx, "point", "p") },
		"Apply again": func() error { _, err := m.ApplySpecification(ctx, point("point")); return err },
	} {
		// Init is refused before it reaches the log: the specification is not there.
		if err := f(); !errors.Is(err, client.ErrClosed) && !(name == "Init" && errors.Is(err, client.ErrSpecificationNotFound)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.Flush(ctx); err != nil {
		t.Errorf("Flush: %v", err)
	}
}

// Many callers at the same time get what one would, and share their syncs.
func TestConcurrent(t *testing.T) {
	m := open(t, Options{Dir: t.TempDir()})
	defer closed(t, m)
	ctx := testContext(t)
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.Init(ctx, "point", "first"))(t)
	must(m.Transition(ctx, "first", "a", "s"))(t)
	must(m.SealModel(ctx, "point"))(t)
	var work sync.WaitGroup
	for i := range 16 {
		work.Go(func() {
			id := fmt.Sprint("c", i)
			if _, err := m.Init(ctx, "point", id); err != nil {
				t.Error(err)
				return
			}
			for n := range 10 {
				resp, err := m.Transition(ctx, id, "a", "s")
				if err != nil || resp.GetSeq() != uint64(n+2) || resp.GetVerdict() != typesv1.Verdict_VERDICT_OK {
					t.Errorf("%s: %v, %v", id, resp, err)
				}
				if resp, err := m.Transition(ctx, "first", "__internal__", "s"); err != nil || resp.GetVerdict() != typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT {
					t.Errorf("shared: %v, %v", resp, err)
				}
			}
		})
	}
	work.Wait()
	if got := must(m.Get(ctx, "first"))(t).GetInstance(); got.GetSeq() != 162 || got.GetAwaiting() != 0 {
		t.Errorf("the shared instance: %v", got)
	}
}

// A timeout is recorded once, by the clock that was handed in; and a prune.
func TestDeadlines(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	dir := t.TempDir()
	m := open(t, Options{Dir: dir, Now: clock})
	ctx := testContext(t)
	s := point("point")
	s.PrunableStates = &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL}
	s.PruneTimeout = durationpb.New(6 * time.Hour)
	must(m.ApplySpecification(ctx, s))(t)
	must(m.Init(ctx, "point", "p"))(t)
	must(m.Mock(ctx, "point", "mock", "s"))(t)
	closed(t, m)
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	m = open(t, Options{Dir: dir, Now: clock})
	must(m.Get(ctx, "p"))(t)
	closed(t, m)
	mu.Lock()
	now = now.Add(24 * time.Hour)
	mu.Unlock()
	m = open(t, Options{Dir: dir, Now: clock})
	defer closed(t, m)
	for {
		_, err := m.Get(ctx, "p")
		if errors.Is(err, client.ErrInstanceNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the pass that is made at the start runs beside
	}
	must(m.Get(ctx, "mock"))(t) // it has no history
}

func BenchmarkTransition(b *testing.B) {
	for _, dir := range []string{"", "dir"} {
		b.Run("directory="+dir, func(b *testing.B) {
			opts := Options{}
			if dir != "" {
				opts.Dir = b.TempDir()
			}
			m := open(b, opts)
			defer closed(b, m)
			ctx := context.Background()
			must(m.ApplySpecification(ctx, point("point")))(b)
			must(m.Init(ctx, "point", "p"))(b)
			var resp *spexv1.StepResponse
			for b.Loop() {
				resp = must(m.Transition(ctx, "p", "a", "s"))(b)
			}
			b.ReportMetric(float64(resp.GetSeq()), "last-seq")
		})
	}
}
