//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spexio/spex/internal/failpoint"
)

// TestHungDisk: one write of a leader does not come back. The shards that it led have
// other leaders before the store's deadline of 10 s is over, and then the process ends
// with status 3. The point lies behind the guard that watches over writes.
func TestHungDisk(t *testing.T) {
	long(t)
	for round := range roundsOr(t, 1) {
		t.Run(fmt.Sprintf("round=%d", round), hungDisk)
	}
}

func hungDisk(t *testing.T) {
	s := newServers(t, 3, "--shards", "1")
	w := window{name: "store/logs-write", action: "sleep:40s", hit: at(300)}
	v := w.arm(t, s, 0)
	for _, nd := range s.nodes {
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, 60*time.Second)
	}
	applyText(t, s, walkSpec(0))
	applyText(t, s, chaosSpec)
	// The write that hangs is of this shard then, and its leader's: nothing else is
	// written but what the probe writes. Walkers would teach the catalog.
	s.spex("cluster", "transfer", "1", v.node.name)
	probe := s.startProbes("probe", 1)
	marker := filepath.Join(v.markers, failpoint.MarkerFile(w.name))
	led := map[int]bool{}
	var hung time.Time
	for deadline := time.Now().Add(60 * time.Second); ; wait(20 * time.Millisecond) {
		if info, err := os.Stat(marker); err == nil {
			hung = info.ModTime()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not come to the write that hangs", v.name)
		}
		for _, sh := range s.status().Shards {
			led[sh.ID] = sh.Leader != "" && s.byID(sh.Leader) == v.node
		}
	}
	load := startWalkers(s.dial(), 6, 1)
	defer load.stop()
	leads := false
	for _, is := range led {
		leads = leads || is
	}
	if !leads {
		t.Fatalf("%s led no shard when its disk hung: the test says nothing", v.name)
	}
	others := *s
	others.nodes = s.nodes[1:]
	for left := true; left; wait(50 * time.Millisecond) {
		left = false
		r := others.begin("cluster", "status", "-o", "json").wait()
		if r.code == 0 {
			for _, sh := range decode[status](t, r.stdout).Shards {
				left = left || led[sh.ID] && (sh.Leader == "" || s.byID(sh.Leader) == v.node)
			}
		}
		if left = left || r.code != 0; left && time.Since(hung) > 10*time.Second {
			t.Fatalf("the shards of %s have no other leaders after %s", v.name, time.Since(hung))
		}
	}
	t.Logf("other leaders after %s", time.Since(hung).Round(time.Millisecond))
	select {
	case <-v.done:
		if code := v.cmd.ProcessState.ExitCode(); code != 3 {
			t.Fatalf("%s ended with %v, want exit status 3", v.name, v.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s goes on with a write that has not come back for %s", v.name, time.Since(hung))
	}
	t.Logf("the process ended after %s", time.Since(hung).Round(time.Millisecond))
	load.await(t, 200, 30*time.Second)
	v.binary, v.env = "", nil
	s.start(v.node)
	s.awaitReady(v.node, 60*time.Second)
	probe.over(t, fault{name: "hung-disk", what: "a write of the node that leads does not come back; its process ends after 10 s, and is started again"}, hung)
	s.spex("model", "seal", "walk")
	load.await(t, 3000, 60*time.Second)
	load.end(t)
	load.check(t)
	probe.end()
	probe.check(t.Context(), t)
	s.awaitAgreement(30 * time.Second)
}
