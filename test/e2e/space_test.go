//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// diskMiB is the size of the disks of these tests: small, but large enough for
// the preallocated log of an idle node to be less than half of it.
const diskMiB = 160

// smallDisk puts the data directory of a node on a tmpfs of its own.
func smallDisk(t *testing.T, nd *node) {
	t.Helper()
	if err := os.MkdirAll(nd.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", nd.dir, "tmpfs", 0, fmt.Sprintf("size=%dm", diskMiB))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("a disk that can be filled cannot be made: mounting needs root, and a container that lets it")
	}
	if err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
}

// fill leaves about so many percent of a node's disk free, with a file of its own.
func fill(t *testing.T, nd *node, percent int64) {
	t.Helper()
	path := filepath.Join(nd.dir, "balloon")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st syscall.Statfs_t
	if err := syscall.Statfs(nd.dir, &st); err != nil {
		t.Fatal(err)
	}
	has, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	size := has + (int64(st.Bavail)-int64(st.Blocks)*percent/100)*st.Bsize
	if err := f.Truncate(max(size, 0)); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, size); err != nil && !(percent == 0 && errors.Is(err, syscall.ENOSPC)) {
			t.Fatalf("fill the disk of %s: %v", nd.name, err)
		}
	}
}

func drain(t *testing.T, nd *node) {
	t.Helper()
	if err := os.Remove(filepath.Join(nd.dir, "balloon")); err != nil {
		t.Fatal(err)
	}
}

// spaceStatus is the part of the status that tells about disks.
type spaceStatus struct {
	Nodes []struct {
		Name    string `json:"name"`
		Leaders int    `json:"leaders"`
		Space   struct {
			Level string `json:"level"`
		} `json:"space"`
	} `json:"nodes"`
	Shards []struct {
		Replicas []struct {
			NodeName string `json:"node_name"`
			State    string `json:"state"`
			Error    string `json:"error"`
		} `json:"replicas"`
	} `json:"shards"`
}

func (s *servers) spaceStatus() (st spaceStatus) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.spex("cluster", "status", "-o", "json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// until polls other processes.
func until(t *testing.T, what string, patience time.Duration, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); wait(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// diskLoad starts instances one after the other and counts.
type diskLoad struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	acked   []string
	refused int
	odd     []error
	worst   time.Duration
}

func startDiskLoad(cl *client.Client, spec string) *diskLoad {
	ctx, cancel := context.WithCancel(context.Background())
	l := &diskLoad{stop: cancel}
	for w := range 4 {
		l.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("%s-%d-%d", spec, w, n)
				begin := time.Now()
				_, err := cl.Init(ctx, spec, id)
				took := time.Since(begin)
				if ctx.Err() != nil {
					return
				}
				l.mu.Lock()
				l.worst = max(l.worst, took)
				switch {
				case err == nil:
					l.acked = append(l.acked, id)
				case errors.Is(err, client.ErrDiskSpace):
					l.refused++
				default:
					l.odd = append(l.odd, err)
				}
				l.mu.Unlock()
				wait(2 * time.Millisecond)
			}
		})
	}
	return l
}

func (l *diskLoad) counts() (acked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.refused
}

// end stops the load and checks that nothing failed for another reason than
// room, and that everything acknowledged is there.
func (l *diskLoad) end(t *testing.T, cl *client.Client) {
	t.Helper()
	l.stop()
	l.done.Wait()
	if len(l.odd) > 0 {
		t.Fatalf("%d calls failed otherwise, the first: %v", len(l.odd), l.odd[0])
	}
	for _, id := range l.acked {
		if _, err := cl.Get(context.Background(), id); err != nil {
			t.Fatalf("acknowledged and gone: %s: %v", id, err)
		}
	}
	t.Logf("%d writes acknowledged and found, %d refused, the slowest answer took %v", len(l.acked), l.refused, l.worst)
}

// TestFullDisks fills the disks of real nodes, each a small tmpfs, under load:
// first one disk to below each limit and to the last byte with a restart, then most of them.
func TestFullDisks(t *testing.T) {
	for round := range roundsOr(t, 1) {
		t.Run(fmt.Sprintf("round=%d", round), fullDisks)
	}
}

