//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/drill"
)

// chaosCall is how long a call of the workload may take: less than an election,
// so that there are calls whose outcome the clients do not know.
const chaosCall = 1200 * time.Millisecond

// chaosLoad is a checked workload under way.
type chaosLoad struct {
	a       *arena
	w       *drill.Workload
	doubts  atomic.Int64 // writes of which nobody knows what became of them
	stop    context.CancelFunc
	done    chan struct{} // closed when history and err are set
	history *drill.History
	err     error
}

func startChaosLoad(a *arena, seed uint64) *chaosLoad {
	a.t.Helper()
	l := &chaosLoad{a: a, done: make(chan struct{})}
	w, err := drill.NewWorkload(drill.Config{
		Addresses: a.addresses(), Seed: seed, CallTimeout: chaosCall, ProbeEvery: -1, // TestChaos has probes of its own
		Options: client.Options{BackoffBase: 10 * time.Millisecond, BackoffMax: 200 * time.Millisecond, Handler: l.observe},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	l.w = w
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.Setup(ctx); err != nil {
		a.t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	l.stop = stop
	go func() {
		defer close(l.done)
		l.history, l.err = w.Run(run)
	}()
	a.t.Cleanup(func() {
		l.end()
		_ = w.Close()
	})
	return l
}

// observe counts the writes with an unknown outcome and changes nothing.
func (l *chaosLoad) observe(_ context.Context, e *client.Event) error {
	var failed *client.Error
	if errors.As(e.Err, &failed) && !failed.NotApplied {
		l.doubts.Add(1)
	}
	return e.Err
}

// enough reports whether the workload has done what a round needs. It knows
// acknowledged writes alone, which are less than half of all operations.
func (l *chaosLoad) enough() bool {
	return 2*l.w.Acknowledged() >= chaosOperations && l.doubts.Load() > 0
}

// end stops the clients and waits for their last answers; it may be called twice.
func (l *chaosLoad) end() {
	l.stop()
	<-l.done
}

// check holds what the clients were told against each other and against the end.
func (l *chaosLoad) check(t *testing.T, patience time.Duration) *drill.Verdict {
	t.Helper()
	if l.err != nil {
		t.Fatal(l.err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	final, err := l.w.Final(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := drill.Check(l.history, final)
	if err := v.Err(); err != nil {
		t.Error(err)
		picture := filepath.Join(l.a.dir, "history.html")
		if f, err := os.Create(picture); err == nil {
			if err := errors.Join(v.WriteHTML(f), f.Close()); err == nil {
				t.Logf("what the clients saw is in %s", picture)
			}
		}
	}
	return v
}
