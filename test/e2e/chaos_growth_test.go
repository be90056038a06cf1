//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCyclesLeaveNothingBehind cuts nodes off and back a hundred times. The files
// and connections that a process has open, its threads, its memory and what it has on
// disk must not grow with that (I12).
func TestCyclesLeaveNothingBehind(t *testing.T) {
	long(t)
	if !inNetwork(t) {
		return
	}
	rng := rand.New(rand.NewPCG(*chaosSeed, 3))
	a := newArena(t, 3, "--shards", "3")
	applyText(t, a.servers, chaosSpec)
	p := startProbes(a, "probe", 3)
	cycle := func() {
		nd := a.nodes[rng.IntN(len(a.nodes))]
		a.cut(between(a.at(nd), a.at(a.without(nd)...), "")...)
		wait(time.Duration(100+rng.IntN(1200)) * time.Millisecond)
		a.cut()
		wait(time.Duration(50+rng.IntN(300)) * time.Millisecond)
	}
	measure := func() map[*node]usage {
		p.await(t, time.Now(), recovery, "nothing is cut")
		// Connections that broke are given up after their keepalive.
		wait(20 * time.Second)
		all := map[*node]usage{}
		for _, nd := range a.nodes {
			u, err := usageOf(nd.cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if u.disk, err = sizeOf(nd.dir); err != nil {
				t.Fatal(err)
			}
			all[nd] = u
			t.Logf("%s: %+v", nd.name, u)
		}
		return all
	}
	// What a process needs once it has by now.
	for range 20 {
		cycle()
	}
	before := measure()
	for range 100 {
		cycle()
	}
	after := measure()
	a.checkAlive()
	for nd, was := range before {
		is := after[nd]
		if is.files > was.files+10 || is.threads > was.threads+10 || is.resident > was.resident*3/2+32<<20 || is.disk > was.disk+maxDiskGrowth {
			t.Errorf("%s grew over 100 cycles: it had %+v and has %+v", nd.name, was, is)
		}
	}
	p.end()
	a.awaitAgreement(recovery)
	p.check(t.Context(), t)
}

// maxDiskGrowth is how much more a node may have on disk: what the probes write
// meanwhile is less than the log after which a snapshot is due.
const maxDiskGrowth = 8 << 20

// usage is what a process uses.
type usage struct {
	files, threads int
	resident, disk int64 // bytes
}

// sizeOf is what the files of a directory hold. Files may go away meanwhile.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return size, err
}

func usageOf(pid int) (usage, error) {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return usage{}, err
	}
	u := usage{files: len(files)}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "Threads:":
			u.threads = n
		case "VmRSS:":
			u.resident = int64(n) << 10
		}
	}
	return u, nil
}
