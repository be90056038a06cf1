package inproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/transport"
)

// TestQuery selects instances over all shards of a healthy cluster.
func TestQuery(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *Cluster)
	}{
		{"where", queryWhere},
		{"bad expressions", queryBad},
		{"pages beside writers", queryBesideWriters},
		{"deletion", queryDeletion},
		{"deletion beside writers", queryDeletionBesideWriters},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

// selected lists ids, sorted, and the errors at the end of the list.
func selected(t testing.TB, cl *client.Client, filter client.ListFilter) (ids []string, failures []error) {
	t.Helper()
	for in, err := range cl.List(testContext(t), filter) {
		if err != nil {
			failures = append(failures, err)
			continue
		}
		ids = append(ids, in.GetId())
	}
	slices.Sort(ids)
	return ids, failures
}

func queryWhere(t *testing.T, c *Cluster) {
	cl := c.Client(0)
	apply(t, cl, pingPong("where"))
	want := map[string][]string{}
	for shard := uint32(1); shard <= 4; shard++ {
		for n := range 6 {
			id := inShard(t, 4, shard, "where", n)
			mustInit(t, cl, "where", id, client.WithMeta(map[string]string{"n": fmt.Sprint(n)}))
			if n%2 == 1 {
				step(t, cl, id, "ping", "right")
				want["right"] = append(want["right"], id)
			} else {
				want["left"] = append(want["left"], id)
			}
			if n >= 4 {
				want["many"] = append(want["many"], id)
			}
		}
	}
	for _, tc := range []struct {
		filter client.ListFilter
		want   string
	}{
		{client.ListFilter{Where: `spec == "where" && state == "right" && age < duration("1h")`}, "right"},
		{client.ListFilter{Spec: "where", Where: `int(meta.n) >= 4`}, "many"},
		{client.ListFilter{Spec: "where", Where: `age > duration("1h")`}, "none"},
		{client.ListFilter{Spec: "where", Where: `seq == 2`, Stale: true}, "right"},
		{client.ListFilter{Spec: "where", Where: `seq == 2`, PageSize: 1}, "right"},
		{client.ListFilter{Spec: "where", State: "right", Where: `true`}, "right"},
		{client.ListFilter{Spec: "where", Stuck: 1 << 40}, "none"},
		// All have been still for a nanosecond, but nobody has gone on from the right yet.
		{client.ListFilter{Spec: "where", Stuck: 1}, "left"},
		{client.ListFilter{Spec: "where", Where: `terminal`}, "right"},
	} {
		for node := range 3 {
			slices.Sort(want[tc.want])
			Eventually(t, "the replicas to follow", func() bool {
				got, failures := selected(t, c.Client(node), tc.filter)
				if len(failures) > 0 || !tc.filter.Stale && !slices.Equal(got, want[tc.want]) {
					t.Fatalf("%+v at node %d: got %v, %v, want %v", tc.filter, node, got, failures, want[tc.want])
				}
				return slices.Equal(got, want[tc.want])
			})
		}
	}

	got, failures := selected(t, cl, client.ListFilter{Where: `meta.nobody == "has it"`, Spec: "where"})
	var left *client.UnevaluatedError
	if len(got) != 0 || len(failures) != 1 || !errors.As(failures[0], &left) || left.Count != 24 || !strings.Contains(left.Example, "no such key: nobody") {
		t.Fatalf("got %v, %v", got, failures)
	}
}

func queryBad(t *testing.T, c *Cluster) {
	cl := c.Client(1)
	for where, want := range map[string]typesv1.Reason{
		`stat == "left"`: typesv1.Reason_REASON_INVALID_ARGUMENT,
		`state`:          typesv1.Reason_REASON_INVALID_ARGUMENT,
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200): typesv1.Reason_REASON_LIMIT_EXCEEDED,
		`state == "` + strings.Repeat("x", 5000) + `"`:               typesv1.Reason_REASON_LIMIT_EXCEEDED,
	} {
		_, failures := selected(t, cl, client.ListFilter{Where: where})
		if len(failures) != 1 {
			t.Fatalf("%.40s: %v", where, failures)
		}
		wantReason(t, failures[0], want)
		_, err := cl.DeleteMatching(testContext(t), client.DeleteFilter{Where: where})
		wantReason(t, err, want)
		if !strings.Contains(err.Error(), "where") {
			t.Fatalf("the error does not name the field: %v", err)
		}
	}
	_, err := cl.DeleteMatching(testContext(t), client.DeleteFilter{Spec: "where"})
	wantReason(t, err, typesv1.Reason_REASON_INVALID_ARGUMENT)
}

