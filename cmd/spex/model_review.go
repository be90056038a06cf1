package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// maxReviewed is the most transitions of one review, and maxModelEvents what is
// kept of the history of a model.
const (
	maxReviewed    = 100
	maxModelEvents = 100
)

// reviewFlags are the flags that accept and reject have in common.
type reviewFlags struct {
	owner, reason string
	specVersion   uint64
}

func (f *reviewFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.owner, "owner", "", "who answers for the decision; required")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; required")
	cmd.Flags().Uint64Var(&f.specVersion, "spec-version", 0, "version of the specification (default: the newest)")
}

// review makes the decision of the arguments SPEC TRANSITION...
func (f *reviewFlags) review(args []string) (client.Review, error) {
	r := client.Review{Spec: args[0], SpecVersion: f.specVersion, Owner: f.owner, Reason: f.reason}
	switch {
	case f.owner == "":
		return r, usagef("--owner is missing: say who answers for it")
	case f.reason == "":
		return r, usagef("--reason is missing: say why, for those who read the history of the model")
	case len(args)-1 > maxReviewed:
		return r, usagef("%d transitions are above the limit of %d for one command", len(args)-1, maxReviewed)
	}
	for _, arg := range args[1:] {
		t, err := parseTransitionArg(arg)
		if err != nil {
			return r, usagef("%v", err)
		}
		r.Transitions = append(r.Transitions, &typesv1.Transition{From: t.From, Action: t.Action, To: t.To})
	}
	return r, nil
}

// parseTransitionArg reads a transition as lists show it; the initialisation has
// two forms, one for people and one of files.
func parseTransitionArg(arg string) (model.Transition, error) {
	if state, begins := strings.CutPrefix(arg, showTransition("", "", "")); begins && !strings.Contains(arg, " --[") {
		return model.Init(state), model.Check(model.Init(state))
	}
	return model.ParseTransition(arg)
}

// reviewArgs wants SPEC and one transition or more.
func reviewArgs(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("SPEC is missing")
	case 1:
		return usagef("TRANSITION is missing: give one or more, each as 'FROM --[ACTION]-> TO'")
	}
	return nil
}

func newModelAcceptCommand(a *app) *cobra.Command {
	var flags reviewFlags
	var expires string
	var force bool
	cmd := &cobra.Command{
		Use:   "accept SPEC TRANSITION...",
		Short: "Put deviating transitions into the model: such steps are ok from now on",
		Long: `Put deviating transitions into the model of a specification. A TRANSITION is
written as 'spex deviations' shows it, in quotes: 'FROM --[ACTION]-> TO'.

The command compares the model with its specification without the transitions and
with them. If the model would not be equivalent any more it changes nothing and
ends with status 1, unless --force is given. A model that has only not shown
everything yet (COVERAGE_GAP) may stay so. Transitions that have to come together
are accepted together. The command returns when every shard works with the model.

With --expires the transitions are taken out again after that time, unless they
are accepted anew: a duration (36h, 30d), a day (2026-12-31, which ends with that
day, UTC) or a time (2026-12-31T18:00:00Z).`,
		Example: `  spex model accept order 'paid --[refund]-> refunded' --owner payments --reason 'ticket 4711' --expires 30d`,
		Args:    reviewArgs,
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&expires, "expires", "", "when the acceptance ends: a duration, a day or a time (default: never)")
	cmd.Flags().BoolVar(&force, "force", false, "accept also what makes the model not equivalent, and what has not deviated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		review, err := flags.review(args)
		if err != nil {
			return err
		}
		acceptance := client.Acceptance{Review: review, Force: force}
		if expires != "" {
			if acceptance.Expires, err = parseExpiry(expires, a.now()); err != nil {
				return usagef("--expires: %v", err)
			}
		}
		a.patience(cmd)
		return a.withClient(cmd.Context(), func(c *client.Client) error {
			resp, err := c.AcceptDeviations(cmd.Context(), acceptance)
			var refused *client.Error
			if errors.Is(err, client.ErrModelNotEquivalent) && errors.As(err, &refused) {
				return answerNo("%s", refused.Message)
			}
			if err != nil {
				return err
			}
			out := acceptedToJSON(resp, acceptance)
			return a.emit(out, func(w io.Writer, _ painter) { drawAccepted(w, out) })
		})
	}
	return cmd
}

// parseExpiry reads a point in time, or how long it is until then.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if d, err := parseDuration(text); err == nil {
		return now.Add(d), nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return notOver(day.AddDate(0, 0, 1), text, now)
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return notOver(t, text, now)
	}
	return time.Time{}, fmt.Errorf("%q is neither a duration above zero (36h, 30d), nor a day (2026-12-31), nor a time (2026-12-31T18:00:00Z)", text)
}

