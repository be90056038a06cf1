package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
)

// defaultModelDir is where the Elixir library keeps its models, so that its
// users need not name the directory.
const defaultModelDir = "spex_impl_models"

func newCheckCommand(a *app) *cobra.Command {
	var specDirs []string
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [PATH]",
		Short: "Check offline whether models are equivalent to their specifications",
		Long: `Check whether implementation models are branching bisimilar to their
specifications. No server is needed.

PATH is a .spex file or a directory of them, ./` + defaultModelDir + ` when it is not
given. --specs names the YAML files of the specifications, or directories of them.

The exit status is 0 when every model is equivalent, 1 when one is not, and 3 when
one could not be checked. For a model that is not equivalent the report says what kind of
difference there is (EXTRA_BEHAVIOUR: it does something that is forbidden; COVERAGE_GAP: nothing
wrong was seen, but not everything was shown; BRANCHING_MISMATCH: choices are made at different
points), a shortest run that shows it, and what was not shown. Models that are still learning and specifications without
a model are flagged; --strict makes each of them a "no".`,
		Example: "  spex check models/ --specs specs/",
		Args:    cobra.MaximumNArgs(1),
	}
	flags := reportFlagsOf(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(specDirs) == 0 {
			return usagef("--specs is missing: name the directory with the YAML files of the specifications")
		}
		path := defaultModelDir
		if len(args) == 1 {
			path = args[0]
		}
		specs, err := loadSpecs(specDirs)
		if err != nil {
			return err
		}
		out, err := checkModels(path, specs)
		if err != nil {
			return err
		}
		if err := a.writeReport(flags, out, func(w io.Writer, p painter, d drawing) { drawCheck(w, p, d, out) }); err != nil {
			return err
		}
		a.flagCheck(out)
		return checkOutcome(out, strict)
	}
	cmd.Flags().StringArrayVar(&specDirs, "specs", nil, "YAML `file` or directory of specifications, repeatable")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with status 1 also for learning models and for specifications without a model")
	return cmd
}

// flagCheck warns about what is not wrong but deserves a look.
func (a *app) flagCheck(out checkJSON) {
	for _, m := range out.Models {
		if m.Learning {
			a.warnf("%s is in learning mode: in production it would take every step for right; set 'Learning mode: false'", m.File)
		}
	}
	for _, name := range out.SpecsWithoutModel {
		a.warnf("the specification %s has no model", name)
	}
}

// checkOutcome gives the error that stands for the exit status.
func checkOutcome(out checkJSON, strict bool) error {
	switch {
	case out.Failed > 0:
		return fmt.Errorf("%s could not be checked", plural(out.Failed, "model"))
	case out.NotEquivalent > 0:
		return answerNo("%d of %s not equivalent", out.NotEquivalent, plural(len(out.Models), "model"))
	case strict && out.Learning > 0:
		return answerNo("%s in learning mode", plural(out.Learning, "model"))
	case strict && len(out.SpecsWithoutModel) > 0:
		return answerNo("%s without a model", plural(len(out.SpecsWithoutModel), "specification"))
	}
	return nil
}

func drawCheck(w io.Writer, p painter, d drawing, out checkJSON) {
	t := newTable("MODEL", "SPEC", "TRANSITIONS", "RESULT", "SHOWN", "FLAGS")
	for _, m := range out.Models {
		flags := cell{}
		if m.Learning {
			flags = cell{"learning", styleWarn}
		}
		result := cell{"equivalent", styleGood}
		switch {
		case m.Error != "":
			result = cell{"failed", styleBad}
		case !*m.Equivalent:
			result = cell{"not equivalent", styleBad}
		}
		t.row(m.File, m.Spec, m.Transitions, result, shownOf(m.Report), flags)
		if m.Error != "" {
			t.note(m.Error)
		} else if m.Report == nil {
			t.note(showWhy(m.Reason, m.Explanation))
		}
	}
	t.write(w, p)
	for _, m := range out.Models {
		if m.Report != nil && m.Equivalent != nil && !*m.Equivalent {
			drawDifference(w, p, d, m)
		}
	}
	fmt.Fprintf(w, "\n%s: %d equivalent, %d not equivalent, %d failed\n",
		plural(len(out.Models), "model"), out.Equivalent, out.NotEquivalent, out.Failed)
}

// shownOf tells how much of its specification a model has shown.
func shownOf(r *reportJSON) string {
	if r == nil || r.Coverage == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d", r.Coverage.Shown, r.Coverage.Total)
}

// drawDifference says how a model differs from its specification.
func drawDifference(w io.Writer, p painter, d drawing, m checkedModelJSON) {
	r := &reportWriter{w: w, p: p, d: d}
	if p.markdown {
		fmt.Fprintf(w, "\n### %s\n\n", m.File)
	} else {
		fmt.Fprintf(w, "\n%s\n", p.paint(styleHeader, m.File))
		r.d.indent = "  "
	}
	drawReasons(r, m.Report, checkNames)
	r.heading("Reason code, and the first step that has to do with it")
	r.item(showWhy(m.Reason, m.Explanation))
}

// sortedKeys lists the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
