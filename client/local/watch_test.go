package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// watched reads n reports as text, and returns the last one's cursor and the gaps.
// each, if any, is called after every report.
func watched(t testing.TB, m client.Manager, opts client.WatchOptions, n int, each func(i int)) (lines []string, cursor string, gaps []*client.GapError) {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	for r, err := range m.Watch(ctx, opts) {
		var gap *client.GapError
		if errors.As(err, &gap) {
			gaps = append(gaps, gap)
			continue
		}
		if err != nil {
			t.Fatalf("after %v: %v", lines, err)
		}
		kind := strings.TrimPrefix(r.GetKind().String(), "REPORT_KIND_")
		lines, cursor = append(lines, fmt.Sprint(r.GetId(), " ", kind, " ", r.GetInstance())), r.Cursor
		if each != nil {
			each(len(lines))
		}
		if len(lines) == n {
			break
		}
	}
	return lines, cursor, gaps
}

func endOf(t testing.TB, m client.Manager, ctx context.Context, opts client.WatchOptions) error {
	t.Helper()
	var last error
	n := 0
	for r, err := range m.Watch(ctx, opts) {
		if n++; err == nil || n > 1 {
			t.Fatalf("got %v, %v, want one error", r, err)
		}
		last = err
	}
	return last
}

// A watch of a directory goes on where it ended, in the process that opens it
// next, with and without a snapshot in between; one of another manager does not.
func TestWatchResumesAfterReopening(t *testing.T) {
	for _, bytes := range []int64{0, 1} {
		t.Run(fmt.Sprint("snapshots at ", bytes), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			m := open(t, Options{Dir: dir, SnapshotBytes: bytes})
			work(t, m, 0)
			want := []string{"1 INITIALISED i0", "2 MODEL_MODE ", "3 MODEL_MODE ", "4 RUN_VIOLATION i0", "5 DEVIATION i0", "6 INITIALISED i0-l", "7 INITIALISED i0-d", "8 DELETED i0-d"}
			first, cursor, _ := watched(t, m, client.WatchOptions{Oldest: true}, 8, nil)
			if !slices.Equal(first, want) {
				t.Fatalf("got %q", first)
			}
			closed(t, m)
			m = open(t, Options{Dir: dir, SnapshotBytes: bytes})
			must(m.Init(testContext(t), "point", "later"))(t)
			opts := client.WatchOptions{Cursor: cursor}
			rest, cursor, gaps := watched(t, m, opts, 1, nil)
			if rest[0] != "9 INITIALISED later" || len(gaps) > 0 {
				t.Errorf("went on with %q, gaps %v", rest, gaps)
			}
			again, _, _ := watched(t, m, client.WatchOptions{Oldest: true}, 9, nil)
			if !slices.Equal(again, append(first, rest...)) {
				t.Errorf("the reports are %q now, were %q", again, first)
			}
			closed(t, m)
			for name, other := range map[string]Options{"memory": {}, "another directory": {Dir: t.TempDir()}} {
				m := open(t, other)
				err := endOf(t, m, testContext(t), client.WatchOptions{Cursor: cursor})
				if !errors.Is(err, client.ErrInvalidArgument) || !strings.Contains(err.Error(), "from another manager") {
					t.Errorf("%s: %v", name, err)
				}
				closed(t, m)
			}
		})
	}
}

// What is reported wakes a watch that waits, with no clock that would let it look:
// the time in the bubble stands still until everybody waits.
func TestWatchIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := Open(context.Background(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, m)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		must(m.ApplySpecification(ctx, point("point")))(t)
		var got []string
		var end error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for r, err := range m.Watch(ctx, client.WatchOptions{}) {
				if err != nil {
					end = err
					continue
				}
				got = append(got, r.GetInstance())
			}
		}()
		synctest.Wait()
		begun := time.Now()
		for i := range 3 {
			must(m.Init(ctx, "point", fmt.Sprint("p", i)))(t)
			synctest.Wait()
			if len(got) != i+1 {
				t.Fatalf("after %d reports: %q", i+1, got)
			}
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("it took %v", d)
		}
		cancel()
		<-done
		if !errors.Is(end, context.Canceled) {
			t.Errorf("ended with %v", end)
		}
	})
}

// Heartbeats come while nothing is reported, and carry a cursor.
func TestWatchHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := Open(context.Background(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, m)
		ctx, cancel := context.WithTimeout(context.Background(), 3500*time.Millisecond)
		defer cancel()
		beats := 0
		err = endOf(t, m, ctx, client.WatchOptions{Heartbeat: time.Second, OnProgress: func(p client.WatchProgress) {
			if p.Cursor == "" || p.Reports != 0 {
				t.Errorf("progress %v", p)
			}
			beats++
		}})
		if !errors.Is(err, context.DeadlineExceeded) || beats != 4 {
			t.Errorf("%d responses, then %v", beats, err)
		}
	})
}

// A loop that is slow holds up nobody, and misses nothing that is kept.
func TestWatchWaitsForItsLoop(t *testing.T) {
	m := open(t, Options{})
	defer closed(t, m)
	ctx := testContext(t)
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.Init(ctx, "point", "p0"))(t)
	const n = 3 * watchPage
	got, cursor, gaps := watched(t, m, client.WatchOptions{Oldest: true}, n, func(i int) {
		if i == 1 {
			for k := range n - 1 {
				must(m.Init(ctx, "point", fmt.Sprint("p", k+1)))(t)
			}
		}
	})
	for i, line := range got {
		if want := fmt.Sprintf("%d INITIALISED p%d", i+1, i); line != want {
			t.Fatalf("got %q, want %q", line, want)
		}
	}
	if len(gaps) > 0 || cursor == "" {
		t.Errorf("gaps %v, cursor %q", gaps, cursor)
	}
}

