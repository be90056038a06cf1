package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/eventlog"
	"github.com/spexio/spex/spec"
)

const (
	// replayTimeout is the time limit of one request of a replay, unless --timeout
	// is given: a shard that elects a new leader must not end it.
	replayTimeout = time.Minute
	// replayAttempt is how long one server may take. Repeating a request is
	// harmless here, so a server that hangs is left soon.
	replayAttempt = 5 * time.Second
	// maxConcurrency bounds the workers of replay and bench.
	maxConcurrency = 10_000
)

// replayFlags are the flags of replay.
type replayFlags struct {
	log         logFlags
	spec        string
	concurrency int
	fail        bool
}

func newReplayCommand(a *app) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay LOG",
		Short: "Feed an event log to the cluster, each case as an instance",
		Long: `Feed an event log (CSV, XES or XES.gz) to the cluster: each case becomes an instance
of the specification, and each of its events a step, in the order of their times
and, at the same time, of the file. The state after a step is the activity, unless
--state names a column.

Cases are spread over --concurrency workers; the steps of a case stay in order.
The ids of the requests follow from the case and the position of the event, so
running the command again changes nothing, also after it was killed half way.

Unless --timeout is given, a request is tried again for a minute. Name several
servers with --addr, so that the replay goes on when one of them is down.`,
		Example: "  spex replay orders.csv --spec order --case order_id --activity status --timestamp at",
		Args:    exactArgs("LOG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("timeout") {
				a.opts.timeout = max(a.opts.timeout, replayTimeout)
			}
			return a.replay(cmd.Context(), args[0], f)
		},
	}
	f.log.register(cmd)
	cmd.Flags().StringVar(&f.spec, "spec", "", "specification of the instances (required)")
	cmd.Flags().StringVar(&f.log.prefix, "prefix", "", "put this before the case to make the id of the instance")
	cmd.Flags().IntVar(&f.concurrency, "concurrency", 32, "cases in flight at a time")
	cmd.Flags().BoolVar(&f.fail, "fail-on-deviation", false, "exit with status 1 when a step deviates")
	return cmd
}

// logFlags are the flags that say how to read an event log.
type logFlags struct {
	format              string
	delimiter           string
	columns             eventlog.Columns
	prefix              string
	skipCases, maxCases int
}

func (f *logFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.format, "format", "auto", "format of the log: auto, csv or xes")
	fs.StringVar(&f.delimiter, "delimiter", "", `delimiter of a CSV log, "\t" for a tab (default: detected)`)
	fs.StringVar(&f.columns.Case, "case", "", "`column` of the case (default case:concept:name; XES: concept:name of the trace)")
	fs.StringVar(&f.columns.Activity, "activity", "", "`column` of the activity (default concept:name)")
	fs.StringVar(&f.columns.Timestamp, "timestamp", "", "`column` of the time (default time:timestamp)")
	fs.StringVar(&f.columns.State, "state", "", "`column` of the state after the step (default: the activity)")
	fs.IntVar(&f.skipCases, "skip-cases", 0, "leave out the first so many cases of the log")
	fs.IntVar(&f.maxCases, "max-cases", 0, "take at most so many cases; 0 means all")
}

// delimiterRune reads --delimiter; 0 stands for detecting it.
func (f *logFlags) delimiterRune() (rune, error) {
	switch f.delimiter {
	case "":
		return 0, nil
	case `\t`, "tab":
		return '\t', nil
	}
	r, size := utf8.DecodeRuneInString(f.delimiter)
	if size != len(f.delimiter) || r == utf8.RuneError || r == '"' || r == '\n' || r == '\r' {
		return 0, usagef(`--delimiter %q: give one character, or "\t"`, f.delimiter)
	}
	return r, nil
}

func (f *logFlags) check() error {
	if f.skipCases < 0 || f.maxCases < 0 {
		return usagef("--skip-cases and --max-cases must not be negative")
	}
	return nil
}

func (f *replayFlags) check() error {
	if f.spec == "" {
		return usagef("--spec is missing: name the specification of the instances")
	}
	if f.concurrency < 1 || f.concurrency > maxConcurrency {
		return usagef("--concurrency must be from 1 to %d", maxConcurrency)
	}
	if err := spec.CheckSpecName("--spec", f.spec); err != nil {
		return usagef("%v", err)
	}
	return f.log.check()
}

func (a *app) replay(ctx context.Context, path string, f replayFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	log, err := f.log.open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	return a.withQuietClient(ctx, replayAttempt, func(c *client.Client) error {
		// One question now instead of one refusal for every case.
		if _, _, err := c.GetSpecification(ctx, f.spec, 0); err != nil {
			return err
		}
		r := newReplayer(c, a.namespace(), f.spec, f.concurrency)
		started := a.now()
		bar := a.startProgress(func() string { return r.progress(a.now().Sub(started)) })
		runErr := r.run(ctx, log.Cases())
		bar.stop()
		out := r.summary(a.now().Sub(started))
		return a.reportReplay(r, out, f, runErr)
	})
}

// reportReplay shows the summary and turns what happened into an error.
func (a *app) reportReplay(r *replayer, out replayJSON, f replayFlags, runErr error) error {
	for _, problem := range r.problems.list() {
		a.notef("%s", problem)
	}
	if hidden := r.problems.hidden(); hidden > 0 {
		a.notef("... and %s more", plural(hidden, "failed case"))
	}
	if runErr != nil {
		if out.Events > 0 {
			a.notef("%s of %s were played; run the same command again to go on, nothing is doubled.",
				plural(out.Events-out.Errors, "event"), plural(out.Cases, "case"))
		}
		return runErr
	}
	if err := a.emit(out, func(w io.Writer, p painter) { drawReplay(w, p, out, f.spec) }); err != nil {
		return err
	}
	if n := r.initDeviations.Load(); n > 0 {
		a.warnf("%s deviated too; they are not counted as events", plural(n, "initialisation"))
	}
	deviations := out.DeviationStillEquivalent + out.DeviationNotEquivalent + r.initDeviations.Load()
	switch {
	case out.Errors > 0:
		return fmt.Errorf("%s not recorded", plural(out.Errors, "event"))
	case f.fail && deviations > 0:
		return answerNo("%s", plural(deviations, "deviating step"))
	}
	return nil
}

func drawReplay(w io.Writer, p painter, r replayJSON, specName string) {
	number := func(n int64, s style) cell {
		if n == 0 {
			s = styleFaint
		}
		return cell{fmt.Sprint(n), s}
	}
	t := newTable("REPLAYED", specName)
	t.right[1] = true
	t.row("cases", r.Cases)
	t.row("events", r.Events)
	t.row("  ok", number(r.OK, styleGood))
	t.row("  deviation still equivalent", number(r.DeviationStillEquivalent, styleWarn))
	t.row("  deviation not equivalent", number(r.DeviationNotEquivalent, styleBad))
	t.row("  pending", number(r.Pending, styleWarn))
	t.row("  errors", number(r.Errors, styleBad))
	t.row("retries", number(r.Retries, stylePlain))
	t.row("seconds", fmt.Sprintf("%.2f", r.Seconds))
	t.row("events per second", fmt.Sprintf("%.0f", r.EventsPerSecond))
	t.write(w, p)
	if r.DeviationStillEquivalent+r.DeviationNotEquivalent > 0 {
		fmt.Fprintf(w, "\nSee what deviated: spex deviations --spec %s\n", specName)
	}
}

// isTemporary tells whether a failure says more about the cluster than about the step.
func isTemporary(err error) bool {
	var failure *client.Error
	return errors.As(err, &failure) && failure.Temporary()
}
