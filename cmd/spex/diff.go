package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
)

// equivalenceValue is a flag for an equivalence.
type equivalenceValue lts.Equivalence

// String implements pflag.Value.
func (v *equivalenceValue) String() string { return lts.Equivalence(*v).String() }

// Set implements pflag.Value.
func (v *equivalenceValue) Set(s string) error {
	e, err := lts.ParseEquivalence(s)
	*v = equivalenceValue(e)
	return err
}

// Type implements pflag.Value.
func (v *equivalenceValue) Type() string { return "equivalence" }

// choiceValue is a flag that takes one of a few words.
type choiceValue struct {
	value   string
	choices []string
}

// String implements pflag.Value.
func (v *choiceValue) String() string { return v.value }

// Set implements pflag.Value.
func (v *choiceValue) Set(s string) error {
	for _, c := range v.choices {
		if strings.EqualFold(c, s) {
			v.value = c
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(v.choices, ", "))
}

// Type implements pflag.Value.
func (v *choiceValue) Type() string { return strings.Join(v.choices, "|") }

const (
	explainAuto = "auto"
	explainNone = "none"
	explainFull = "full"
)

// reportFlags are the flags of commands that show an explain.Report.
type reportFlags struct {
	format  choiceValue
	formula choiceValue
}

// reportFormat is the form of a report: that of --format, or else of --output.
func (f *reportFlags) reportFormat(a *app) string {
	if f.format.value == "" && a.opts.output == outputJSON {
		return formatJSON
	}
	if f.format.value == "" {
		return formatText
	}
	return f.format.value
}

const (
	formatText     = "text"
	formatJSON     = "json"
	formatMarkdown = "markdown"
)

// reportFlagsOf adds the flags to a command.
func reportFlagsOf(cmd *cobra.Command) *reportFlags {
	f := &reportFlags{
		format:  choiceValue{choices: []string{formatText, formatJSON, formatMarkdown}},
		formula: choiceValue{value: "none", choices: []string{"none", "hml", "mcf"}},
	}
	cmd.Flags().Var(&f.format, "format", "form of the report (default text, or json with -o json)")
	cmd.Flags().Var(&f.formula, "formula", "also print the distinguishing formula: hml for Hennessy-Milner logic, mcf for the mCRL2 toolset; JSON always has both")
	return f
}

func newDiffCommand(a *app) *cobra.Command {
	e := equivalenceValue(lts.Branching)
	how := choiceValue{value: explainAuto, choices: []string{explainAuto, explainNone, explainFull}}
	var systems systemOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two transition systems and say how they differ",
		Long: `Compare two transition systems. A and B are files of any kind: ` + systemFormats + `
(a specification). No server is needed.

Equivalences, strongest first: ` + equivalenceList() + `.
mCRL2's names (bisim, branching-bisim, dpbranching-bisim, weak-bisim) are understood too.

For systems that differ the report has a grade, the strongest equivalence that does hold,
a shortest trace that only one of them has, a formula that tells them apart in words, and the
transitions of A that B does not show. --explain none leaves all of that out; auto does so
for very large systems.

The exit status is 0 when the systems are equivalent, 1 when they are not, 2 for a wrong
command line, and 3 when a file cannot be read or the answer is not found within the limits.`,
		Example: "  spex diff order.yaml order.spex\n  spex diff -e weak old.aut new.aut --formula mcf",
		Args:    exactArgs("A", "B"),
	}
	flags := reportFlagsOf(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		left, right, err := loadPair(args[0], args[1], systems)
		if err != nil {
			return err
		}
		o := explain.Options{Equivalence: lts.Equivalence(e), Internal: left.internal, VerdictOnly: how.value == explainNone}
		o.Left, o.Right = callFiles(args[0], args[1])
		if how.value == explainFull {
			o.MaxExplained = -1
		}
		r, err := compareFiles(left, right, o)
		if err != nil {
			return err
		}
		doc := reportDocument(args[0], args[1], r, o)
		err = a.writeReport(flags, doc, func(w io.Writer, p painter, d drawing) { drawReport(w, p, d, doc, o) })
		if err != nil {
			return err
		}
		switch r.Holds {
		case lts.Yes:
			return nil
		case lts.No:
			return answerNo("%s and %s are not equivalent (%s)", args[0], args[1], o.Equivalence)
		}
		return fmt.Errorf("%s and %s: no answer within the limits", args[0], args[1])
	}
	cmd.Flags().VarP(&e, "equivalence", "e", "what to compare by")
	cmd.Flags().Var(&how, "explain", "how much to explain")
	systemFlags(cmd, &systems)
	return cmd
}

// compareFiles compares two systems, large ones on two processors.
func compareFiles(left, right *systemFile, o explain.Options) (*explain.Report, error) {
	size := left.LTS.Transitions() + right.LTS.Transitions()
	if size <= explain.DefaultMaxExplained || o.MaxExplained < 0 || o.Equivalence > lts.Branching {
		return explain.Compare(left.System, right.System, o)
	}
	holds := lts.No
	if sameLarge(left, right, o.Equivalence) {
		holds = lts.Yes
	}
	return explain.Unexplained(holds, size, o), nil
}

func systemFlags(cmd *cobra.Command, o *systemOptions) {
	cmd.Flags().StringArrayVar(&o.tau, "tau", nil, "`name` of the internal action in .aut, .dot, .mmd and .json files, repeatable (default i and tau)")
	cmd.Flags().BoolVar(&o.visible, "no-tau", false, "take all actions of such files for visible ones")
	cmd.MarkFlagsMutuallyExclusive("tau", "no-tau")
}

func equivalenceList() string {
	var names []string
	for _, e := range lts.Equivalences() {
		names = append(names, e.String())
	}
	return strings.Join(names, ", ")
}

// callFiles gives two files short names for sentences.
func callFiles(a, b string) (left, right string) {
	left, right = filepath.Base(a), filepath.Base(b)
	if left == right {
		return a, b
	}
	return left, right
}
