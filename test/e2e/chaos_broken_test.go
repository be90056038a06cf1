//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spexio/spex/internal/broken"
)

// chaosBreaks are the builds that break a promise, the fault under which that
// shows, and how TestChaos tells of it. A SEQUENCE_MISMATCH is seen by the probe of
// a shard, which ends the round before package drill has looked.
var chaosBreaks = []struct {
	what  broken.Break
	fault string
	seen  string
}{
	{broken.AckBeforeCommit, "kill-leader", `acknowledged-lost|linearizable|SEQUENCE_MISMATCH`},
	{broken.DedupeOff, "kill-one", `applied-twice|retry-other-answer`},
	{broken.ReadsUnconfirmed, "pause-leader", `stale-read|linearizable`},
	{broken.TailLost, "kill-all", `acknowledged-lost|linearizable|SEQUENCE_MISMATCH`},
	{broken.VerdictTwice, "kill-one", `verdict-changed`},
}

// TestChaosFaultIsKnown: a fault that does not exist is no reason to inject others.
func TestChaosFaultIsKnown(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChaos$", "-chaos.seeds=1", "-chaos.fault=kill-leadr")
	cmd.Env = append(os.Environ(), envBinary+"="+binary)
	out, err := cmd.CombinedOutput()
	if want := `no fault "kill-leadr": use one of ` + strings.Join(faultNames(), ", "); err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, want %q:\n%s", err, want, out)
	}
}

// TestChaosSeesBrokenBuilds: TestChaos fails for every build that breaks a promise
// on purpose, and names the promise. -chaos.seed is the seed.
func TestChaosSeesBrokenBuilds(t *testing.T) {
	long(t)
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range chaosBreaks {
		t.Run(string(b.what), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestChaos$", "-test.v", "-chaos.seeds=1",
				fmt.Sprintf("-chaos.seed=%d", *chaosSeed), "-chaos.fault="+b.fault)
			cmd.Env = append(os.Environ(), envBinary+"="+path, broken.Env+"="+string(b.what))
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("nobody saw that the build breaks %s:\n%s", b.what, out)
			}
			found := regexp.MustCompile(b.seen).FindAllString(string(out), -1)
			if len(found) == 0 {
				t.Fatalf("TestChaos failed, but not with %s:\n%s", b.seen, out)
			}
			counts := map[string]int{}
			for _, word := range found {
				counts[word]++
			}
			t.Logf("%s under %s: %v", b.what, b.fault, counts)
		})
	}
}
