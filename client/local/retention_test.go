package local

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestRetentionIsChecked(t *testing.T) {
	for what, r := range map[string]Retention{
		"report_retention": {Reports: 99}, "request_window": {RequestWindow: time.Second}, "tombstones": {Tombstones: 10_000_001}, "spec_versions": {SpecVersions: 1_000_000},
	} {
		if m, err := Open(testContext(t), Options{Retention: r}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: got %v, %v", r, m, err)
		}
	}
}

// Reports beyond the setting of the newest Open are gone, and a watch is told so.
func TestReportRetention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ctx := testContext(t)
	m := open(t, Options{Dir: dir})
	must(m.ApplySpecification(ctx, point("point")))(t)
	for i := range 150 {
		must(m.Init(ctx, "point", fmt.Sprint("i", i)))(t)
	}
	if lines, _, gaps := watched(t, m, client.WatchOptions{Oldest: true}, 150, nil); !strings.HasSuffix(lines[0], " i0") || len(gaps) > 0 {
		t.Fatalf("from the oldest: %q, %v", lines[0], gaps)
	}
	closed(t, m)
	m = open(t, Options{Dir: dir, Retention: Retention{Reports: 100}})
	lines, _, gaps := watched(t, m, client.WatchOptions{Oldest: true}, 100, nil)
	if !strings.HasSuffix(lines[0], " i50") || len(gaps) != 1 {
		t.Fatalf("from the oldest: %q, %v", lines[0], gaps)
	}
	closed(t, m)
}

// Old versions of a specification go once no instance and no tombstone is of them.
func TestOldVersionsRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := open(t, Options{ManagerOptions: client.ManagerOptions{NewRequestID: timedIDs}, Retention: Retention{SpecVersions: 2, RequestWindow: 10 * time.Minute}})
		defer closed(t, m)
		version := func(n int) *typesv1.Specification {
			s := point("point")
			s.TransitionTimeout = durationpb.New(time.Duration(n) * time.Hour)
			return s
		}
		known := func() (list []int) {
			for v := range 6 {
				if _, _, err := m.GetSpecification(ctx, "point", uint64(v+1)); err == nil {
					list = append(list, v+1)
				} else if !errors.Is(err, client.ErrSpecificationNotFound) {
					t.Fatal(err)
				}
			}
			return list
		}
		must(m.ApplySpecification(ctx, version(1)))(t)
		must(m.Init(ctx, "point", "pinned"))(t)
		for n := 2; n <= 6; n++ {
			must(m.ApplySpecification(ctx, version(n)))(t)
		}
		time.Sleep(5 * timerCheck)
		if got := fmt.Sprint(known()); got != "[1 5 6]" {
			t.Fatalf("kept are the versions %v", got)
		}
		if in := must(m.Transition(ctx, "pinned", "a", "s"))(t); in.GetSpecVersion() != 1 {
			t.Fatalf("%v", in)
		}
		must(m.Delete(ctx, "pinned"))(t)
		time.Sleep(5 * time.Minute)
		if got := fmt.Sprint(known()); got != "[1 5 6]" {
			t.Fatalf("with a tombstone the versions are %v", got)
		}
		time.Sleep(6 * time.Minute)
		must(m.Init(ctx, "point", "other"))(t) // the time of the log goes on with its entries
		time.Sleep(5 * timerCheck)
		if got := fmt.Sprint(known()); got != "[5 6]" {
			t.Fatalf("without anything the versions are %v", got)
		}
	})
}

// A request that is older than the window is never applied.
func TestRequestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := open(t, Options{ManagerOptions: client.ManagerOptions{NewRequestID: timedIDs}, Retention: Retention{RequestWindow: 10 * time.Minute}})
		defer closed(t, m)
		must(m.ApplySpecification(ctx, point("point")))(t)
		must(m.Init(ctx, "point", "p"))(t)
		first, second := timedIDs(), timedIDs()
		time.Sleep(9 * time.Minute)
		must(m.Transition(ctx, "p", "a", "s", client.WithRequestID(first)))(t)
		time.Sleep(time.Minute)
		if resp, err := m.Transition(ctx, "p", "a", "s", client.WithRequestID(second)); !errors.Is(err, client.ErrOutcomeUnknown) {
			t.Fatalf("got %v, %v", resp, err)
		}
	})
}