func fullDisks(t *testing.T) {
	s := newServers(t, 3, "--shards", "4", "--space-low", "15", "--space-stop", "5")
	for _, nd := range s.nodes {
		smallDisk(t, nd)
	}
	t.Cleanup(func() {
		for _, nd := range s.nodes {
			if nd.running() {
				_ = nd.cmd.Process.Kill()
				<-nd.done
			}
			_ = syscall.Unmount(nd.dir, 0)
		}
	})
	for _, nd := range s.nodes {
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, 60*time.Second)
	}
	cl := s.dial()
	apply := func(name string) {
		if _, err := cl.ApplySpecification(context.Background(), &typesv1.Specification{Name: name, InitialState: "left",
			Transitions: []*typesv1.Transition{{From: "left", Action: "ping", To: "right"}}}); err != nil {
			t.Fatal(err)
		}
	}
	applyText(t, s, chaosSpec)
	probe := s.startProbes("probe", 4)
	apply("one")
	load := startDiskLoad(cl, "one")
	full := s.busiest()
	level := func(nd *node, want string) func() bool {
		return func() bool {
			for _, n := range s.spaceStatus().Nodes {
				if n.Name == nd.name {
					return n.Space.Level == want && (want == "ok" || n.Leaders == 0)
				}
			}
			return false
		}
	}
	// stopped counts the node's replicas that are stopped for want of room.
	stopped := func(nd *node) (n int) {
		for _, sh := range s.spaceStatus().Shards {
			for _, r := range sh.Replicas {
				if r.NodeName == nd.name && r.State == "refused" && strings.Contains(r.Error, "until there is room") {
					n++
				}
			}
		}
		return n
	}
	until(t, "writes", 20*time.Second, func() bool { n, _ := load.counts(); return n > 200 })
	begin := time.Now()
	fill(t, full, 10)
	until(t, "a node that is low and leads nothing", 30*time.Second, level(full, "low"))
	probe.over(t, fault{name: "low-disk", what: "the node that leads most shards has less than 15 % of its disk free, until it leads nothing"}, begin)
	begin = time.Now()
	fill(t, full, 3)
	until(t, "stopped shards", 30*time.Second, func() bool { return stopped(full) == 4 })
	drain(t, full)
	until(t, "running shards", 30*time.Second, func() bool { return level(full, "ok")() && stopped(full) == 0 })
	probe.over(t, fault{name: "full-disk", what: "a node has less than 5 % free and stops its shards, until there is room and they run again"}, begin)

	// To the last byte, and a power failure: the node waits, and harms nothing.
	begin = time.Now()
	s.kill(full)
	fill(t, full, 0)
	s.start(full)
	before, _ := load.counts()
	until(t, "writes without the node", 30*time.Second, func() bool { n, _ := load.counts(); return n > before+200 })
	select {
	case line := <-full.ready:
		t.Fatalf("a node without room says %q", line)
	case <-full.done:
		t.Fatalf("a node without room ends: %v", full.err)
	default:
	}
	drain(t, full)
	s.awaitReady(full, 60*time.Second)
	probe.over(t, fault{name: "full-disk-start", what: "SIGKILL of a node, whose disk has not a byte free when it is started again"}, begin)
	if _, refused := load.counts(); refused != 0 {
		t.Fatalf("%d writes were refused although most nodes had room", refused)
	}
	load.end(t, cl)

	apply("most")
	load = startDiskLoad(cl, "most")
	until(t, "writes", 20*time.Second, func() bool { n, _ := load.counts(); return n > 200 })
	begin = time.Now()
	fill(t, s.nodes[0], 10)
	fill(t, s.nodes[1], 10)
	quiet := 0
	until(t, "every write to be refused", 30*time.Second, func() bool {
		acked, refused := load.counts()
		wait(300 * time.Millisecond)
		nowAcked, nowRefused := load.counts()
		if quiet++; nowAcked != acked || nowRefused == refused {
			quiet = 0
		}
		return quiet >= 3
	})
	if _, err := cl.Get(context.Background(), "one-0-0"); err != nil {
		t.Fatalf("a read: %v", err)
	}
	drain(t, s.nodes[0])
	drain(t, s.nodes[1])
	probe.over(t, fault{name: "full-disk-most", what: "two disks of three have less than 15 % free, until there is room: writes are refused with `DISK_SPACE`", quorumless: true}, begin)
	before, _ = load.counts()
	until(t, "writes to go on", 30*time.Second, func() bool { n, _ := load.counts(); return n > before+200 })
	load.end(t, cl)
	probe.end()
	s.awaitAgreement(60 * time.Second)
	probe.check(t.Context(), t)
}
