package shard

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// As in hashicorp/raft#697: snapshots come in, and entries never do.
func TestRaft697SnapshotsWithoutProgressAreStuck(t *testing.T) {
	cfg, err := single(1).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(cfg)
	restore := func() {
		t.Helper()
		if err := r.Restore(io.NopCloser(strings.NewReader(`{"Index":5}`))); err != nil {
			t.Fatal(err)
		}
	}
	for range stuckRestores - 1 {
		restore()
	}
	r.Apply(&raft.Log{Type: raft.LogCommand, Index: 6})
	for range stuckRestores - 1 {
		restore()
	}
	if len(r.stuck.reports) != 0 {
		t.Fatal("reported too early")
	}
	restore()
	restore()
	if len(r.stuck.reports) != 1 {
		t.Fatal("not reported once")
	}
}

// As in hashicorp/raft#696: a transfer that does not end refuses all entries.
func TestATransferThatDoesNotEndIsStuck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var stuck atomic.Int32
		c := newFormed(t, func(cfg *Config) { cfg.OnStuck = func(error) { stuck.Add(1) } }, "a", "b", "c")
		leader := c.leader()
		target := c.others(leader.id)[0]
		c.put(leader, "x")
		c.agree([]string{"x"}, c.ids...)
		// The question to campaign never comes back.
		c.mu.Lock()
		hang := make(chan struct{})
		c.hangTimeoutNow = hang
		c.mu.Unlock()
		defer close(hang)
		err := leader.group.TransferLeadership(context.Background(), target)
		wantError(t, err, typesv1.Reason_REASON_UNAVAILABLE, false)
		start := time.Now()
		c.eventually("the report", func() bool {
			_, err := leader.group.Propose(context.Background(), put("y"))
			wantError(t, err, typesv1.Reason_REASON_NOT_LEADER, true)
			return stuck.Load() > 0
		})
		if took := time.Since(start); took < 4*LAN().Election || took > 6*LAN().Election {
			t.Errorf("reported after %v", took)
		}
		if n := stuck.Load(); n != 1 {
			t.Errorf("reported %d times", n)
		}
	})
}