// queryBesideWriters: what is there and matches all the time is listed exactly
// once, in small pages, while others begin, move and end.
func queryBesideWriters(t *testing.T, c *Cluster) {
	cl := c.Client(0)
	apply(t, cl, pingPong("beside"))
	var steady []string
	for i := range 40 {
		id := fmt.Sprintf("steady-%02d", i)
		mustInit(t, cl, "beside", id)
		steady = append(steady, id)
	}
	ctx, stop := context.WithCancel(testContext(t))
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("moving-%d-%d", w, i%7)
				_, _ = cl.Init(ctx, "beside", id)
				_, _ = cl.Transition(ctx, id, "ping", "right")
				_, _ = cl.Delete(ctx, id)
				_, _ = cl.Transition(ctx, steady[(7*w+i)%len(steady)], "ping", "right")
			}
		}()
	}
	for range 5 {
		seen := map[string]int{}
		got, failures := selected(t, c.Client(1), client.ListFilter{Spec: "beside", Where: `state in ["left", "right"]`, PageSize: 3})
		for _, id := range got {
			seen[id]++
		}
		for _, id := range steady {
			if seen[id] != 1 {
				t.Errorf("%s was listed %d times", id, seen[id])
			}
		}
		if len(failures) > 0 {
			t.Errorf("got %v", failures)
		}
	}
	stop()
	writers.Wait()
}

func queryDeletion(t *testing.T, c *Cluster) {
	cl := c.Client(2)
	apply(t, cl, pingPong("deletion"))
	var stay []string
	for i := range 60 {
		id := fmt.Sprintf("deletion-%02d", i)
		mustInit(t, cl, "deletion", id, client.WithMeta(map[string]string{"n": fmt.Sprint(i)}))
		if i >= 25 {
			stay = append(stay, id)
		}
	}
	filter := client.DeleteFilter{Spec: "deletion", Where: `int(meta.n) < 25`, DryRun: true}
	if d, err := cl.DeleteMatching(testContext(t), filter); err != nil || d.Matched != 25 || d.Deleted != 0 || d.Examined != 60 {
		t.Fatalf("dry run: %+v, %v", d, err)
	}
	if got, _ := selected(t, cl, client.ListFilter{Spec: "deletion"}); len(got) != 60 {
		t.Fatalf("the dry run left %d", len(got))
	}
	filter.DryRun = false
	progress := 0
	filter.Progress = func(client.Deletion) { progress++ }
	if d, err := cl.DeleteMatching(testContext(t), filter); err != nil || d.Matched != 25 || d.Deleted != 25 || d.MovedOn != 0 || d.Next != "" || progress == 0 {
		t.Fatalf("got %+v, %v", d, err)
	}
	if got, failures := selected(t, cl, client.ListFilter{Spec: "deletion"}); !slices.Equal(got, stay) || len(failures) > 0 {
		t.Fatalf("left are %v, %v", got, failures)
	}
	if d, err := cl.DeleteMatching(testContext(t), filter); err != nil || d.Matched != 0 || d.Deleted != 0 {
		t.Fatalf("the repetition: %+v, %v", d, err)
	}
}

// queryDeletionBesideWriters: an instance whose step was acknowledged is not
// deleted for the state that it was in before.
func queryDeletionBesideWriters(t *testing.T, c *Cluster) {
	cl := c.Client(0)
	apply(t, cl, pingPong("race"))
	const n = 120
	id := func(i int) string { return fmt.Sprintf("race-%03d", i) }
	for i := range n {
		mustInit(t, cl, "race", id(i))
	}
	var writers sync.WaitGroup
	gone := make([]bool, n)
	for w := range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := w; i < n; i += 4 {
				_, err := cl.Transition(testContext(t), id(i), "ping", "right")
				gone[i] = errors.Is(err, client.ErrInstanceNotFound)
				if err != nil && !gone[i] {
					t.Errorf("step of %s: %v", id(i), err)
				}
			}
		}()
	}
	d, err := c.Client(1).DeleteMatching(testContext(t), client.DeleteFilter{Spec: "race", Where: `state == "left"`})
	writers.Wait()
	if err != nil || d.Matched != d.Deleted+d.MovedOn {
		t.Fatalf("got %+v, %v", d, err)
	}
	var missing uint64
	for i := range n {
		_, err := cl.Get(testContext(t), id(i))
		if absent := errors.Is(err, client.ErrInstanceNotFound); absent != gone[i] {
			t.Errorf("%s: its step found it gone: %v, and now it is gone: %v", id(i), gone[i], absent)
		} else if absent {
			missing++
		}
	}
	if missing != d.Deleted {
		t.Errorf("%d instances are gone, the deletion counted %+v", missing, d)
	}
	t.Logf("%+v", d)
}

