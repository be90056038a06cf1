package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/spec"
)

// The specification of bench: an instance that does the same step for ever.
const (
	benchSpec   = "spex-bench"
	benchState  = "ready"
	benchAction = "tick"
)

type benchFlags struct {
	concurrency int
	instances   int
	batch       int
	duration    time.Duration
	keep        bool
}

func newBenchCommand(a *app) *cobra.Command {
	f := benchFlags{duration: 10 * time.Second}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how many transitions per second the cluster acknowledges",
		Long: `Measure how many transitions per second the cluster acknowledges, and the time from
sending one to its acknowledgement.

The command applies a specification of its own, ` + benchSpec + `, begins --instances
instances of it, and keeps --concurrency requests in flight, each with one step or
with --batch steps. Afterwards it deletes the instances. With several --addr the
requests go to all of them in turn.`,
		Example: "  spex bench --concurrency 64 --instances 1000 --duration 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.bench(cmd.Context(), f)
		},
	}
	cmd.Flags().IntVar(&f.concurrency, "concurrency", 64, "requests in flight at a time")
	cmd.Flags().IntVar(&f.instances, "instances", 1000, "instances that take the steps")
	cmd.Flags().IntVar(&f.batch, "batch", 1, "steps of one request")
	cmd.Flags().Var((*durationValue)(&f.duration), "duration", "how long to send")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "do not delete the instances afterwards")
	return cmd
}

func (f benchFlags) check() error {
	switch {
	case f.concurrency < 1 || f.concurrency > maxConcurrency:
		return usagef("--concurrency must be from 1 to %d", maxConcurrency)
	case f.instances < 1 || f.instances > 1_000_000:
		return usagef("--instances must be from 1 to 1000000")
	case f.batch < 1 || f.batch > client.MaxBatch:
		return usagef("--batch must be from 1 to %d", client.MaxBatch)
	}
	return nil
}

func (a *app) bench(ctx context.Context, f benchFlags) error {
	addrs, err := a.addresses()
	if err != nil {
		return err
	}
	c, err := client.Dial(ctx, client.Options{
		Addresses: addrs,
		Namespace: a.namespace(),
		Timeout:   a.opts.timeout,
		Spread:    true,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := applyBenchSpec(ctx, c); err != nil {
		return err
	}
	run := newBenchRun(c, f, uuid.NewString()[:8])
	out, err := a.measure(ctx, run)
	if !f.keep {
		// The instances go away also when the measurement was interrupted.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.timeout)
		defer cancel()
		if cleanErr := run.deleteInstances(cleanup); cleanErr != nil {
			a.warnf("some instances of %s are left: %v", benchSpec, cleanErr)
		}
	}
	if err != nil {
		return err
	}
	if err := a.emit(out, func(w io.Writer, p painter) { drawBench(w, p, out) }); err != nil {
		return err
	}
	if out.Transitions == 0 {
		return fmt.Errorf("no transition was acknowledged: %w", run.firstError())
	}
	if out.Errors > 0 {
		a.warnf("%s failed, the first with: %v", plural(out.Errors, "request"), run.firstError())
	}
	return nil
}

// measure begins the instances and sends for the given time.
func (a *app) measure(ctx context.Context, run *benchRun) (benchJSON, error) {
	if err := run.beginInstances(ctx); err != nil {
		return benchJSON{}, err
	}
	started := a.now()
	bar := a.startProgress(func() string {
		took := a.now().Sub(started)
		return fmt.Sprintf("%.0f of %.0f s, %.0f transitions/s", took.Seconds(), run.flags.duration.Seconds(), float64(run.done.Load())/took.Seconds())
	})
	err := run.send(ctx, func() time.Duration { return a.now().Sub(started) })
	bar.stop()
	if err != nil {
		return benchJSON{}, err
	}
	return run.result(a.now().Sub(started)), nil
}

// applyBenchSpec makes the specification of bench known, unless the namespace
// has another one of that name, which it leaves alone.
func applyBenchSpec(ctx context.Context, c *client.Client) error {
	s := &spec.Specification{
		Name:        benchSpec,
		Transitions: []spec.Transition{{From: benchState, Action: benchAction, To: benchState}},
		// A short history, so that a long run does not fill the disks with it.
		HistoryLimit: 100,
	}
	s.Normalize()
	have, _, err := c.GetSpecification(ctx, benchSpec, 0)
	switch {
	case errors.Is(err, client.ErrSpecificationNotFound):
	case err != nil:
		return err
	case !proto.Equal(have, s.Proto()):
		return fmt.Errorf("the namespace has another specification %q: choose another --namespace, or delete it", benchSpec)
	}
	_, err = c.ApplySpecification(ctx, s.Proto())
	return err
}

func drawBench(w io.Writer, p painter, b benchJSON) {
	ms := func(v float64) string { return fmt.Sprintf("%.2f ms", v) }
	var l pairs
	l.add("transitions", fmt.Sprintf("%d in %.1f s", b.Transitions, b.Seconds))
	l.add("per second", cell{fmt.Sprintf("%.0f", b.TransitionsPerSecond), styleGood})
	l.add("p50", ms(b.P50Millis))
	l.add("p99", ms(b.P99Millis))
	l.add("max", ms(b.MaxMillis))
	errs := cell{"0", styleFaint}
	if b.Errors > 0 {
		errs = cell{fmt.Sprint(b.Errors), styleBad}
	}
	l.add("errors", errs)
	l.add("load", fmt.Sprintf("%s in flight, %s, %s each", plural(b.Concurrency, "request"), plural(b.Instances, "instance"), plural(b.Batch, "step")))
	l.write(w, p)
}