func notOver(t time.Time, text string, now time.Time) (time.Time, error) {
	if !t.After(now) {
		return time.Time{}, fmt.Errorf("%q is over", text)
	}
	return t, nil
}

func drawAccepted(w io.Writer, out acceptedJSON) {
	switch {
	case !out.Changed:
		fmt.Fprintf(w, "%s has been so already", out.Model.Spec)
	case out.Added == 0:
		fmt.Fprintf(w, "accepted anew in %s", out.Model.Spec)
	default:
		fmt.Fprintf(w, "accepted %s into %s", plural(out.Added, "transition"), out.Model.Spec)
	}
	fmt.Fprintf(w, ", model version %d with %s", out.Model.Version, plural(out.Model.Transitions, "transition"))
	if t := time.Time(out.ExpiresAt); !t.IsZero() {
		fmt.Fprintf(w, ", until %s", showSecond(t))
	}
	fmt.Fprintln(w)
	if out.Before != nil && out.After != nil {
		fmt.Fprintf(w, "grade before %s, after %s\n", showModelGrade(out.Before), showModelGrade(out.After))
	}
}

func showModelGrade(g *modelGradeJSON) string {
	if g.Grade == nil {
		return "none, for want of exactly one initialisation"
	}
	if len(g.Trace) > 0 {
		return fmt.Sprintf("%s (it can do %s)", *g.Grade, strings.Join(g.Trace, ", "))
	}
	return *g.Grade
}

func newModelRejectCommand(a *app) *cobra.Command {
	var flags reviewFlags
	cmd := &cobra.Command{
		Use:   "reject SPEC TRANSITION...",
		Short: "Note that deviations were looked at and are wrong",
		Long: `Note that deviations were looked at and are wrong. The model does not change: such
steps deviate as before. 'spex deviations' shows the note, and the deviation does
not count as unreviewed any more. A TRANSITION is written as 'spex deviations'
shows it, in quotes: 'FROM --[ACTION]-> TO'.`,
		Example: `  spex model reject order 'cart --[ship]-> shipped' --owner warehouse --reason 'bug 12, fixed in 3.4'`,
		Args:    reviewArgs,
	}
	flags.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		review, err := flags.review(args)
		if err != nil {
			return err
		}
		return a.withClient(cmd.Context(), func(c *client.Client) error {
			resp, err := c.RejectDeviations(cmd.Context(), review)
			if err != nil {
				return err
			}
			out := rejectedJSON{Changed: resp.GetChanged(), Model: modelToJSON(resp.GetModel())}
			return a.emit(out, func(w io.Writer, _ painter) {
				what := "rejected " + plural(len(review.Transitions), "transition")
				if !out.Changed {
					what = "rejected already"
				}
				fmt.Fprintf(w, "%s: %s, %s not reviewed\n", out.Model.Spec, what, plural(out.Model.Deviations, "deviation"))
			})
		})
	}
	return cmd
}

func newModelHistoryCommand(a *app) *cobra.Command {
	var version uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "history SPEC",
		Short: "Show what happened to the model of a specification",
		Long: fmt.Sprintf(`Show what happened to the model of a specification, newest first: what was learned
and imported, seals, what was accepted, rejected and withdrawn, by whom and why.
The last %d events of each version of a specification are kept.`, maxModelEvents),
		Args: exactArgs("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxModelEvents {
				return usagef("--limit must be from 1 to %d", maxModelEvents)
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.ModelHistory(cmd.Context(), args[0], version, limit)
				if err != nil {
					return err
				}
				out := historyToJSON(resp)
				return a.emit(out, func(w io.Writer, p painter) { drawModelHistory(w, p, out) })
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "spec-version", 0, "version of the specification (default: the newest)")
	cmd.Flags().IntVar(&limit, "limit", maxModelEvents, "at most so many")
	return cmd
}

