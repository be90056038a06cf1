package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/lts/explain"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func newInstanceCommand(a *app) *cobra.Command {
	return groupCommand(&cobra.Command{
		Use:   "instance COMMAND",
		Short: "Begin, move and look at workflow instances",
	},
		newInstanceInitCommand(a),
		newInstanceTransitionCommand(a),
		newInstanceGetCommand(a),
		newInstanceListCommand(a),
		newInstanceDeleteCommand(a),
	)
}

func newInstanceInitCommand(a *app) *cobra.Command {
	var state, requestID string
	var meta []string
	var version uint64
	cmd := &cobra.Command{
		Use:   "init SPEC ID",
		Short: "Begin an instance of a specification",
		Long: `Begin an instance of a specification, in its initial state unless --state says otherwise.

The step is recorded whatever its verdict is. The exit status is 1 when the error
policy of the specification rejects the verdict.`,
		Example: "  spex instance init order order-17 --meta customer=acme",
		Args:    exactArgs("SPEC", "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pairs, err := parseMeta(meta)
			if err != nil {
				return err
			}
			opts := []client.InitOption{client.WithMeta(pairs)}
			if state != "" {
				opts = append(opts, client.WithInitialState(state))
			}
			if version != 0 {
				opts = append(opts, client.WithSpecVersion(version))
			}
			if requestID != "" {
				opts = append(opts, client.WithRequestID(requestID))
			}
			return a.step(cmd.Context(), func(c *client.Client) (*spexv1.StepResponse, error) {
				return c.Init(cmd.Context(), args[0], args[1], opts...)
			})
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "state to begin in (default: the initial state of the specification)")
	cmd.Flags().StringArrayVar(&meta, "meta", nil, "`key=value` kept with the instance, repeatable")
	cmd.Flags().Uint64Var(&version, "spec-version", 0, "version of the specification (default: the newest)")
	cmd.Flags().StringVar(&requestID, "request-id", "", "id that makes a repeated call harmless (default: a new one)")
	return cmd
}

func newInstanceTransitionCommand(a *app) *cobra.Command {
	var requestID string
	var expected uint64
	cmd := &cobra.Command{
		Use:   "transition ID ACTION STATE",
		Short: "Record a step of an instance",
		Long: `Record that an instance did ACTION and is in STATE now. The internal action is
written __internal__.

The step is recorded whatever its verdict is. The exit status is 1 when the error
policy of the specification rejects the verdict.`,
		Example: "  spex instance transition order-17 pay paid",
		Args:    exactArgs("ID", "ACTION", "STATE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var opts []client.StepOption
			if expected != 0 {
				opts = append(opts, client.WithExpectedSeq(expected))
			}
			if requestID != "" {
				opts = append(opts, client.WithRequestID(requestID))
			}
			return a.step(cmd.Context(), func(c *client.Client) (*spexv1.StepResponse, error) {
				return c.Transition(cmd.Context(), args[0], args[1], args[2], opts...)
			})
		},
	}
	cmd.Flags().Uint64Var(&expected, "expected-seq", 0, "sequence number that the step must get (default: any)")
	cmd.Flags().StringVar(&requestID, "request-id", "", "id that makes a repeated call harmless (default: a new one)")
	return cmd
}

// step sends one step, shows its answer, and turns a rejection into the answer "no".
func (a *app) step(ctx context.Context, send func(c *client.Client) (*spexv1.StepResponse, error)) error {
	return a.withClient(ctx, func(c *client.Client) error {
		resp, err := send(c)
		var deviation *client.DeviationError
		if err != nil && !errors.As(err, &deviation) {
			return err
		}
		out := stepResultToJSON(resp)
		if err := a.emit(out, func(w io.Writer, p painter) { drawStepResult(w, p, out) }); err != nil {
			return err
		}
		if deviation != nil {
			return answerNo("the step is recorded, but the specification rejects it: %s", out.Verdict)
		}
		return nil
	})
}

func drawStepResult(w io.Writer, p painter, r stepResultJSON) {
	fmt.Fprintf(w, "%s  %s\n", p.paint(styleHeader, r.ID), p.paint(verdictStyle(r.Verdict), showVerdict(r.Verdict)))
	var l pairs
	l.add("  step", fmt.Sprintf("%d: %s", r.Seq, showTransition(r.FromState, r.Action, r.State)))
	l.add("  spec", fmt.Sprintf("%s version %d", r.Spec, r.SpecVersion))
	if j := r.Judgement; j != nil {
		if why := showWhy(j.Reason, j.Explanation); why != "" {
			l.add("  why", why)
		}
		if j.WithPending != nil && *j.WithPending != r.Verdict {
			l.add("  with pending deviations", showVerdict(*j.WithPending))
		}
		if text := showGrade(j.Grade, r.Verdict); text != "" {
			l.add("  with it", text)
		}
		if !j.BaselineEquivalent && r.Verdict != verdictOK {
			l.add("  note", "the model was not equivalent to its specification before this step either")
		}
	}
	if r.RunViolation != nil {
		l.add("  run", r.RunViolation.show())
	}
	if r.Duplicate {
		l.add("  note", "recorded before: this is the first answer again")
	}
	l.write(w, p)
}

// parseMeta reads key=value arguments.
func parseMeta(args []string) (map[string]string, error) {
	meta := make(map[string]string, len(args))
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usagef("--meta %q: write key=value", arg)
		}
		if _, twice := meta[key]; twice {
			return nil, usagef("--meta %q: the key %q is given twice", arg, key)
		}
		meta[key] = value
	}
	return meta, nil
}

// showVerdict writes a verdict for people.
func showVerdict(v string) string { return strings.ReplaceAll(v, "_", " ") }

func verdictStyle(v string) style {
	switch v {
	case verdictOK:
		return styleGood
	case verdictNotEquivalent:
		return styleBad
	default:
		return styleWarn
	}
}

func verdictCell(v string) cell { return cell{text: showVerdict(v), style: verdictStyle(v)} }

// showTransition writes a step for people; an initialisation has no source.
func showTransition(from, action, to string) string {
	if from == "" {
		return fmt.Sprintf("begin in %s", to)
	}
	return fmt.Sprintf("%s --[%s]-> %s", from, action, to)
}

// showGrade says what kind of difference a step makes that is not equivalent. It is
// empty for other steps.
func showGrade(grade *string, verdict string) string {
	if grade == nil || verdict != verdictNotEquivalent {
		return ""
	}
	meaning := map[explain.Grade]string{
		explain.ExtraBehaviour:    "the model does something that the specification forbids",
		explain.CoverageGap:       "the model does nothing that is forbidden, but has not shown everything",
		explain.BranchingMismatch: "every sequence of actions is allowed, but choices are made at different points",
		explain.Undecided:         "what kind of difference this makes could not be found out within the limits",
	}[explain.Grade(*grade)]
	return showWhy(*grade, meaning)
}

// showWhy joins the stable code of a reason with its sentence.
func showWhy(reason, explanation string) string {
	switch {
	case explanation == "":
		return reason
	case reason == "":
		return explanation
	default:
		return reason + ": " + explanation
	}
}
