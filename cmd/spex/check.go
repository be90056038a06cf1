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
one could not be checked. Models that are still learning and specifications without
a model are flagged; --strict makes each of them a "no".`,
		Example: "  spex check models/ --specs specs/",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
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
			if err := a.emit(out, func(w io.Writer, p painter) { drawCheck(w, p, out) }); err != nil {
				return err
			}
			a.flagCheck(out)
			return checkOutcome(out, strict)
		},
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

func drawCheck(w io.Writer, p painter, out checkJSON) {
	t := newTable("MODEL", "SPEC", "TRANSITIONS", "RESULT", "FLAGS")
	for _, m := range out.Models {
		flags := cell{}
		if m.Learning {
			flags = cell{"learning", styleWarn}
		}
		switch {
		case m.Error != "":
			t.row(m.File, m.Spec, m.Transitions, cell{"failed", styleBad}, flags)
			t.note(m.Error)
		case *m.Equivalent:
			t.row(m.File, m.Spec, m.Transitions, cell{"equivalent", styleGood}, flags)
		default:
			t.row(m.File, m.Spec, m.Transitions, cell{"not equivalent", styleBad}, flags)
			if why := showWhy(m.Reason, m.Explanation); why != "" {
				t.note(why)
			}
		}
	}
	t.write(w, p)
	fmt.Fprintf(w, "\n%s: %d equivalent, %d not equivalent, %d failed\n",
		plural(len(out.Models), "model"), out.Equivalent, out.NotEquivalent, out.Failed)
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
