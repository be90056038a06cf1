//go:build e2e && linux

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
)

// outage is what a fault cost. Its form is that of the record.
type outage struct {
	Seed  uint64 `json:"seed"`
	Nodes int    `json:"nodes"`
	Fault string `json:"fault"`
	// Hold is how long the fault lasted, in milliseconds.
	Hold int64 `json:"hold_ms"`
	// Gap is the longest time in which a shard acknowledged no write, the worst of all shards.
	Gap int64 `json:"gap_ms"`
	// Healed is how long after the end of the fault every shard had acknowledged a
	// write; after its beginning if it is Frozen.
	Healed int64 `json:"healed_ms"`
	// Frozen is set when the fault was still there.
	Frozen bool `json:"frozen,omitempty"`
}

// record takes down what a fault cost.
func (r *round) record(s strike, from time.Time, lasted, healed time.Duration, frozen bool) {
	r.a.t.Helper()
	gap, shard := r.probe.longestGap(from, from.Add(lasted+healed))
	r.note("%s lasted %s: shard %d acknowledged nothing for %s; %s until all did", s.fault.name, lasted.Round(time.Millisecond), shard,
		gap.Round(time.Millisecond), healed.Round(time.Millisecond))
	if *chaosRecord == "" {
		return
	}
	line, err := json.Marshal(outage{
		Seed: r.seed, Nodes: len(r.a.nodes), Fault: s.fault.name, Hold: lasted.Milliseconds(), Gap: gap.Milliseconds(), Healed: healed.Milliseconds(), Frozen: frozen,
	})
	if err != nil {
		r.a.t.Fatal(err)
	}
	f, err := os.OpenFile(*chaosRecord, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.a.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		r.a.t.Fatal(err)
	}
}

// tabulate logs the table of docs/failure-modes.md, made of a record.
func tabulate(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gaps, healed := map[string][]int64{}, map[string][]int64{}
	seeds := map[uint64]bool{}
	for n, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var o outage
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%s, line %d: %v", file, n+1, err)
		}
		seeds[o.Seed] = true
		gaps[o.Fault] = append(gaps[o.Fault], o.Gap)
		if !o.Frozen {
			healed[o.Fault] = append(healed[o.Fault], o.Healed)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds\n\n| fault | rounds | without a write: median | worst | after its end: median | worst |\n|---|---|---|---|---|---|\n", len(seeds))
	for _, name := range inOrder(gaps) {
		what := "`" + name + "`"
		if f, known := faultNamed(name); known {
			what += ": " + f.what
			if f.quorumless {
				what += " (nobody can write while it lasts)"
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", what, len(gaps[name]), middleAndWorst(gaps[name]), middleAndWorst(healed[name]))
	}
	t.Log("\n" + b.String())
}

// inOrder has the names of a record: those of the list of faults in its order,
// then those of other tests.
func inOrder(gaps map[string][]int64) []string {
	place := func(name string) int {
		if i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name }); i >= 0 {
			return i
		}
		return len(faults)
	}
	return slices.SortedFunc(maps.Keys(gaps), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
}

// middleAndWorst is two cells of the table.
func middleAndWorst(ms []int64) string {
	if len(ms) == 0 {
		return "- | -"
	}
	var list []time.Duration
	for _, n := range ms {
		list = append(list, time.Duration(n)*time.Millisecond)
	}
	return fmt.Sprintf("%.2f s | %.2f s", drill.Quantile(list, 0.5).Seconds(), drill.Quantile(list, 1).Seconds())
}
