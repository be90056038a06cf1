//go:build e2e && linux

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
)

// outage is what a fault cost. Its form is that of the record.
type outage struct {
	// Seed is that of the round, 0 for a test that draws nothing from one.
	Seed  uint64 `json:"seed"`
	Nodes int    `json:"nodes"`
	Fault string `json:"fault"`
	// What is what the table says of the fault.
	What string `json:"what,omitempty"`
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

// record takes down what a fault of a round cost.
func (r *round) record(s strike, from time.Time, lasted, healed time.Duration, frozen bool) {
	r.a.t.Helper()
	r.probe.record(r.a.t, outage{Seed: r.seed, Nodes: len(r.a.nodes), Fault: s.fault.name, What: s.fault.row(), Frozen: frozen}, from, lasted, healed)
}

// over is for faults that no round injects: one that began at a moment has just
// ended. It waits until every shard has acknowledged a write since, and takes
// down what the fault cost.
func (p *probes) over(t *testing.T, f fault, from time.Time) {
	t.Helper()
	end := time.Now()
	healed := p.await(t, end, recovery, f.name+" is over")
	p.record(t, outage{Nodes: p.nodes, Fault: f.name, What: f.row()}, from, end.Sub(from), healed)
}

// record completes an outage with what the probes saw, logs it, and adds it to the
// file of -chaos.record if there is one.
func (p *probes) record(t *testing.T, o outage, from time.Time, lasted, healed time.Duration) {
	t.Helper()
	gap, shard := p.longestGap(from, from.Add(lasted+healed))
	t.Logf("%s lasted %s: shard %d acknowledged nothing for %s; %s until all did", o.Fault, lasted.Round(time.Millisecond), shard,
		gap.Round(time.Millisecond), healed.Round(time.Millisecond))
	if *chaosRecord == "" {
		return
	}
	o.Hold, o.Gap, o.Healed = lasted.Milliseconds(), gap.Milliseconds(), healed.Milliseconds()
	line, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(*chaosRecord, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// row is what the table says about a fault.
func (f *fault) row() string {
	if f.quorumless {
		return f.what + " (nobody can write while it lasts)"
	}
	return f.what
}

// TestTheTableOfARecord holds the table against a made-up record, and logs that of
// -chaos.record if there is one.
func TestTheTableOfARecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record")
	lines := `{"seed":7,"fault":"other","what":"made up","gap_ms":400,"healed_ms":30}
{"seed":0,"fault":"other","what":"made up","gap_ms":2000,"healed_ms":10,"frozen":true}
{"seed":8,"fault":"other","what":"made up","gap_ms":500,"healed_ms":50}
{"seed":7,"fault":"kill-all","gap_ms":1230,"healed_ms":60}
`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "2 seeds\n\n" + tableHead +
		"| `kill-all`: SIGKILL of all nodes at once (nobody can write while it lasts) | 1 | 1.23 s | 1.23 s | 0.06 s | 0.06 s |\n" +
		"| `other`: made up | 3 | 0.50 s | 2.00 s | 0.03 s | 0.05 s |\n"
	if got := table(t, file); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if *chaosRecord != "" {
		t.Log("\n" + table(t, *chaosRecord))
	}
}

const tableHead = "| fault | rounds | without a write: median | worst | after its end: median | worst |\n|---|---|---|---|---|---|\n"

// table is the one of docs/failure-modes.md, made of a record.
func table(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gaps, healed, what := map[string][]int64{}, map[string][]int64{}, map[string]string{}
	for _, f := range faults {
		what[f.name] = f.row()
	}
	seeds := map[uint64]bool{}
	for n, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var o outage
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%s, line %d: %v", file, n+1, err)
		}
		if o.Seed != 0 {
			seeds[o.Seed] = true
		}
		what[o.Fault] = cmp.Or(o.What, what[o.Fault])
		gaps[o.Fault] = append(gaps[o.Fault], o.Gap)
		if !o.Frozen {
			healed[o.Fault] = append(healed[o.Fault], o.Healed)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds\n\n%s", len(seeds), tableHead)
	for _, name := range inOrder(gaps) {
		fmt.Fprintf(&b, "| `%s`: %s | %d | %s | %s |\n", name, what[name], len(gaps[name]), middleAndWorst(gaps[name]), middleAndWorst(healed[name]))
	}
	return b.String()
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
