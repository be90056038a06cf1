package main

import (
	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
	"github.com/spexio/spex/lts/hml"
)

// reportJSON is how two systems compare.
type reportJSON struct {
	Left        string        `json:"left"`
	Right       string        `json:"right"`
	Equivalence string        `json:"equivalence"`
	Holds       *bool         `json:"holds"`
	Grade       *string       `json:"grade"`
	Summary     string        `json:"summary"`
	Strongest   *string       `json:"strongest"`
	Ladder      []rungJSON    `json:"ladder"`
	Extra       *traceJSON    `json:"extra_trace"`
	Missing     *traceJSON    `json:"missing_trace"`
	Formula     *formulaJSON  `json:"formula"`
	Coverage    *coverageJSON `json:"coverage"`
	LeftOut     *string       `json:"left_out"`

	// missing is the sentence about Missing, for people.
	missing string
}

// rungJSON is one equivalence; null is "not known within the limits" or "has no halves".
type rungJSON struct {
	Equivalence string `json:"equivalence"`
	Holds       *bool  `json:"holds"`
	LeftInRight *bool  `json:"left_in_right"`
	RightInLeft *bool  `json:"right_in_left"`
}

// traceJSON is a run of one system that the other cannot follow to its end.
type traceJSON struct {
	Actions []string      `json:"actions"`
	Start   string        `json:"start"`
	Run     []runStepJSON `json:"run"`
	Instead []string      `json:"instead"`
}

type runStepJSON struct {
	Action   string `json:"action"`
	Internal bool   `json:"internal"`
	State    string `json:"state"`
}

// formulaJSON is a formula that is true of the left system and false of the right one.
type formulaJSON struct {
	Depth    int          `json:"depth"`
	Words    []string     `json:"words"`
	HML      string       `json:"hml"`
	MCF      string       `json:"mcf"`
	Document hml.Document `json:"document"`
}

// coverageJSON tells what of the left system the right one has shown.
type coverageJSON struct {
	Shown   int              `json:"shown"`
	Total   int              `json:"total"`
	Missing []transitionJSON `json:"missing"`
}

// answerJSON is true, false or null.
func answerJSON(a lts.Answer) *bool {
	yes := a == lts.Yes
	if a == lts.Unknown {
		return nil
	}
	return &yes
}

// optional is null for the empty string.
func optional[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	v := string(s)
	return &v
}

// reportDocument turns a report into its JSON form.
func reportDocument(left, right string, r *explain.Report, o explain.Options) *reportJSON {
	out := &reportJSON{
		Left: left, Right: right, Equivalence: r.Equivalence.String(), Holds: answerJSON(r.Holds), Grade: optional(r.Grade),
		Summary: r.Summary, Ladder: []rungJSON{}, Extra: traceDocument(r.Extra), Missing: traceDocument(r.Missing), LeftOut: optional(r.LeftOut),
	}
	if r.Missing != nil {
		out.missing = r.Missing.Forbidden(o.Left, o.Right)
	}
	if r.AnyHolds {
		out.Strongest = optional(r.Strongest.String())
	}
	for _, rung := range r.Ladder {
		out.Ladder = append(out.Ladder, rungJSON{
			Equivalence: rung.Equivalence.String(), Holds: answerJSON(rung.Holds),
			LeftInRight: answerJSON(rung.LeftInRight), RightInLeft: answerJSON(rung.RightInLeft),
		})
	}
	if f := r.Formula; f != nil {
		out.Formula = &formulaJSON{Depth: f.Depth(), Words: f.Words, HML: f.Text(f.Names), MCF: f.MCF(f.Names), Document: f.Document(f.Names)}
	}
	if c := r.Coverage; c != nil {
		out.Coverage = &coverageJSON{Shown: c.Shown, Total: c.Total, Missing: []transitionJSON{}}
		for _, t := range c.Missing {
			out.Coverage.Missing = append(out.Coverage.Missing, transitionJSON(t))
		}
	}
	return out
}

func traceDocument(t *explain.Trace) *traceJSON {
	if t == nil {
		return nil
	}
	out := &traceJSON{Actions: t.Actions, Start: t.Start, Run: []runStepJSON{}, Instead: append([]string{}, t.Instead...)}
	for _, s := range t.Run {
		out.Run = append(out.Run, runStepJSON{Action: s.Action, Internal: s.Internal, State: s.State})
	}
	return out
}
