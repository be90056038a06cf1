package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const watchLong = `Stream the reports of all shards while things happen: deviations, timeouts, prunes,
and the lives of instances and models.

Every report arrives at least once, in order for each shard. When a server goes
away the watch goes on with another address of --addr from where it was. With
-o json every report is one line with a cursor, and --from CURSOR goes on after it,
also in another run. What the retention has dropped before the watch could bring
it is told as a gap.

The text has one line for a change of a model, with its revision, when the first
shard takes it over; -o json has the report of every shard. spex model history
says what the change was.

The watch ends with an interrupt, or after --limit reports.`

// watchFlags are the options of spex watch.
type watchFlags struct {
	specs, kinds  []string
	allNamespaces bool
	from          string
	limit         int
	heartbeat     time.Duration
}

func newWatchCommand(a *app) *cobra.Command {
	f := watchFlags{heartbeat: client.DefaultHeartbeat}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Stream deviations, timeouts and other reports",
		Long:  watchLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := f.options()
			if err != nil {
				return err
			}
			return a.withQuietClient(cmd.Context(), max(a.opts.timeout/3, minAttempt), func(c *client.Client) error {
				if !f.allNamespaces {
					a.warnUnknownSpecs(cmd.Context(), c, f.specs)
				}
				return a.watch(cmd.Context(), c, opts, f.limit)
			})
		},
	}
	cmd.Flags().StringArrayVar(&f.specs, "spec", nil, "only reports about this specification, repeatable")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only reports of this `kind`, repeatable or with commas: "+strings.Join(kindNames(), ", "))
	cmd.Flags().BoolVar(&f.allNamespaces, "all-namespaces", false, "reports of all namespaces")
	cmd.Flags().StringVar(&f.from, "from", "now", "where to begin: now, oldest, or the `cursor` of an earlier report")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "end after so many reports that are shown; 0 means never")
	cmd.Flags().Var((*durationValue)(&f.heartbeat), "heartbeat", "the longest silence of a server, from 100ms to 1m")
	return cmd
}

// kindNames are the kinds of reports as the command line writes them, in their order.
func kindNames() []string {
	var list []string
	for n := range typesv1.ReportKind_name {
		if n != 0 {
			list = append(list, kindName(typesv1.ReportKind(n)))
		}
	}
	slices.SortFunc(list, func(a, b string) int { return int(kindOf(a) - kindOf(b)) })
	return list
}

func kindName(k typesv1.ReportKind) string { return enumName(k.String(), "REPORT_KIND_") }

// kindOf is the kind of a name, unspecified for an unknown one.
func kindOf(name string) typesv1.ReportKind {
	return typesv1.ReportKind(typesv1.ReportKind_value["REPORT_KIND_"+strings.ToUpper(name)])
}

func (f *watchFlags) options() (client.WatchOptions, error) {
	opts := client.WatchOptions{Specs: f.specs, AllNamespaces: f.allNamespaces, Heartbeat: f.heartbeat}
	for _, name := range f.kinds {
		k := kindOf(name)
		if k == typesv1.ReportKind_REPORT_KIND_UNSPECIFIED {
			return opts, usagef("--kind %q is unknown: give one of %s", name, strings.Join(kindNames(), ", "))
		}
		opts.Kinds = append(opts.Kinds, k)
	}
	switch f.from {
	case "now":
	case "oldest":
		opts.Oldest = true
	case "":
		return opts, usagef("--from is empty: give now, oldest or a cursor")
	default:
		opts.Cursor = f.from
	}
	if f.limit < 0 {
		return opts, usagef("--limit must not be negative")
	}
	return opts, nil
}

