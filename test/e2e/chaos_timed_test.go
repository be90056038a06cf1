//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// timers has instances that time out and are pruned while things break, and a
// watch that tells of it for the whole time (I5, I10).
type timers struct {
	c    *client.Client
	stop context.CancelFunc
	done chan struct{} // closed when the watch has ended

	// want are the reports that are due, by kind, instance, incarnation and step;
	// only the test's goroutine uses it.
	want map[string]bool
	made int

	mu   sync.Mutex // guards the fields below
	seen map[string]string
	came []came
	err  error
	// quiet is how many responses in a row brought nothing and named no shard that
	// could not be read.
	quiet int
}

// came is a report, of log time.
type came struct {
	key       string
	shard     uint32
	due, done time.Time
}

const (
	// lateness is how long a shard that writes may let what is due wait: two seconds, by half.
	lateness = 3 * time.Second
	// unwritable is the time without an acknowledged write of a shard's probe from
	// which on the shard counts as one that cannot be written.
	unwritable = 500 * time.Millisecond
)

// written is the longest part of a span in which a shard was written to all the time.
// acked is when writes were acknowledged, in order.
func written(acked []time.Time, from, to time.Time) (longest time.Duration) {
	begin, last := time.Time{}, time.Time{}
	for _, at := range acked {
		if at.Before(from) || at.After(to) {
			continue
		}
		if last.IsZero() || at.Sub(last) > unwritable {
			begin = at
		}
		last = at
		longest = max(longest, at.Sub(begin))
	}
	return longest
}

// TestWritten holds what counts as late against made-up writes.
func TestWritten(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	var acked []time.Time
	for _, span := range [][2]int{{0, 2000}, {4000, 9000}, {9600, 9700}} {
		for ms := span[0]; ms <= span[1]; ms += 100 {
			acked = append(acked, at(ms))
		}
	}
	for _, c := range []struct{ from, to, want int }{{0, 2000, 2000}, {0, 3900, 2000}, {1000, 4500, 1000}, {1500, 9900, 5000}, {5000, 6000, 1000}, {2100, 3900, 0}} {
		if got := written(acked, at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%v: %s", c, got)
		}
	}
}

// checkLate wants each report to have come within lateness once its shard could be
// written to, whoever led it until then (I5).
func (w *timers) checkLate(t *testing.T, p *probes) {
	t.Helper()
	acked := map[uint32][]time.Time{}
	for _, one := range p.list {
		one.mu.Lock()
		for _, a := range one.acked {
			acked[one.shard] = append(acked[one.shard], a.done)
		}
		one.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	worst, longest := time.Duration(0), time.Duration(0)
	for _, c := range w.came {
		if len(acked[c.shard]) == 0 {
			t.Errorf("%s: nobody wrote to shard %d", c.key, c.shard)
		}
		late := written(acked[c.shard], c.due, c.done)
		longest = max(longest, c.done.Sub(c.due))
		if worst = max(worst, late); late > lateness {
			t.Errorf("%s was due at %s and came %s later; shard %d could be written to for %s of that without a pause",
				c.key, c.due.Format(time.StampMilli), c.done.Sub(c.due), c.shard, late)
		}
	}
	t.Logf("%d timeouts and prunes came at most %s late, and after %s in which their shard could be written to", len(w.came),
		longest.Round(time.Millisecond), worst.Round(time.Millisecond))
}

// quietBeats is how many responses without a report say that there is none: the
// timers look every second, and a server that has nothing to tell sends one as often.
const quietBeats = 3

func startTimers(a *arena) *timers {
	a.t.Helper()
	applyText(a.t, a.servers, timed)
	ctx, stop := context.WithCancel(context.Background())
	w := &timers{c: a.connect(a.nodes...), stop: stop, done: make(chan struct{}), want: map[string]bool{}, seen: map[string]string{}}
	a.t.Cleanup(w.end)
	go func() {
		defer close(w.done)
		for r, err := range w.c.Watch(ctx, client.WatchOptions{Specs: []string{"timed"}, Oldest: true, Heartbeat: time.Second, OnProgress: w.progress, Kinds: []typesv1.ReportKind{
			typesv1.ReportKind_REPORT_KIND_TIMEOUT, typesv1.ReportKind_REPORT_KIND_PRUNED,
		}}) {
			w.take(ctx, r, err)
		}
	}()
	return w
}

// progress notes what a response brings.
func (w *timers) progress(p client.WatchProgress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet++; p.Reports > 0 || len(p.Failures) > 0 {
		w.quiet = 0
	}
}

// take notes a report. One that comes twice has the same id both times.
func (w *timers) take(ctx context.Context, r client.Report, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			w.err = errors.Join(w.err, err)
		}
		return
	}
	key, id := reportKey(r), fmt.Sprint(r.GetShard(), "/", r.GetId())
	if first, again := w.seen[key]; again && first != id {
		w.err = errors.Join(w.err, fmt.Errorf("%s was reported as %s and as %s", key, first, id))
	}
	w.seen[key] = id
	w.came = append(w.came, came{key, r.GetShard(), r.GetDeadline().AsTime(), r.GetTime().AsTime()})
	if r.GetTime().AsTime().Before(r.GetDeadline().AsTime()) {
		w.err = errors.Join(w.err, fmt.Errorf("%s at %v, before its deadline %v", key, r.GetTime().AsTime(), r.GetDeadline().AsTime()))
	}
}

// add makes instances that take no step: each has one timeout, and is pruned.
func (w *timers) add(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	for range n {
		w.made++
		id := fmt.Sprintf("timed-%d", w.made)
		resp, err := w.c.Init(ctx, "timed", id)
		if err != nil {
			t.Fatalf("init %s: %v", id, err)
		}
		for _, kind := range []string{"TIMEOUT", "PRUNED"} {
			w.want[fmt.Sprintf("%s %s#%d/1", kind, id, resp.GetIncarnation())] = true
		}
	}
}

// check waits until all that is due was reported and the watch has nothing more to
// bring, and wants nothing else.
func (w *timers) check(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(recovery)
	complete := false
	for {
		w.mu.Lock()
		missing := ""
		for key := range w.want {
			if w.seen[key] == "" {
				missing = key
			}
		}
		if missing == "" && !complete {
			// What comes twice or too much comes soon after: the watch has to be quiet from now.
			complete, w.quiet = true, 0
		}
		quiet, odd := w.quiet >= quietBeats, w.err
		for key := range w.seen {
			if !w.want[key] {
				odd = errors.Join(odd, fmt.Errorf("%s was reported and is not due", key))
			}
		}
		w.mu.Unlock()
		if odd != nil {
			t.Error(odd)
			return
		}
		if complete && quiet {
			t.Logf("%d timeouts and prunes were due, and reported once each", len(w.want))
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%q is due and was not reported, or the watch tells nothing more", missing)
			return
		}
		wait(20 * time.Millisecond)
	}
}

// end ends the watch; it may be called twice.
func (w *timers) end() {
	w.stop()
	<-w.done
}
