package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/eventlog"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// replayBatch is how many steps of a case travel together: enough to hide the
	// way to the server, and little enough to be sent again after a failure.
	replayBatch = 100
	// maxPending bounds the steps that are remembered to be asked for again.
	maxPending = 100_000
	// pendingRounds is how often a pending verdict is asked for again at the end,
	// with pendingPause between two rounds.
	pendingRounds = 10
	pendingPause  = 500 * time.Millisecond
	// maxProblems is how many failed cases are reported one by one.
	maxProblems = 5
)

// replayer plays the cases of a log. Its counters may be read while it runs.
type replayer struct {
	client      *client.Client
	namespace   string
	spec        string
	concurrency int

	cases, done, events, ok, still, not, errs atomic.Int64
	// initDeviations counts initialisations that deviate, which are no events.
	initDeviations atomic.Int64
	// fed is set once the whole log has been read, so that cases is the total.
	fed atomic.Bool

	pending  pendingSteps
	problems problemList
}

func newReplayer(c *client.Client, namespace, spec string, concurrency int) *replayer {
	return &replayer{client: c, namespace: namespace, spec: spec, concurrency: concurrency}
}

// run plays all cases and asks again for pending verdicts. It returns after all
// its goroutines have ended. A case that is refused is counted and does not end
// the run; a log that cannot be read and a cluster that does not answer within
// the time limit of a request do.
func (r *replayer) run(ctx context.Context, cases iter.Seq2[eventlog.Case, error]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan eventlog.Case)
	var workers sync.WaitGroup
	for range r.concurrency {
		workers.Go(func() {
			for c := range queue {
				if err := r.playCase(ctx, c); err != nil {
					cancel(err)
				}
			}
		})
	}
	readErr := r.feed(ctx, cases, queue)
	close(queue)
	workers.Wait()
	if readErr != nil {
		return readErr
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.askAgain(ctx)
}

// feed hands the cases to the workers, in the order of the log, until ctx ends.
func (r *replayer) feed(ctx context.Context, cases iter.Seq2[eventlog.Case, error], queue chan<- eventlog.Case) error {
	for c, err := range cases {
		if err != nil {
			return err
		}
		r.cases.Add(1)
		r.events.Add(int64(len(c.Events)))
		select {
		case queue <- c:
		case <-ctx.Done():
			r.errs.Add(int64(len(c.Events)))
			return nil
		}
	}
	r.fed.Store(true)
	return nil
}

// playCase records the initialisation and then the events of a case in order. It
// returns an error only when going on with other cases is pointless.
func (r *replayer) playCase(ctx context.Context, c eventlog.Case) error {
	defer r.done.Add(1)
	left := c.Events
	position, err := 0, r.begin(ctx, c)
	for err == nil && len(left) > 0 {
		var recorded int
		chunk := left[:min(len(left), replayBatch)]
		recorded, err = r.playChunk(ctx, c.ID, position, chunk)
		left, position = left[recorded:], position+recorded
	}
	if err == nil {
		return nil
	}
	r.errs.Add(int64(len(left)))
	if isTemporary(err) || ctx.Err() != nil {
		return fmt.Errorf("case %q: %w", c.ID, err)
	}
	where := "its initialisation"
	if position > 0 || !errors.As(err, new(*initError)) {
		where = fmt.Sprintf("event %d (line %d)", position+1, left[0].Line)
	}
	hint := ""
	if errors.Is(err, client.ErrInstanceInUse) {
		hint = "; --prefix gives the instances of this log names of their own"
	}
	r.problems.add(fmt.Sprintf("case %q stopped at %s: %v%s", c.ID, where, err, hint))
	return nil
}

// initError marks the failure of an initialisation.
type initError struct{ err error }

func (e *initError) Error() string { return e.err.Error() }
func (e *initError) Unwrap() error { return e.err }

// begin initialises the instance of a case.
func (r *replayer) begin(ctx context.Context, c eventlog.Case) error {
	opts := []client.InitOption{client.WithRequestID(replayRequestID(r.namespace, r.spec, c.ID, 1))}
	if len(c.Events) > 0 {
		opts = append(opts, client.WithEventTime(c.Events[0].Time))
	}
	resp, err := r.client.Init(ctx, r.spec, c.ID, opts...)
	var deviation *client.DeviationError
	if err != nil && !errors.As(err, &deviation) {
		return &initError{err}
	}
	if isDeviation(resp.GetVerdict()) {
		r.initDeviations.Add(1)
	}
	return nil
}