// watch writes reports as they come.
func (a *app) watch(ctx context.Context, c *client.Client, opts client.WatchOptions, limit int) error {
	var cursor, trouble string
	opts.OnProgress = func(p client.WatchProgress) {
		if cursor == "" && opts.Cursor == "" && !opts.Oldest && a.stderrTTY {
			a.notef("Watching from now on; an interrupt ends it.")
		}
		if p.Reports == 0 {
			cursor = p.Cursor
		}
		if now := failuresText(p.Failures); now != trouble {
			if trouble = now; now == "" {
				a.notef("All shards can be read again.")
			} else {
				a.warnf("%s cannot read all shards at the moment; their reports come later: %s", p.Address, now)
			}
		}
	}
	seen, models := 0, modelChanges{}
	for r, err := range c.Watch(ctx, opts) {
		var gap *client.GapError
		switch {
		case errors.As(err, &gap):
			if err := a.writeGap(gap, r.Cursor); err != nil {
				return err
			}
			continue
		case err != nil && ctx.Err() != nil:
			if cursor != "" {
				a.notef("To go on from here: spex watch --from %s", cursor)
			}
			return nil
		case err != nil:
			return err
		}
		cursor = r.Cursor
		e := reportToEvent(r)
		if a.opts.output != outputJSON && models.told(e) {
			continue
		}
		if err := a.writeEvent(e); err != nil {
			return err
		}
		if seen++; seen == limit {
			return nil
		}
	}
	return nil
}

// modelChanges holds the newest revision of each model that was shown.
type modelChanges map[modelOf]uint64

type modelOf struct {
	namespace, spec string
	version         uint64
}

// told reports whether an event is one more shard's about a change of a model that
// was shown, or about one before that; it remembers those that are to be shown.
func (c modelChanges) told(e watchJSON) bool {
	of := modelOf{e.Namespace, e.Spec, e.SpecVersion}
	if e.Mode == nil || e.ModeRevision <= c[of] {
		return e.Mode != nil
	}
	c[of] = e.ModeRevision
	return false
}

func failuresText(list []*spexv1.ShardFailure) string {
	var parts []string
	for i, f := range list {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("shard %d (%s)", f.GetShard(), f.GetError().GetMessage()))
	}
	return strings.Join(parts, ", ")
}

// watchJSON is one line of watch: a report, or a gap, whose kind is "gap".
type watchJSON struct {
	Kind         string            `json:"kind"`
	Shard        uint32            `json:"shard"`
	ID           *uint64           `json:"id"`
	Time         jsonTime          `json:"time"`
	Namespace    string            `json:"namespace"`
	Spec         string            `json:"spec"`
	SpecVersion  uint64            `json:"spec_version"`
	Instance     string            `json:"instance"`
	Incarnation  uint64            `json:"incarnation"`
	Seq          uint64            `json:"seq"`
	State        string            `json:"state"`
	Transition   *transitionJSON   `json:"transition"`
	Judgement    *judgementJSON    `json:"judgement"`
	Mode         *string           `json:"mode"`
	ModeRevision uint64            `json:"mode_revision"`
	Deadline     jsonTime          `json:"deadline"`
	Rejected     bool              `json:"rejected"`
	RunViolation *runViolationJSON `json:"run_violation"`
	Joint        *jointJSON        `json:"joint"`
	Gap          *gapJSON          `json:"gap"`
	Cursor       string            `json:"cursor"`
}

// gapJSON says which reports of a shard are gone.
type gapJSON struct {
	AfterID   uint64   `json:"after_id"`
	ThroughID uint64   `json:"through_id"`
	Kinds     []string `json:"kinds"`
}

