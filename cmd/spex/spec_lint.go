package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/spec"
)

func newSpecLintCommand(a *app) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check specification files without a server",
		Long: `Check specification files for errors and for what is probably not meant, such as
states that cannot be reached. No server is needed. "-" reads standard input.

The exit status is 1 when a file is not a specification; with --strict also when
there is a warning. Notes change nothing.`,
		Args: someArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			out := []lintJSON{}
			for _, file := range args {
				one, err := a.lint(file)
				if err != nil {
					return err
				}
				out = append(out, one)
			}
			if err := a.emit(out, func(w io.Writer, p painter) { drawLint(w, p, out) }); err != nil {
				return err
			}
			return lintOutcome(out, strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with status 1 also when there is a warning")
	return cmd
}

// severityError is the severity of what makes a file invalid.
const severityError = "error"

// lint checks one file. The error is about reading it; what is wrong with its
// content is in the result.
func (a *app) lint(file string) (lintJSON, error) {
	out := lintJSON{File: file, Findings: []findingJSON{}}
	name, data, err := a.readFile(file)
	if err != nil {
		return out, err
	}
	s, err := spec.Parse(name, data)
	if err != nil {
		out.Findings = append(out.Findings, parseFinding(err))
		return out, nil
	}
	out.Name, out.Valid = s.Name, true
	for _, f := range s.Lint() {
		out.Findings = append(out.Findings, findingJSON{Severity: string(f.Severity), Code: f.Code, Message: f.Message, Hint: f.Hint})
	}
	return out, nil
}

func parseFinding(err error) findingJSON {
	out := findingJSON{Severity: severityError, Code: "INVALID", Message: err.Error()}
	var parse *spec.ParseError
	if errors.As(err, &parse) {
		out.Line, out.Column, out.Message, out.Hint = parse.Line, parse.Column, parse.Message, parse.Hint
	}
	return out
}

func drawLint(w io.Writer, p painter, files []lintJSON) {
	styles := map[string]style{severityError: styleBad, string(spec.Warning): styleWarn, string(spec.Note): styleFaint}
	for _, f := range files {
		if len(f.Findings) == 0 {
			fmt.Fprintf(w, "%s: %s\n", f.File, p.paint(styleGood, "ok"))
		}
		for _, finding := range f.Findings {
			where := f.File
			if finding.Line > 0 {
				where = fmt.Sprintf("%s:%d:%d", f.File, finding.Line, finding.Column)
			}
			fmt.Fprintf(w, "%s: %s: %s", where, p.paint(styles[finding.Severity], finding.Severity), finding.Message)
			if finding.Hint != "" {
				fmt.Fprintf(w, " (%s)", finding.Hint)
			}
			fmt.Fprintln(w)
		}
	}
}

// lintOutcome gives the error that stands for the exit status.
func lintOutcome(files []lintJSON, strict bool) error {
	invalid, warnings := 0, 0
	for _, f := range files {
		if !f.Valid {
			invalid++
		}
		for _, finding := range f.Findings {
			if finding.Severity == string(spec.Warning) {
				warnings++
			}
		}
	}
	switch {
	case invalid > 0:
		return answerNo("%s not valid", plural(invalid, "specification"))
	case strict && warnings > 0:
		return answerNo("%s", plural(warnings, "warning"))
	}
	return nil
}
