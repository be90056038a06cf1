package cluster

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

const (
	spaceOK   = typesv1.SpaceLevel_SPACE_LEVEL_OK
	spaceLow  = typesv1.SpaceLevel_SPACE_LEVEL_LOW
	spaceStop = typesv1.SpaceLevel_SPACE_LEVEL_STOP
)

func TestLevelOfADisk(t *testing.T) {
	bytes := func(free, total uint64) store.Usage { return store.Usage{FreeBytes: free, TotalBytes: total} }
	rows := []struct {
		name  string
		usage store.Usage
		was   typesv1.SpaceLevel
		want  typesv1.SpaceLevel
	}{
		{"half free", bytes(50, 100), spaceOK, spaceOK},
		{"at the limit", bytes(15, 100), spaceOK, spaceOK},
		{"below it", bytes(14, 100), spaceOK, spaceLow},
		{"at the limit, coming from low", bytes(17, 100), spaceLow, spaceLow},
		{"above the gap", bytes(18, 100), spaceLow, spaceOK},
		{"below the second limit", bytes(4, 100), spaceOK, spaceStop},
		{"at the second limit, coming from stop", bytes(5, 100), spaceStop, spaceStop},
		{"above its gap", bytes(6, 100), spaceStop, spaceLow},
		{"from stop to ok at once", bytes(20, 100), spaceStop, spaceOK},
		{"nothing free", bytes(0, 100), spaceOK, spaceStop},
		{"size unknown", bytes(0, 0), spaceOK, spaceOK},
		{"few inodes", store.Usage{FreeBytes: 50, TotalBytes: 100, FreeInodes: 10, TotalInodes: 100}, spaceOK, spaceLow},
		{"no inodes", store.Usage{FreeBytes: 50, TotalBytes: 100, TotalInodes: 100}, spaceOK, spaceStop},
		{"inodes are not counted", store.Usage{FreeBytes: 50, TotalBytes: 100}, spaceOK, spaceOK},
		{"a small share of a huge disk", bytes(100<<30, 10<<40), spaceOK, spaceOK},
		{"8 GiB are low on any disk", bytes(8<<30-1, 10<<40), spaceOK, spaceLow},
		{"2 GiB stop on any disk", bytes(2<<30-1, 10<<40), spaceOK, spaceStop},
		{"few of very many inodes", store.Usage{FreeBytes: 50, TotalBytes: 100, FreeInodes: 200_000, TotalInodes: 1 << 40}, spaceOK, spaceOK},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := DefaultSpaceLimits().level(r.usage, r.was); got != r.want {
				t.Fatalf("%s was %v: got %v, want %v", r.usage, r.was, got, r.want)
			}
		})
	}
}

// More room never makes a level worse, and a level that was entered stays until
// there is more room than it was entered with.
func TestLevelsAreInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Uint64Range(1, 1<<44).Draw(t, "total")
		free := rapid.Uint64Range(0, total).Draw(t, "free")
		more := rapid.Uint64Range(free, total).Draw(t, "more")
		was := rapid.SampledFrom([]typesv1.SpaceLevel{spaceOK, spaceLow, spaceStop}).Draw(t, "was")
		l := DefaultSpaceLimits()
		at := func(free uint64, was typesv1.SpaceLevel) typesv1.SpaceLevel {
			return l.level(store.Usage{FreeBytes: free, TotalBytes: total}, was)
		}
		if at(more, was) > at(free, was) {
			t.Fatalf("%d free is worse than %d of %d", more, free, total)
		}
		if now := at(free, was); at(free, now) != now {
			t.Fatalf("%d of %d: %v after %v, and then %v", free, total, now, was, at(free, now))
		}
	})
}

