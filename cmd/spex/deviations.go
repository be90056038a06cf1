package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
)

// maxDeviations is the most that the server answers at once.
const maxDeviations = 10_000

func newDeviationsCommand(a *app) *cobra.Command {
	var specName string
	var limit int
	var fail, unreviewed bool
	cmd := &cobra.Command{
		Use:   "deviations",
		Short: "List the distinct deviating transitions with their counts",
		Long: `List the distinct transitions that deviated from the model of their specification:
how often, the first and the last instance that took them, and why they deviate.
The version of the specification is shown when there is one that is not the newest:
an instance stays with the version with which it began.

'spex model accept' puts one into the model, and it is not listed any more. 'spex
model reject' leaves a note, which is shown with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > maxDeviations {
				return usagef("--limit must be from 1 to %d", maxDeviations)
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.Deviations(cmd.Context(), specName, limit)
				if err != nil {
					return err
				}
				out := mapSlice(resp.GetDeviations(), deviationToJSON)
				open := slices.DeleteFunc(slices.Clone(out), func(d deviationJSON) bool { return d.Rejection != nil })
				if unreviewed {
					out = open
				}
				if len(out) == 0 {
					a.warnUnknownSpec(cmd.Context(), c, specName)
				}
				err = a.emit(out, func(w io.Writer, p painter) {
					drawDeviations(w, p, out, specName == "", len(out) > 0 && older(out, newestVersions(cmd.Context(), c)))
				})
				if err != nil {
					return err
				}
				if resp.GetTruncated() {
					a.notef("Shown are the first %d; there are more: raise --limit.", len(out))
				}
				if failures := resp.GetFailures(); len(failures) > 0 {
					return &client.PartialError{Failures: failures}
				}
				if fail && len(open) > 0 {
					return answerNo("%s", plural(len(open), "distinct deviation"))
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&specName, "spec", "", "only deviations of this specification")
	cmd.Flags().IntVar(&limit, "limit", 1000, "look at no more than so many, the most frequent first")
	cmd.Flags().BoolVar(&fail, "fail-on-deviation", false, "exit with status 1 when there is a deviation that nobody has rejected")
	cmd.Flags().BoolVar(&unreviewed, "unreviewed", false, "only deviations that nobody has rejected")
	return cmd
}

// older tells whether a deviation is from another version than the newest one of
// its specification, as far as that is known.
func older(deviations []deviationJSON, newest map[string]uint64) bool {
	return slices.ContainsFunc(deviations, func(d deviationJSON) bool { return d.SpecVersion != newest[d.Spec] })
}

func drawDeviations(w io.Writer, p painter, deviations []deviationJSON, showSpec, showVersion bool) {
	if len(deviations) == 0 {
		fmt.Fprintln(w, "No deviations.")
		return
	}
	header := []string{"COUNT", "VERDICT", "FIRST INSTANCE", "FIRST TIME", "LAST INSTANCE", "LAST TIME"}
	if showSpec {
		header = append(header, "SPEC")
	}
	if showVersion {
		header = append(header, "VERSION")
	}
	// Steps can be long: in the last column they push nothing else aside.
	t := newTable(append(header, "STEP")...)
	for _, d := range deviations {
		row := []any{
			d.Count,
			verdictCell(d.Verdict),
			d.FirstInstance,
			showSecond(time.Time(d.FirstTime)),
			d.LastInstance,
			showSecond(time.Time(d.LastTime)),
		}
		if showSpec {
			row = append(row, d.Spec)
		}
		if showVersion {
			row = append(row, d.SpecVersion)
		}
		t.row(append(row, showTransition(d.Transition.From, d.Transition.Action, d.Transition.To))...)
		if why := showWhy(d.Reason, d.Explanation); why != "" {
			t.note(why)
		}
		if text := showGrade(d.Grade, d.Verdict); text != "" {
			t.note(text)
		}
		if j := d.Joint; j != nil && j.Joint {
			t.note("together with others: " + j.Explanation)
		}
		if r := d.Rejection; r != nil {
			t.note(fmt.Sprintf("rejected by %s: %s", r.Owner, r.Reason))
		}
	}
	t.write(w, p)
}