func reportToEvent(r client.Report) watchJSON {
	id := r.GetId()
	out := watchJSON{
		Kind: kindName(r.GetKind()), Shard: r.GetShard(), ID: &id, Time: timeJSON(r.GetTime()),
		Namespace: r.GetNamespace(), Spec: r.GetSpec(), SpecVersion: r.GetSpecVersion(),
		Instance: r.GetInstance(), Incarnation: r.GetIncarnation(), Seq: r.GetSeq(), State: r.GetState(),
		Judgement: judgementToJSON(r.GetJudgement()), ModeRevision: r.GetModeRevision(),
		Deadline: timeJSON(r.GetDeadline()), Rejected: r.GetRejected(), RunViolation: runViolationToJSON(r.GetRunViolation()),
		Joint: jointToJSON(r.GetJoint()), Cursor: r.Cursor,
	}
	if t := r.GetTransition(); t != nil {
		j := transitionToJSON(t)
		out.Transition = &j
	}
	if m := r.GetModelMode(); m != typesv1.ModelMode_MODEL_MODE_UNSPECIFIED {
		name := modeName(m)
		out.Mode = &name
	}
	return out
}

// writeEvent writes one report at once: as a line of JSON, or for people.
func (a *app) writeEvent(e watchJSON) error {
	if a.opts.output == outputJSON {
		return writeJSONLine(a.stdout, e)
	}
	_, err := io.WriteString(a.stdout, drawEvent(e, a.stdoutPainter()))
	return err
}

// writeGap says what is missing, each shard by itself.
func (a *app) writeGap(gap *client.GapError, cursor string) error {
	for _, g := range gap.Gaps {
		if a.opts.output == outputJSON {
			e := watchJSON{Kind: "gap", Shard: g.GetShard(), Cursor: cursor, Gap: &gapJSON{
				AfterID: g.GetAfterId(), ThroughID: g.GetThroughId(), Kinds: mapSlice(g.GetKinds(), kindName),
			}}
			if err := writeJSONLine(a.stdout, e); err != nil {
				return err
			}
			continue
		}
		a.warnf("shard %d: the reports %d to %d of these kinds are gone: %s", g.GetShard(), g.GetAfterId()+1, g.GetThroughId(),
			strings.Join(mapSlice(g.GetKinds(), kindName), ", "))
	}
	return nil
}

// writeJSONLine writes one JSON document without line breaks in it.
func writeJSONLine(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// drawEvent writes a report for people: a line, and why below it.
func drawEvent(e watchJSON, p painter) string {
	what := e.State
	style := styleFaint
	switch {
	case e.Judgement != nil && e.Transition != nil:
		what = showTransition(e.Transition.From, e.Transition.Action, e.Transition.To) + "  " + showVerdict(e.Judgement.Verdict)
		style = verdictStyle(e.Judgement.Verdict)
	case e.RunViolation != nil && e.Transition != nil:
		what, style = showTransition(e.Transition.From, e.Transition.Action, e.Transition.To)+"  "+e.RunViolation.show(), styleWarn
	case e.Joint != nil && e.Transition != nil:
		what, style = showTransition(e.Transition.From, e.Transition.Action, e.Transition.To)+"  not equivalent together with others", styleBad
	case e.Kind == "timeout":
		what, style = fmt.Sprintf("still in %s, due %s", e.State, showSecond(time.Time(e.Deadline))), styleWarn
	case e.Mode != nil:
		what = fmt.Sprintf("version %d is %s, revision %d", e.SpecVersion, *e.Mode, e.ModeRevision)
	case e.State != "":
		what = "in " + e.State
	}
	about := e.Spec
	if e.Instance != "" {
		about += "  " + fmt.Sprintf("%s#%d", e.Instance, e.Seq)
	}
	text := fmt.Sprintf("%s  %s  %s  %s  %s\n", showSecond(time.Time(e.Time)), p.paint(styleFaint, fmt.Sprintf("%d/%d", e.Shard, *e.ID)),
		p.paint(style, fmt.Sprintf("%-11s", e.Kind)), about, what)
	if e.Judgement != nil {
		if why := showWhy(e.Judgement.Reason, e.Judgement.Explanation); why != "" {
			text += "    " + p.paint(styleFaint, why) + "\n"
		}
	}
	if e.Joint != nil && e.Joint.Explanation != "" {
		text += "    " + p.paint(styleFaint, e.Joint.Explanation) + "\n"
	}
	return text
}