// TestDeletionOfWhatMovesOn: instances that take a step, end, or begin anew
// between the look and the deletion stay as they are, and are counted.
func TestDeletionOfWhatMovesOn(t *testing.T) {
	t.Parallel()
	var hook atomic.Pointer[func([]*fsm.InstanceView)]
	c := Start(t, Options{Shards: 1, Configure: func(_ int, cfg *transport.ServerConfig) {
		cfg.Hooks.Delete = func(matched []*fsm.InstanceView) {
			if f := hook.Swap(nil); f != nil {
				(*f)(matched)
			}
		}
	}})
	cl := c.Client()
	apply(t, cl, pingPong("moves"))
	for _, id := range []string{"stays", "steps", "ends", "anew"} {
		mustInit(t, cl, "moves", id)
	}
	between := func(matched []*fsm.InstanceView) {
		if len(matched) != 4 {
			t.Errorf("%d matched", len(matched))
		}
		for _, err := range []error{
			second(cl.Transition(testContext(t), "steps", "ping", "right")),
			second(cl.Delete(testContext(t), "ends")),
			second(cl.Delete(testContext(t), "anew")),
			second(cl.Init(testContext(t), "moves", "anew")),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	}
	hook.Store(&between)
	d, err := cl.DeleteMatching(testContext(t), client.DeleteFilter{Where: `state == "left"`})
	if err != nil || d.Matched != 4 || d.Deleted != 1 || d.MovedOn != 3 {
		t.Fatalf("got %+v, %v", d, err)
	}
	if got, failures := selected(t, cl, client.ListFilter{}); !slices.Equal(got, []string{"anew", "steps"}) || len(failures) > 0 {
		t.Fatalf("left are %v, %v", got, failures)
	}
}

// TestQueryWithoutANode: shards that do not answer are named, in lists and in
// deletions, and the others are complete.
func TestQueryWithoutANode(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 4, Replicas: 1, Configure: shortRoute})
	cl := c.Client(0, 1, 2)
	apply(t, cl, pingPong("lost"))
	for shard := uint32(1); shard <= 4; shard++ {
		for n := range 3 {
			mustInit(t, cl, "lost", inShard(t, 4, shard, "lost", n))
		}
	}
	down := c.Leader(0, 1)
	lost := map[uint32]bool{}
	for shard := uint32(1); shard <= 4; shard++ {
		lost[shard] = c.Leader(0, shard) == down
	}
	var there []string
	for shard := uint32(1); shard <= 4; shard++ {
		for n := range 3 {
			if !lost[shard] {
				there = append(there, inShard(t, 4, shard, "lost", n))
			}
		}
	}
	slices.Sort(there)
	c.Kill(down)
	rest := c.Client((down+1)%3, (down+2)%3)

	named := func(err error) {
		t.Helper()
		var partial *client.PartialError
		if !errors.As(err, &partial) {
			t.Fatalf("got %v, want a *PartialError", err)
		}
		got := map[uint32]bool{}
		for _, f := range partial.Failures {
			got[f.GetShard()] = true
		}
		for shard := uint32(1); shard <= 4; shard++ {
			if got[shard] != lost[shard] {
				t.Fatalf("%v is named, %v is lost", got, lost)
			}
		}
	}
	got, failures := selected(t, rest, client.ListFilter{Spec: "lost", Where: `seq == 1`})
	if !slices.Equal(got, there) || len(failures) != 1 {
		t.Fatalf("got %v, %v, want %v", got, failures, there)
	}
	named(failures[0])
	d, err := rest.DeleteMatching(testContext(t), client.DeleteFilter{Spec: "lost", Where: `seq == 1`})
	named(err)
	if d.Deleted != uint64(len(there)) || d.Next != "" {
		t.Fatalf("deleted %+v of %d", d, len(there))
	}

	// Once the node is back a second run finds the rest.
	c.Relaunch(down)
	c.AwaitReady(down)
	Eventually(t, "the rest to be deleted", func() bool {
		d, err := rest.DeleteMatching(testContext(t), client.DeleteFilter{Spec: "lost", Where: `seq == 1`})
		return err == nil && d.Next == "" && d.Matched == d.Deleted
	})
	if got, failures := selected(t, rest, client.ListFilter{Spec: "lost"}); len(got) > 0 || len(failures) > 0 {
		t.Fatalf("left are %v, %v", got, failures)
	}
}
