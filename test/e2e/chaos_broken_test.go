//go:build e2e && linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/internal/broken"
)

// oneWriter is the finding of the one writer of a shard that is told of a sequence
// number from the past. It ends a round before package drill has looked.
const oneWriter = "SEQUENCE_MISMATCH"

// chaosBreaks are the builds that break a promise, the fault under which that
// shows, and the findings any of which shows it.
var chaosBreaks = []struct {
	what  broken.Break
	fault string
	seen  []string
}{
	{broken.AckBeforeCommit, "kill-leader", []string{drill.CheckLost, drill.CheckLinearizable, oneWriter}},
	{broken.DedupeOff, "kill-one", []string{drill.CheckTwice, drill.CheckRetry}},
	{broken.ReadsUnconfirmed, "pause-leader", []string{drill.CheckStale, drill.CheckLinearizable}},
	{broken.TailLost, "kill-all", []string{drill.CheckLost, drill.CheckLinearizable, oneWriter}},
	{broken.VerdictTwice, "kill-one", []string{drill.CheckVerdictChanged}},
	{broken.MinIndexIgnored, "pause-leader", []string{drill.CheckBack, drill.CheckIndex}},
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

// TestChaosSeesBrokenBuilds: under every seed TestChaos fails for every build that
// breaks a promise on purpose, and names the promise; the same build with nothing
// broken passes under the same faults. -chaos.seed is the first seed, -chaos.seeds
// how many there are.
func TestChaosSeesBrokenBuilds(t *testing.T) {
	long(t)
	if *chaosSeeds < 1 {
		t.Fatalf("-chaos.seeds=%d runs nothing", *chaosSeeds)
	}
	path, err := brokenBinary()
	if err != nil {
		t.Fatal(err)
	}
	seen := &sightings{rounds: map[string]map[string]int{}}
	t.Cleanup(func() { t.Log("\n" + seen.table(*chaosSeeds)) })
	controls := map[string]bool{}
	for i := range *chaosSeeds {
		seed := *chaosSeed + uint64(i)
		for _, b := range chaosBreaks {
			t.Run(fmt.Sprintf("%s/seed=%d", b.what, seed), func(t *testing.T) {
				t.Parallel()
				out, err := chaosOf(path, b.what, b.fault, seed)
				found := findings(out)
				seen.add(string(b.what), found)
				t.Logf("%s under %s: %v", b.what, b.fault, found)
				if err == nil || !slices.ContainsFunc(found, func(f string) bool { return slices.Contains(b.seen, f) }) {
					t.Errorf("%v, want it to fail with one of %v:\n%s", err, b.seen, out)
				}
			})
			control := fmt.Sprintf("nothing/%s/seed=%d", b.fault, seed)
			if controls[control] {
				continue
			}
			controls[control] = true
			t.Run(control, func(t *testing.T) {
				t.Parallel()
				if out, err := chaosOf(path, "", b.fault, seed); err != nil || len(findings(out)) > 0 {
					t.Errorf("nothing is broken, and TestChaos says %v, %v:\n%s", err, findings(out), out)
				}
			})
		}
	}
}

// chaosOf runs one seed of TestChaos with the build that can be broken.
func chaosOf(path string, what broken.Break, fault string, seed uint64) (string, error) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChaos$", "-test.v", "-chaos.seeds=1",
		fmt.Sprintf("-chaos.seed=%d", seed), "-chaos.fault="+fault)
	cmd.Env = append(os.Environ(), envBinary+"="+path, broken.Env+"="+string(what))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	// verdictLine is how drill.Verdict.Err begins, refusedProbe the error of a probe.
	verdictLine  = regexp.MustCompile(`drill: \d+ violations \(([a-z, -]+)\)`)
	refusedProbe = regexp.MustCompile(`probe-\d+ in shard \d+, seq \d+: spex: ` + oneWriter)
)

// findings are what the output of TestChaos says is broken.
func findings(out string) []string {
	var names []string
	for _, m := range verdictLine.FindAllStringSubmatch(out, -1) {
		names = append(names, strings.Split(m[1], ", ")...)
	}
	if refusedProbe.MatchString(out) {
		names = append(names, oneWriter)
	}
	return names
}

// TestFindings: what counts is what package drill names, and not any other line.
func TestFindings(t *testing.T) {
	v := &drill.Verdict{Violations: []drill.Violation{{Check: drill.CheckUndecided, Detail: "linearizable?"}, {Check: drill.CheckLost}}}
	for out, want := range map[string][]string{
		"12 histories linearized, not linearizable: SEQUENCE_MISMATCH":    nil,
		fmt.Sprintf("    chaos_load_test.go:97: %v\n", v.Err()):           {drill.CheckLost, drill.CheckUndecided},
		"probe-3 in shard 1, seq 17: spex: SEQUENCE_MISMATCH: it is at 9": {oneWriter},
	} {
		if got := findings(out); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", out, got, want)
		}
	}
}

// sightings counts the rounds in which a finding saw a break.
type sightings struct {
	mu     sync.Mutex // guards rounds
	rounds map[string]map[string]int
}

func (s *sightings) add(what string, found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rounds[what] == nil {
		s.rounds[what] = map[string]int{}
	}
	for _, name := range found {
		s.rounds[what][name]++
	}
}

// table is that of docs/failure-modes.md.
func (s *sightings) table(seeds int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "| break | fault | seen, in so many of %d seeds |\n|---|---|---|\n", seeds)
	for _, c := range chaosBreaks {
		var cells []string
		for _, name := range slices.Sorted(maps.Keys(s.rounds[string(c.what)])) {
			cells = append(cells, fmt.Sprintf("`%s` %d", name, s.rounds[string(c.what)][name]))
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", c.what, c.fault, strings.Join(cells, ", "))
	}
	return b.String()
}