func drawModelHistory(w io.Writer, p painter, out modelHistoryJSON) {
	if len(out.Events) == 0 {
		fmt.Fprintln(w, "Nothing has happened to the model.")
		return
	}
	t := newTable("TIME", "MODEL VERSION", "EVENT", "ADDED", "REMOVED", "OWNER", "BY")
	for _, e := range out.Events {
		t.row(showSecond(time.Time(e.Time)), e.Version, strings.ReplaceAll(e.Event, "_", " "), e.Added, e.Removed, e.Owner, e.Principal)
		if e.Reason != "" {
			t.note(e.Reason)
		}
		if until := time.Time(e.ExpiresAt); !until.IsZero() {
			t.note("until " + showSecond(until))
		}
		for _, tr := range e.Transitions {
			t.note(showTransition(tr.From, tr.Action, tr.To))
		}
	}
	t.write(w, p)
	switch {
	case out.Truncated && len(out.Events) < maxModelEvents:
		fmt.Fprintln(w, "There may have been more before: give a larger --limit.")
	case out.Truncated:
		fmt.Fprintln(w, "There may have been more before.")
	}
}

// acceptedJSON is the answer of model accept. Before and After are null when the
// comparison took too long, which only a forced acceptance tolerates.
type acceptedJSON struct {
	Added     uint32          `json:"added"`
	Changed   bool            `json:"changed"`
	ExpiresAt jsonTime        `json:"expires_at"`
	Before    *modelGradeJSON `json:"before"`
	After     *modelGradeJSON `json:"after"`
	Model     modelJSON       `json:"model"`
}

// modelGradeJSON says how a model compares with its specification.
type modelGradeJSON struct {
	Equivalent bool     `json:"equivalent"`
	Grade      *string  `json:"grade"`
	Trace      []string `json:"trace"`
}

// rejectedJSON is the answer of model reject.
type rejectedJSON struct {
	Changed bool      `json:"changed"`
	Model   modelJSON `json:"model"`
}

// modelHistoryJSON is the answer of model history.
type modelHistoryJSON struct {
	Model     modelJSON        `json:"model"`
	Events    []modelEventJSON `json:"events"`
	Truncated bool             `json:"truncated"`
}

// modelEventJSON is one event of the history of a model.
type modelEventJSON struct {
	Time         jsonTime         `json:"time"`
	FirstTime    jsonTime         `json:"first_time"`
	Event        string           `json:"event"`
	Version      uint64           `json:"version"`
	ModeRevision uint64           `json:"mode_revision"`
	Added        uint32           `json:"added"`
	Removed      uint32           `json:"removed"`
	Owner        string           `json:"owner"`
	Reason       string           `json:"reason"`
	Principal    string           `json:"principal"`
	ExpiresAt    jsonTime         `json:"expires_at"`
	Transitions  []transitionJSON `json:"transitions"`
}

// rejectionJSON is the note about a deviation that was rejected.
type rejectionJSON struct {
	Owner     string   `json:"owner"`
	Reason    string   `json:"reason"`
	Principal string   `json:"principal"`
	Time      jsonTime `json:"time"`
}

func rejectionToJSON(r *spexv1.Rejection) *rejectionJSON {
	if r == nil {
		return nil
	}
	return &rejectionJSON{Owner: r.GetOwner(), Reason: r.GetReason(), Principal: r.GetPrincipal(), Time: timeJSON(r.GetTime())}
}

func acceptedToJSON(r *spexv1.AcceptDeviationsResponse, a client.Acceptance) acceptedJSON {
	return acceptedJSON{
		Added: r.GetAdded(), Changed: r.GetChanged(), ExpiresAt: jsonTime(a.Expires),
		Before: modelGradeToJSON(r.GetBefore()), After: modelGradeToJSON(r.GetAfter()), Model: modelToJSON(r.GetModel()),
	}
}

func modelGradeToJSON(g *spexv1.ModelGrade) *modelGradeJSON {
	if g == nil {
		return nil
	}
	return &modelGradeJSON{Equivalent: g.GetEquivalent(), Grade: optional(g.GetGrade()), Trace: append([]string{}, g.GetTrace()...)}
}

func historyToJSON(r *spexv1.ListModelHistoryResponse) modelHistoryJSON {
	return modelHistoryJSON{
		Model: modelToJSON(r.GetModel()), Truncated: r.GetTruncated(),
		Events: mapSlice(r.GetEvents(), func(e *spexv1.ModelEvent) modelEventJSON {
			return modelEventJSON{
				Time: timeJSON(e.GetTime()), FirstTime: timeJSON(e.GetFirstTime()), Event: enumName(e.GetKind().String(), "MODEL_EVENT_KIND_"),
				Version: e.GetVersion(), ModeRevision: e.GetModeRevision(), Added: e.GetAdded(), Removed: e.GetRemoved(),
				Owner: e.GetOwner(), Reason: e.GetReason(), Principal: e.GetPrincipal(), ExpiresAt: timeJSON(e.GetExpiresAt()),
				Transitions: mapSlice(e.GetTransitions(), transitionToJSON),
			}
		}),
	}
}
