//go:build e2e && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCyclesLeaveNothingBehind cuts nodes off and back a hundred times. The files
// and connections that a process has open, its threads and its memory must not
// grow with that (I12).
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
		if is.files > was.files+10 || is.threads > was.threads+10 || is.resident > was.resident*3/2+32<<20 {
			t.Errorf("%s grew over 100 cycles: it had %+v and has %+v", nd.name, was, is)
		}
	}
	p.end()
	a.awaitAgreement(recovery)
	p.check(t.Context(), t)
}

// usage is what a process uses.
type usage struct {
	files, threads int
	resident       int64 // bytes
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
