package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a drill found out.
type Report struct {
	// Seed is that of the workload, Duration how long it made calls.
	Seed     uint64
	Started  time.Time
	Duration time.Duration
	// OK is set when nothing that was promised is broken.
	OK bool
	// Incomplete says why the drill has not tested what it was asked to, "" when it
	// has. NewReport takes it from the faults that could not be made; whoever knows
	// of another reason sets it.
	Incomplete string
	// Checks are the names of the checks that were made.
	Checks []string
	*Verdict
	// Latency is that of acknowledged writes.
	Latency        Latency
	Unavailability []Unavailability
	Outages        []Outage
}

// Latency is how long answers took.
type Latency struct {
	P50   time.Duration
	P99   time.Duration
	Worst time.Duration
}

// NewReport puts everything together.
func NewReport(h *History, v *Verdict, faults []Fault) *Report {
	r := &Report{Seed: h.Seed, Started: h.Start, Duration: h.Duration, OK: v.OK(), Checks: Checks(), Verdict: v}
	if v.Violations == nil {
		v.Violations = []Violation{}
	}
	var took []time.Duration
	for _, ops := range [][]Operation{h.Operations, h.Probes} {
		for i := range ops {
			if o := &ops[i]; o.Outcome == OK && o.Kind.writes() {
				took = append(took, o.Return-o.Call)
			}
		}
	}
	r.Latency = Latency{Quantile(took, 0.5), Quantile(took, 0.99), Quantile(took, 1)}
	r.Outages = Outages(h, faults)
	r.Unavailability = Unavailabilities(r.Outages)
	r.Incomplete = incomplete(faults)
	return r
}

// incomplete says which faults could not be made or undone.
func incomplete(faults []Fault) string {
	failed, last := 0, ""
	for _, f := range faults {
		if f.Error != "" {
			failed, last = failed+1, f.Error
		}
	}
	if failed == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d faults could not be made, the last of them: %s", failed, len(faults), last)
}

// maxListed is how many violations WriteText spells out.
const maxListed = 50

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	c := r.Counts
	fmt.Fprintf(&b, "drill of %s, seed %d\n", rounded(r.Duration), r.Seed)
	fmt.Fprintf(&b, "  %d operations on %d instances: %d writes acknowledged, %d calls refused, %d outcomes unknown (%d to the end), %d retries\n",
		c.Operations, c.Instances, c.Acknowledged, c.Refused, c.Unknown, c.Unresolved, c.Retries)
	fmt.Fprintf(&b, "  acknowledged after %s (median), %s (99 %%), %s (worst)\n", rounded(r.Latency.P50), rounded(r.Latency.P99), rounded(r.Latency.Worst))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Outages) > 0 {
		fmt.Fprint(t, "\nFAULT\tNODE\tAT\tFOR\tWHOLE AFTER\tLED\tNO WRITE TO A SHARD FOR\n")
	}
	for _, o := range r.Outages {
		f := o.Fault
		whole, note := "-", ""
		if f.Whole > 0 {
			whole = rounded(f.Whole - f.Begin).String()
		}
		if o.Open {
			note = " and to the end"
		}
		if f.Error != "" {
			note += "  FAILED: " + f.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s (shard %d; median of all %s)%s\n",
			f.Kind, f.Node, rounded(f.Begin), rounded(f.End-f.Begin), whole, f.Leaderships, rounded(o.Worst), o.Shard, rounded(o.Median), note)
	}
	if len(r.Unavailability) > 0 {
		fmt.Fprint(t, "\nUNAVAILABLE\tROUNDS\tMEDIAN\t90 %\t99 %\tWORST\n")
	}
	for _, u := range r.Unavailability {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", u.Kind, u.Rounds, rounded(u.Median), rounded(u.P90), rounded(u.P99), rounded(u.Worst))
	}
	_ = t.Flush() // into b
	b.WriteString("\n")
	if r.Incomplete != "" {
		fmt.Fprintf(&b, "THE DRILL WAS NOT HELD AS ASKED: %s.\n", r.Incomplete)
	}
	if r.OK {
		fmt.Fprintf(&b, "Every promise was kept: %d checks, %d instances linearized (the slowest in %s).\n", len(r.Checks), r.Linearized, rounded(r.Slowest))
	} else {
		fmt.Fprintf(&b, "PROMISES ARE BROKEN: %s, seen by %s.\n", violations(len(r.Violations)), strings.Join(r.Broken(), ", "))
	}
	for i, v := range r.Violations {
		if i == maxListed {
			fmt.Fprintf(&b, "  and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", v)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rounded keeps three digits or so.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond)
	default:
		return d.Round(10 * time.Microsecond)
	}
}

// Marks are the faults of the report for WriteHTML.
func (r *Report) Marks() []Marking {
	var list []Marking
	for _, o := range r.Outages {
		list = append(list, Marking{Label: string(o.Fault.Kind) + " " + o.Fault.Node, Begin: o.Fault.Begin, End: max(o.Fault.End, o.Fault.Begin)})
	}
	return list
}
