package shard

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
)

// single is the Config of a group with one voter in memory.
func single(id uint32) Config {
	_, trans := raft.NewInmemTransport("n")
	return Config{
		ID: id, NodeID: "n", Machine: &listMachine{}, Transport: testTransport{InmemTransport: trans}, Timing: Test(),
		Stores: memoryStores(),
	}
}

func TestHostKeepsGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var h Host
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, id := range []uint32{3, 0, 2} {
			g, err := h.Open(single(id))
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Bootstrap([]string{"n"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.Open(single(3)); !errors.Is(err, ErrGroupOpen) {
			t.Errorf("a second time: %v", err)
		}
		bad := single(9)
		bad.NodeID = "other"
		if _, err := h.Open(bad); err == nil {
			t.Error("a transport with another address was taken")
		}
		var ids []uint32
		for _, g := range h.Groups() {
			ids = append(ids, g.ID())
		}
		if len(ids) != 3 || ids[0] != 0 || ids[1] != 2 || ids[2] != 3 {
			t.Errorf("groups: %v", ids)
		}
		if err := h.CloseGroup(ctx, 2); err != nil {
			t.Error(err)
		}
		if err := h.CloseGroup(ctx, 2); err != nil {
			t.Error(err)
		}
		if _, ok := h.Get(2); ok {
			t.Error("a closed group is found")
		}
		if _, err := h.Open(single(2)); err != nil {
			t.Errorf("open again: %v", err)
		}
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if _, err := h.Open(single(5)); !errors.Is(err, ErrHostClosed) {
			t.Errorf("after Close: %v", err)
		}
		if n := len(h.Groups()); n != 0 {
			t.Errorf("%d groups after Close", n)
		}
	})
}

// TestAGroupThatHangsIsClosedLater: a group that does not close in time is closed by
// nobody else, nor opened again, until it has ended.
func TestAGroupThatHangsIsClosedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var h Host
		cfg := single(1)
		release := make(chan struct{})
		cfg.OnApply = func(uint64, []byte, []fsm.Result) { <-release }
		g, err := h.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Bootstrap([]string{"n"}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // it leads, and its first entry hangs
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := h.CloseGroup(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it hangs, and is closed: %v", err)
			}
			cancel()
			if _, err := h.Open(single(1)); !errors.Is(err, ErrGroupOpen) {
				t.Errorf("it hangs, and is opened a second time: %v", err)
			}
		}
		close(release)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.CloseGroup(ctx, 1); err != nil {
			t.Errorf("it hangs no more: %v", err)
		}
		if _, err := h.Open(single(1)); err != nil {
			t.Errorf("open again: %v", err)
		}
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no node id":           func(c *Config) { c.NodeID = "" },
		"no machine":           func(c *Config) { c.Machine = nil },
		"no log store":         func(c *Config) { c.Stores.Logs = nil },
		"no transport":         func(c *Config) { c.Transport = nil },
		"no pre-vote":          func(c *Config) { c.Transport = struct{ raft.Transport }{c.Transport} },
		"another address":      func(c *Config) { c.NodeID = "m" },
		"entries too small":    func(c *Config) { c.MaxEntryBytes = 10 },
		"lease over heartbeat": func(c *Config) { c.Timing.LeaderLease = time.Hour },
	} {
		cfg := single(1)
		spoil(&cfg)
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