func TestSpaceLimitsAreChecked(t *testing.T) {
	for _, l := range []SpaceLimits{{}, {Low: 15, Stop: 5}, {Low: 1}} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, l := range []SpaceLimits{{Low: -1}, {Low: 91, Stop: 5}, {Low: 5, Stop: 5}, {Low: 5, Stop: -1}} {
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), "use 0") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestLeaderWithoutRoom(t *testing.T) {
	ok, low, stop := voterRoom{level: spaceOK, fresh: true}, voterRoom{level: spaceLow, fresh: true}, voterRoom{level: spaceStop, fresh: true}
	silent, silentLow := voterRoom{level: spaceOK}, voterRoom{level: spaceLow}
	rows := []struct {
		name   string
		voters []voterRoom // named a, b, c ... in this order; a leads
		target string
		refuse bool
	}{
		{"all have room", []voterRoom{ok, ok, ok}, "", false},
		{"the leader has none", []voterRoom{low, ok, ok}, "b", false},
		{"the leader and one more", []voterRoom{low, stop, ok}, "c", true},
		{"nobody has room", []voterRoom{low, low, low}, "", true},
		{"one follower", []voterRoom{ok, low, ok}, "", false},
		{"two followers", []voterRoom{ok, stop, low}, "", true},
		{"a voter is silent", []voterRoom{ok, silent, ok}, "", false},
		{"all others are silent", []voterRoom{ok, silent, silent}, "", false},
		{"one is short, one is silent: both are needed", []voterRoom{ok, low, silent}, "", true},
		{"the leader is short, one is silent", []voterRoom{low, silent, ok}, "c", true},
		{"one was short when it was last heard", []voterRoom{ok, silentLow, ok}, "", false},
		{"alone with room", []voterRoom{ok}, "", false},
		{"alone without", []voterRoom{low}, "", true},
		{"five, two short", []voterRoom{ok, low, stop, ok, ok}, "", false},
		{"five, three short", []voterRoom{ok, low, stop, low, ok}, "", true},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			for i := range r.voters {
				r.voters[i].id = string(rune('a' + i))
			}
			if target, refuse := relieve(r.voters, nil); target != r.target || refuse != r.refuse {
				t.Fatalf("got %q, %v; want %q, %v", target, refuse, r.target, r.refuse)
			}
		})
	}
}

func TestANodeWithoutRoomWaitsAndGivesUpItsReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := store.HoldReserve(dir, 4096); err != nil {
			t.Fatal(err)
		}
		var free atomic.Uint64
		var released atomic.Bool
		free.Store(1)
		c := SpaceConfig{Dir: dir, Limits: DefaultSpaceLimits(), Measure: func() (store.Usage, error) {
			_, err := os.Stat(filepath.Join(dir, "reserve"))
			released.Store(errors.Is(err, os.ErrNotExist))
			return store.Usage{FreeBytes: free.Load(), TotalBytes: 100}, nil
		}}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		done := make(chan error, 1)
		go func() { done <- AwaitSpace(context.Background(), c, log) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) != 0 || !released.Load() {
			t.Fatalf("done %v, reserve released %v", len(done), released.Load())
		}
		free.Store(6)
		time.Sleep(2 * time.Second)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		free.Store(1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := AwaitSpace(ctx, c, log); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err := AwaitSpace(context.Background(), SpaceConfig{}, log); err != nil {
			t.Fatal("the watch is off:", err)
		}
	})
}

func TestReserveLeavesRoom(t *testing.T) {
	l := DefaultSpaceLimits()
	rows := []struct{ free, total, want uint64 }{
		{100 << 30, 200 << 30, maxReserve},
		{50 << 20, 100 << 20, 2 << 20},
		{15 << 20, 100 << 20, 0}, // it would be low with it
		{1, 100 << 20, 0},
	}
	for _, r := range rows {
		if got := l.reserve(store.Usage{FreeBytes: r.free, TotalBytes: r.total}); got != r.want {
			t.Errorf("%d of %d: %d, want %d", r.free, r.total, got, r.want)
		}
	}
}
