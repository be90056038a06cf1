package local_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestSelections: lists and deletions by an expression mean in process what they
// mean on a cluster.
func TestSelections(t *testing.T) {
	for name, dir := range map[string]string{"in memory": "", "on disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) { selections(t, dir) })
	}
}

func selections(t *testing.T, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	m, err := local.Open(ctx, local.Options{Dir: dir, Now: func() time.Time { return time.Unix(0, now.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.ApplySpecification(ctx, &typesv1.Specification{Name: "s", InitialState: "left", Transitions: []*typesv1.Transition{
		{From: "left", Action: "ping", To: "right"}, {From: "right", Action: "pong", To: "left"},
	}}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := m.Init(ctx, "s", fmt.Sprintf("i%02d", i), client.WithMeta(map[string]string{"n": fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	now.Add(int64(time.Hour))
	if _, err := m.Transition(ctx, "i07", "ping", "right"); err != nil {
		t.Fatal(err)
	}
	list := func(f client.ListFilter) (ids []string, failed []error) {
		for in, err := range m.List(ctx, f) {
			if err != nil {
				failed = append(failed, err)
			} else {
				ids = append(ids, in.GetId())
			}
		}
		return ids, failed
	}
	for _, tc := range []struct {
		filter client.ListFilter
		want   int
	}{
		{client.ListFilter{Where: `state == "right"`}, 1},
		{client.ListFilter{Where: `age >= duration("1h")`, PageSize: 3}, 19},
		{client.ListFilter{Stuck: time.Minute, Limit: 5, PageSize: 2}, 5},
		{client.ListFilter{Where: `int(meta.n) % 2 == 0`}, 10},
	} {
		if ids, failed := list(tc.filter); len(ids) != tc.want || len(failed) > 0 || !slices.IsSorted(ids) {
			t.Errorf("%+v: got %v, %v, want %d", tc.filter, ids, failed, tc.want)
		}
	}
	var left *client.UnevaluatedError
	if ids, failed := list(client.ListFilter{Where: `meta.x == ""`, PageSize: 4}); len(ids) > 0 || len(failed) != 1 || !errors.As(failed[0], &left) || left.Count != 20 {
		t.Errorf("got %v, %v", ids, failed)
	}

	for _, f := range []client.DeleteFilter{{}, {Where: "nope"}, {Where: "state"}, {Where: "true", Stuck: -1}, {Where: "true", Resume: "*"}} {
		if _, err := m.DeleteMatching(ctx, f); !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("%+v: got %v", f, err)
		}
	}
	if _, err := m.DeleteMatching(ctx, client.DeleteFilter{Where: strings.Repeat("(", 300)}); !errors.Is(err, client.ErrLimitExceeded) {
		t.Errorf("too deep: got %v", err)
	}
	d, err := m.DeleteMatching(ctx, client.DeleteFilter{Where: `int(meta.n) < 9`, DryRun: true})
	if err != nil || d.Matched != 9 || d.Deleted != 0 || d.Examined != 20 {
		t.Errorf("dry run: %+v, %v", d, err)
	}
	d, err = m.DeleteMatching(ctx, client.DeleteFilter{Where: `int(meta.n) < 9 && state == "left"`})
	if err != nil || d.Matched != 8 || d.Deleted != 8 || d.MovedOn != 0 || d.Next != "" {
		t.Errorf("got %+v, %v", d, err)
	}
	if ids, _ := list(client.ListFilter{}); len(ids) != 12 || ids[0] != "i07" {
		t.Errorf("left are %v", ids)
	}
}
