//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// timed is a specification whose every step has to be followed by another.
const timed = `name: timed
transitions:
  - {from: left, action: ping, to: right}
transition_timeout: 500ms
timeout_in_terminal_states: true
prune_timeout: 4s
prunable_states: all
`

// timedRound has the leader of a shard die between a deadline and what it leads
// to: nothing of it is lost, and nothing reported twice.
func (w window) timedRound(t *testing.T, round int) {
	s := newServers(t, 3, "--shards", "3")
	v := w.arm(t, s, round)
	for _, nd := range s.nodes {
		s.start(nd)
	}
	if v.awaitForming(t, s) {
		t.Fatalf("%s died before there were deadlines", v.name)
	}
	applyText(t, s, timed)
	c := s.dial()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const instances = 30 // more than enough for each shard to have some
	want := map[string]bool{}
	for i := range instances {
		id := fmt.Sprintf("timed-%d", i)
		resp, err := c.Init(ctx, "timed", id)
		if err != nil {
			t.Fatalf("init %s: %v", id, err)
		}
		for _, kind := range []string{"TIMEOUT", "PRUNED"} {
			want[fmt.Sprintf("%s %s#%d/1", kind, id, resp.GetIncarnation())] = true
		}
	}
	select {
	case <-v.done:
		v.revive(t, s)
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not come to the window", v.name)
	}
	s.awaitReady(v.node, 30*time.Second)

	seen, count := map[string]int{}, 0
	for r, err := range c.Watch(ctx, client.WatchOptions{Specs: []string{"timed"}, Oldest: true, Kinds: []typesv1.ReportKind{
		typesv1.ReportKind_REPORT_KIND_TIMEOUT, typesv1.ReportKind_REPORT_KIND_PRUNED,
	}}) {
		if err != nil {
			t.Fatalf("after %d reports of %d: %v", count, len(want), err)
		}
		if key, id := reportKey(r), fmt.Sprint(r.GetShard(), "/", r.GetId()); seen[id] == 0 { // at least once each
			seen[id]++
			if !want[key] || seen[key] > 0 {
				t.Errorf("%s was reported %d times before, wanted is %t", key, seen[key], want[key])
			}
			seen[key]++
			count++
		}
		if count == len(want) {
			break
		}
	}
	// Nobody repeats any of it later.
	later, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	total := map[string]bool{}
	for r, err := range c.Watch(later, client.WatchOptions{Specs: []string{"timed"}, Oldest: true}) {
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err == nil && (r.GetKind() == typesv1.ReportKind_REPORT_KIND_TIMEOUT || r.GetKind() == typesv1.ReportKind_REPORT_KIND_PRUNED) {
			total[fmt.Sprint(r.GetShard(), "/", r.GetId())] = true
		}
	}
	if len(total) != len(want) {
		t.Errorf("there are %d reports, want %d", len(total), len(want))
	}
	s.awaitAgreement(30 * time.Second)
	if !t.Failed() {
		s.cleanup()
	}
}

func reportKey(r client.Report) string {
	kind := "TIMEOUT"
	if r.GetKind() == typesv1.ReportKind_REPORT_KIND_PRUNED {
		kind = "PRUNED"
	}
	return fmt.Sprintf("%s %s#%d/%d", kind, r.GetInstance(), r.GetIncarnation(), r.GetSeq())
}