// playChunk records consecutive events of a case, the first of which is at
// position (from 0). It tells how many are recorded; err is about the next one.
func (r *replayer) playChunk(ctx context.Context, id string, position int, events []eventlog.Event) (recorded int, err error) {
	steps := make([]*spexv1.TransitionRequest, len(events))
	for i, e := range events {
		// The initialisation has seq 1 and position 1.
		seq := uint64(position + i + 2)
		steps[i] = &spexv1.TransitionRequest{
			Id:          id,
			Action:      e.Activity,
			ToState:     e.State,
			RequestId:   replayRequestID(r.namespace, r.spec, id, seq),
			ExpectedSeq: seq,
			EventTime:   timestamppb.New(e.Time),
		}
	}
	results, batchErr := r.client.TransitionBatch(ctx, steps)
	for i, result := range results {
		var deviation *client.DeviationError
		if err := client.ResultError(result); err != nil && !errors.As(err, &deviation) {
			// What the whole batch failed with says more than the step it left open.
			if batchErr != nil && isTemporary(err) {
				err = batchErr
			}
			return i, err
		}
		r.count(result.GetResponse().GetVerdict(), steps[i])
	}
	if len(results) < len(steps) && batchErr == nil {
		batchErr = fmt.Errorf("the server answered %d of %d steps", len(results), len(steps))
	}
	return len(results), batchErr
}

// count counts one recorded event. step is kept to ask again while it is pending.
func (r *replayer) count(v typesv1.Verdict, step *spexv1.TransitionRequest) {
	switch v {
	case typesv1.Verdict_VERDICT_OK:
		r.ok.Add(1)
	case typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT:
		r.still.Add(1)
	case typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT:
		r.not.Add(1)
	case typesv1.Verdict_VERDICT_PENDING:
		r.pending.add(step)
	default:
		// Recorded by an earlier replay, so long ago that the verdict is no longer kept.
		r.pending.addForgotten()
	}
}

func isDeviation(v typesv1.Verdict) bool {
	return v == typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT || v == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
}

// askAgain sends steps whose verdict is pending once more, with the same request
// ids, which gives their verdicts and records nothing.
func (r *replayer) askAgain(ctx context.Context) error {
	for round := 0; round < pendingRounds && r.pending.size() > 0; round++ {
		if round > 0 && !pause(ctx, pendingPause) {
			return context.Cause(ctx)
		}
		steps := r.pending.take()
		for len(steps) > 0 {
			chunk := steps[:min(len(steps), replayBatch)]
			steps = steps[len(chunk):]
			results, err := r.client.TransitionBatch(ctx, chunk)
			if len(results) != len(chunk) {
				r.pending.add(append(chunk, steps...)...)
				return err
			}
			for i, result := range results {
				if result.GetResponse() == nil {
					// A step that cannot be asked for stays recorded and pending.
					r.pending.add(chunk[i])
					continue
				}
				r.count(result.GetResponse().GetVerdict(), chunk[i])
			}
		}
	}
	return nil
}

// pause waits for d; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// summary gives the counts so far.
func (r *replayer) summary(took time.Duration) replayJSON {
	out := replayJSON{
		Cases:                    r.cases.Load(),
		Events:                   r.events.Load(),
		OK:                       r.ok.Load(),
		DeviationStillEquivalent: r.still.Load(),
		DeviationNotEquivalent:   r.not.Load(),
		Pending:                  r.pending.size(),
		Errors:                   r.errs.Load(),
		Retries:                  int64(r.client.Stats().Retries),
		Seconds:                  round3(took.Seconds()),
	}
	if took > 0 {
		out.EventsPerSecond = round3(float64(out.Events-out.Errors) / took.Seconds())
	}
	return out
}

// progress is the line that a person sees while the replay runs.
func (r *replayer) progress(took time.Duration) string {
	played := r.ok.Load() + r.still.Load() + r.not.Load() + r.pending.size()
	line := fmt.Sprintf("%d cases, %d events", r.done.Load(), played)
	if total := r.cases.Load(); r.fed.Load() && total > 0 {
		line = fmt.Sprintf("%s %d of %d cases, %d events", progressBar(r.done.Load(), total), r.done.Load(), total, played)
	}
	if s := took.Seconds(); s > 0 {
		line += fmt.Sprintf(", %.0f/s", float64(played)/s)
	}
	if n := r.still.Load() + r.not.Load(); n > 0 {
		line += ", " + plural(n, "deviation")
	}
	return line
}
