package inproc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestSettingsOfARunningCluster: a change reaches every replica of every shard
// through their logs; a version of a specification beyond the setting goes once
// neither an instance nor a tombstone is of it, everywhere, and does not come back.
func TestSettingsOfARunningCluster(t *testing.T) {
	t.Parallel()
	lab := newTimeLab()
	c := Start(t, Options{Shards: 1, Configure: lab.configure})
	cl := c.Client()
	ctx := testContext(t)
	def := pingPong("walk")
	apply(t, cl, def)
	mustInit(t, cl, "walk", "old")

	window, one := fsm.MinRequestWindow, uint64(1)
	resp, err := cl.ChangeSettings(ctx, client.SettingsChange{RequestWindow: &window, SpecVersions: &one})
	if err != nil || !resp.GetChanged() || resp.GetSettings().GetRequestWindow().AsDuration() != window || resp.GetSettings().GetTombstones() != fsm.DefaultTombstones {
		t.Fatalf("%v, %v", resp, err)
	}
	for node := range 3 {
		got, err := c.Client(node).Settings(ctx)
		if err != nil || got.GetSettings().GetSpecVersions() != 1 || got.GetDefaults().GetSpecVersions() != fsm.DefaultSpecVersions {
			t.Fatalf("node %d: %v, %v", node, got, err)
		}
		Eventually(t, "the replicas to follow the settings", func() bool {
			lab.mu.Lock()
			defer lab.mu.Unlock()
			return lab.machines[node].Follows(fsm.Settings{RequestWindow: window})
		})
	}
	var e *client.Error
	tiny := uint64(3)
	if _, err := cl.ChangeSettings(ctx, client.SettingsChange{ReportRetention: &tiny}); !errors.As(err, &e) || e.Reason != typesv1.Reason_REASON_INVALID_ARGUMENT {
		t.Fatalf("a retention of 3 reports: %v", err)
	}

	for version := uint64(2); version <= 3; version++ {
		def.Transitions = append(def.Transitions, &typesv1.Transition{From: "left", Action: fmt.Sprint("to", version), To: "right"})
		apply(t, cl, def)
	}
	gone := func(version uint64) bool {
		_, _, err := cl.GetSpecification(ctx, "walk", version)
		return errors.As(err, &e) && e.Reason == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND
	}
	Eventually(t, "the second version, which nobody uses, to go", func() bool { return gone(2) })
	if gone(1) || gone(3) {
		t.Fatal("a version is gone that is in use, or the newest")
	}
	step(t, cl, "old", "ping", "right")
	if _, err := cl.Delete(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	lab.ahead.Add(int64(2 * window)) // past the tombstone
	n := 0
	Eventually(t, "the first version to go", func() bool {
		n++
		// The time of the log goes on with its entries. Those of clients whose clock is
		// behind by more than the window need an id that carries no time.
		mustInit(t, cl, "walk", fmt.Sprint("new", n), client.WithRequestID(fmt.Sprint("request", n)))
		return gone(1)
	})
	if _, err := cl.Init(ctx, "walk", "late", client.WithSpecVersion(1), client.WithRequestID("late")); !errors.As(err, &e) || e.Reason != typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND {
		t.Errorf("an instance of a version that is gone: %v", err)
	}
	awaitAgreement(t, c, 0)
}
