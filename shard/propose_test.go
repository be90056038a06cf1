package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestConcurrentCommandsShareEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		before := leader.machine.entryCount()
		const n = 500
		release := leader.machine.hold()
		var wg sync.WaitGroup
		first := make(chan struct{})
		for i := range n {
			wg.Go(func() {
				if i > 0 {
					<-first
				}
				value := fmt.Sprint("v", i)
				applied := c.put(leader, value)
				// The result is that of this command and no other.
				at := applied.Result.Value.(int)
				if got := leader.machine.values()[at-1]; got != value {
					t.Errorf("result of %s belongs to %s", value, got)
				}
			})
		}
		synctest.Wait() // the first command is in flight
		close(first)
		synctest.Wait() // the others are queued
		if queued := leader.group.Status().Queued; queued != n-1 {
			t.Errorf("%d commands queued, want %d", queued, n-1)
		}
		release()
		wg.Wait()
		if entries := leader.machine.entryCount() - before; entries != 2 {
			t.Errorf("%d commands took %d entries, want 2", n, entries)
		}
		c.agree(leader.machine.values(), c.ids...)
	})
}

func TestProposeAllKeepsTheOrderOverEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		values := numbered("v", 3000)
		values[1500] = "refuse"
		results, err := leader.group.ProposeAll(context.Background(), commands(values...))
		if err != nil {
			t.Fatal(err)
		}
		var last uint64
		indexes := map[uint64]int{}
		for i, r := range results {
			if r.Index < last {
				t.Fatalf("command %d has index %d after %d", i, r.Index, last)
			}
			last = r.Index
			indexes[r.Index]++
			if refused := r.Result.Err != nil; refused != (i == 1500) {
				t.Fatalf("command %d: %v", i, r.Result.Err)
			}
		}
		for index, n := range indexes {
			if n > MaxEntryCommands {
				t.Errorf("entry %d has %d commands", index, n)
			}
		}
		if len(indexes) != 3 {
			t.Errorf("3000 commands took %d entries, want 3", len(indexes))
		}
		c.agree(slices.Delete(values, 1500, 1501), c.ids...)
	})
}

func TestNoEntryIsLargerThanItsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		leader := c.leader()
		var cmds []*statev1.Command
		for i := range 40 {
			cmds = append(cmds, put(strings.Repeat("x", 60_000+i)))
		}
		chunk := &statev1.Command{Kind: &statev1.Command_StageChunk{StageChunk: &statev1.StageChunk{Data: make([]byte, 256_000)}}}
		cmds = slices.Insert(cmds, 20, chunk)
		if _, err := leader.group.ProposeAll(context.Background(), cmds); err != nil {
			t.Fatal(err)
		}
		leader.mu.Lock()
		defer leader.mu.Unlock()
		for i, size := range leader.entrySizes {
			if size > MaxEntryBytes {
				t.Errorf("entry %d has %d bytes", i, size)
			}
		}
		// Lead, 40 commands by fours, and the chunk for itself.
		if n := len(leader.entrySizes); n != 1+10+1 {
			t.Errorf("%d entries, want 12: %v", n, leader.entrySizes)
		}
	})
}

func TestCommandsOverTheirLimitAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		g := c.leader().group
		chunk := func(n int) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_StageChunk{StageChunk: &statev1.StageChunk{Data: make([]byte, n)}}}
		}
		exact := put("")
		exact.Principal = strings.Repeat("p", MaxClientCommandBytes-proto.Size(exact)-4)
		if size := proto.Size(exact); size != MaxClientCommandBytes {
			t.Fatalf("the command has %d bytes", size)
		}
		over := proto.CloneOf(exact)
		over.Principal += "p"
		for name, test := range map[string]struct {
			cmd    *statev1.Command
			reason typesv1.Reason
		}{
			"client command at the limit":     {exact, 0},
			"client command over the limit":   {over, typesv1.Reason_REASON_LIMIT_EXCEEDED},
			"internal command over 64 KiB":    {chunk(200_000), 0},
			"internal command over the entry": {chunk(MaxEntryBytes), typesv1.Reason_REASON_LIMIT_EXCEEDED},
			"empty command":                   {&statev1.Command{}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		} {
			_, err := g.Propose(context.Background(), test.cmd)
			if test.reason == 0 {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			wantError(t, err, test.reason, true)
		}
	})
}

func TestAFollowerNamesTheLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		follower := c.nodes[c.others(leader.id)[0]]
		c.eventually("the follower to know the leader", func() bool { _, known := follower.group.Leader(); return known })
		_, err := follower.group.Propose(context.Background(), put("x"))
		if e := wantError(t, err, typesv1.Reason_REASON_NOT_LEADER, true); e.LeaderID != leader.id {
			t.Errorf("the error names %q as leader, want %q", e.LeaderID, leader.id)
		}
		_, err = follower.group.ReadIndex(context.Background())
		wantError(t, err, typesv1.Reason_REASON_NOT_LEADER, true)
	})
}

func TestLeadershipLostInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		old := c.leader()
		c.put(old, "before")
		c.isolate(old.id)
		_, err := old.group.Propose(context.Background(), put("lost"))
		wantError(t, err, typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
		_, err = old.group.Propose(context.Background(), put("late"))
		wantError(t, err, typesv1.Reason_REASON_NOT_LEADER, true)

		next := c.leader(c.others(old.id)...)
		c.put(next, "after")
		c.heal()
		c.agree([]string{"before", "after"}, c.ids...)
	})
}

func TestWhatTheEndOfTheContextMeans(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		release := leader.machine.hold()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		var inFlight, queued error
		var wg sync.WaitGroup
		wg.Go(func() { _, inFlight = leader.group.Propose(ctx, put("in flight")) })
		synctest.Wait()
		wg.Go(func() { _, queued = leader.group.Propose(ctx, put("queued")) })
		wg.Wait()
		wantError(t, inFlight, typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
		wantError(t, queued, typesv1.Reason_REASON_UNAVAILABLE, true)
		_, err := leader.group.Propose(ctx, put("too late"))
		wantError(t, err, typesv1.Reason_REASON_UNAVAILABLE, true)
		release()
		c.put(leader, "last")
		c.agree([]string{"in flight", "last"}, c.ids...)
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, func(cfg *Config) { cfg.QueueCommands = 10 }, "a")
		leader := c.leader()
		release := leader.machine.hold()
		var wg sync.WaitGroup
		wg.Go(func() { c.put(leader, "in flight") })
		synctest.Wait()
		wg.Go(func() {
			if _, err := leader.group.ProposeAll(context.Background(), commands(numbered("v", 8)...)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		_, err := leader.group.ProposeAll(context.Background(), commands(numbered("w", 3)...))
		wantError(t, err, typesv1.Reason_REASON_QUEUE_FULL, true)
		wg.Go(func() {
			if _, err := leader.group.ProposeAll(context.Background(), commands(numbered("u", 2)...)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		release()
		wg.Wait()
		if n := len(leader.machine.values()); n != 11 {
			t.Errorf("%d values, want 11", n)
		}
	})
}

func TestAMachineThatMiscountsLeavesTheOutcomeOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a")
		leader := c.leader()
		leader.machine.mu.Lock()
		leader.machine.shortCount = true
		leader.machine.mu.Unlock()
		_, err := leader.group.Propose(context.Background(), put("x"))
		wantError(t, err, typesv1.Reason_REASON_OUTCOME_UNKNOWN, false)
	})
}

func TestProposeAllReportsHowFarItCame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, func(cfg *Config) { cfg.MaxEntryCommands = 2 }, "a", "b", "c")
		leader := c.leader()
		leader.machine.poison = "poison"
		results, err := leader.group.ProposeAll(context.Background(), commands("1", "2", "poison", "4", "5"))
		wantError(t, err, typesv1.Reason_REASON_GROUP_HALTED, false)
		if len(results) != 5 || results[0].Index == 0 || results[1].Result.Err != nil {
			t.Fatalf("results: %+v", results)
		}
		wantError(t, results[3].Result.Err, typesv1.Reason_REASON_GROUP_HALTED, false)
		wantError(t, results[4].Result.Err, typesv1.Reason_REASON_GROUP_HALTED, true)
	})
}

func TestEncodeEntryIsAnEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &statev1.Entry{
			FeatureLevel: rapid.Uint32().Draw(t, "level"),
			TimeUnixNano: rapid.Int64().Draw(t, "time"),
		}
		var data [][]byte
		size := entryOverhead
		for _, v := range rapid.SliceOf(rapid.String()).Draw(t, "values") {
			cmd := put(strings.ToValidUTF8(v, ""))
			b, err := proto.Marshal(cmd)
			if err != nil {
				t.Fatal(err)
			}
			want.Commands = append(want.Commands, cmd)
			data = append(data, b)
			size += commandSize(b)
		}
		b := encodeEntry(want.FeatureLevel, want.TimeUnixNano, data)
		if len(b) > size {
			t.Fatalf("the entry has %d bytes, estimated were %d", len(b), size)
		}
		var got statev1.Entry
		if err := proto.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("got %v, want %v", &got, want)
		}
	})
}