// Close ends a watch, also from within its loop, and so does a log that broke.
func TestWatchEnds(t *testing.T) {
	m := open(t, Options{})
	ctx := testContext(t)
	err := endOf(t, m, ctx, client.WatchOptions{OnProgress: func(client.WatchProgress) { closed(t, m) }})
	if !errors.Is(err, client.ErrClosed) {
		t.Errorf("closed from the loop: %v", err)
	}
	if err := endOf(t, m, ctx, client.WatchOptions{}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("closed before: %v", err)
	}
	m = open(t, Options{})
	done := make(chan error)
	begun := make(chan struct{}, 1)
	go func() {
		done <- endOf(t, m, ctx, client.WatchOptions{OnProgress: func(client.WatchProgress) { begun <- struct{}{} }})
	}()
	<-begun
	closed(t, m)
	if err := <-done; !errors.Is(err, client.ErrClosed) {
		t.Errorf("closed beside: %v", err)
	}
}

// inEngine opens a manager on a storage, with its engine.
func inEngine(t testing.TB, st storage) (*engine, client.Manager) {
	t.Helper()
	e, err := newEngine(testContext(t), Options{
		ManagerOptions: client.ManagerOptions{Logger: discard()}, JudgeBudget: time.Second, SnapshotBytes: 1 << 20, Now: time.Now,
	}, st)
	if err != nil {
		t.Fatal(err)
	}
	m, err := client.NewManager(e, client.ManagerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e, m
}

// What was reported before the log broke still comes, and then the reason.
func TestWatchOfABrokenLog(t *testing.T) {
	st := &failing{}
	_, m := inEngine(t, st)
	defer closed(t, m)
	ctx := testContext(t)
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.Init(ctx, "point", "p"))(t)
	st.broken.Store(true)
	var ids []string
	var last error
	for r, err := range m.Watch(ctx, client.WatchOptions{Oldest: true}) {
		if last = err; err == nil {
			ids = append(ids, r.GetInstance())
			if _, err := m.Init(ctx, "point", "q"); !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("init on a broken log: %v", err)
			}
		}
	}
	if !errors.Is(last, client.ErrUnavailable) || !strings.Contains(last.Error(), "no space left") || !slices.Equal(ids, []string{"p"}) {
		t.Errorf("brought %q, then %v", ids, last)
	}
}

// A watch that comes back after the retention has dropped what it missed is told
// so; and a cursor that is ahead of the log is refused.
func TestWatchTellsWhatWasDropped(t *testing.T) {
	e, m := inEngine(t, memory{})
	defer closed(t, m)
	ctx := testContext(t)
	err := e.alone(ctx, func() error {
		_, err := e.one(toShard, &statev1.Command{Kind: &statev1.Command_SetRetention{SetRetention: &statev1.SetRetention{Reports: fsm.MinReportRetention}}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	must(m.ApplySpecification(ctx, point("point")))(t)
	must(m.Init(ctx, "point", "first"))(t)
	_, cursor, _ := watched(t, m, client.WatchOptions{Oldest: true}, 1, nil)
	for i := range fsm.MinReportRetention + 20 {
		must(m.Init(ctx, "point", fmt.Sprint("later-", i)))(t)
	}
	kinds := []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_INITIALISED}
	got, _, gaps := watched(t, m, client.WatchOptions{Cursor: cursor, Kinds: kinds}, fsm.MinReportRetention, nil)
	if got[0] != "22 INITIALISED later-20" || len(gaps) != 1 || len(gaps[0].Gaps) != 1 {
		t.Fatalf("began with %q, gaps %v", got[0], gaps)
	}
	if g := gaps[0].Gaps[0]; g.GetAfterId() != 1 || g.GetThroughId() != 21 || g.GetShard() != shardID || !slices.Equal(g.GetKinds(), kinds) {
		t.Errorf("the gap is %v, want the ids 2 to 21", g)
	}
	for _, ahead := range []position{{shardID: e.shard.LastReport() + 1}, {0: e.catalog.LastReport() + 1}} {
		err = endOf(t, m, ctx, client.WatchOptions{Cursor: e.cursor(ahead)})
		if !errors.Is(err, client.ErrInvalidArgument) || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("a cursor that is ahead at %v: %v", ahead, err)
		}
	}
}

// Any cursor that was changed is refused, and none breaks the reader.
func FuzzCursor(f *testing.F) {
	e := &engine{identity: newIdentity()}
	for _, id := range []uint64{0, 1, 127, 128, 1<<64 - 1} {
		f.Add(e.cursor(position{shardID: id}))
		f.Add(e.cursor(position{id, 3}))
	}
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, token string) {
		at, err := e.parseCursor(token)
		// Line ends do not count.
		if err == nil && e.cursor(at) != strings.NewReplacer("\r", "", "\n", "").Replace(token) {
			t.Errorf("%q reads as %v, whose cursor is %q", token, at, e.cursor(at))
		}
	})
}
