package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// benchRun is one measurement.
type benchRun struct {
	client *client.Client
	flags  benchFlags
	ids    []string

	done, errs atomic.Int64
	times      histogram

	// mu guards first.
	mu    sync.Mutex
	first error
}

func newBenchRun(c *client.Client, f benchFlags, runID string) *benchRun {
	r := &benchRun{client: c, flags: f, ids: make([]string, f.instances)}
	for i := range r.ids {
		r.ids[i] = fmt.Sprintf("spex-bench-%s-%d", runID, i)
	}
	return r
}

// each calls do for every instance, with as many at a time as the measurement
// has requests in flight, and returns the first error.
func (r *benchRun) each(ctx context.Context, do func(ctx context.Context, id string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(r.flags.concurrency, len(r.ids)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(r.ids) {
					return
				}
				if err := do(ctx, r.ids[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (r *benchRun) beginInstances(ctx context.Context) error {
	return r.each(ctx, func(ctx context.Context, id string) error {
		_, err := r.client.Init(ctx, benchSpec, id)
		return ignoreDeviation(err)
	})
}

func (r *benchRun) deleteInstances(ctx context.Context) error {
	return r.each(ctx, func(ctx context.Context, id string) error {
		_, err := r.client.Delete(ctx, id)
		return err
	})
}

// ignoreDeviation drops the error of a step that is recorded: what is measured is the recording.
func ignoreDeviation(err error) error {
	var deviation *client.DeviationError
	if errors.As(err, &deviation) {
		return nil
	}
	return err
}

// send keeps the requests in flight until elapsed says that the time is over. It
// fails only when ctx ends.
func (r *benchRun) send(ctx context.Context, elapsed func() time.Duration) error {
	var workers sync.WaitGroup
	for w := range r.flags.concurrency {
		workers.Go(func() {
			// Workers keep to instances of their own as long as there are enough.
			for n := w; ctx.Err() == nil && elapsed() < r.flags.duration; n += r.flags.concurrency {
				r.request(ctx, n, elapsed)
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// request sends the n-th request and takes its time.
func (r *benchRun) request(ctx context.Context, n int, elapsed func() time.Duration) {
	started := elapsed()
	var acknowledged int64
	var err error
	if r.flags.batch == 1 {
		_, err = r.client.Transition(ctx, r.ids[n%len(r.ids)], benchAction, benchState)
		if err = ignoreDeviation(err); err == nil {
			acknowledged = 1
		}
	} else {
		acknowledged, err = r.batch(ctx, n)
	}
	if err != nil && ctx.Err() == nil {
		r.errs.Add(1)
		r.noteError(err)
	}
	r.times.add(elapsed()-started, acknowledged)
	r.done.Add(acknowledged)
}

// batch sends a batch whose steps are of consecutive instances.
func (r *benchRun) batch(ctx context.Context, n int) (acknowledged int64, err error) {
	steps := make([]*spexv1.TransitionRequest, r.flags.batch)
	for i := range steps {
		id := r.ids[(n*r.flags.batch+i)%len(r.ids)]
		steps[i] = &spexv1.TransitionRequest{Id: id, Action: benchAction, ToState: benchState}
	}
	results, err := r.client.TransitionBatch(ctx, steps)
	for _, result := range results {
		if stepErr := ignoreDeviation(client.ResultError(result)); stepErr != nil {
			err = errors.Join(err, stepErr)
			continue
		}
		acknowledged++
	}
	return acknowledged, err
}

func (r *benchRun) noteError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = err
	}
}

func (r *benchRun) firstError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

func (r *benchRun) result(took time.Duration) benchJSON {
	millis := func(d time.Duration) float64 { return round3(d.Seconds() * 1000) }
	return benchJSON{
		Transitions:          r.done.Load(),
		TransitionsPerSecond: round3(float64(r.done.Load()) / took.Seconds()),
		P50Millis:            millis(r.times.quantile(0.50)),
		P99Millis:            millis(r.times.quantile(0.99)),
		MaxMillis:            millis(time.Duration(r.times.longest.Load())),
		Errors:               r.errs.Load(),
		Seconds:              round3(took.Seconds()),
		Concurrency:          r.flags.concurrency,
		Instances:            r.flags.instances,
		Batch:                r.flags.batch,
	}
}

// histogram counts durations in buckets that are at most 1/64 of their value
// wide, so that its memory does not grow with the length of a run. It is safe for
// concurrent use.
type histogram struct {
	counts  [(64 - histogramBits + 1) << histogramBits]atomic.Int64
	longest atomic.Int64
}

// histogramBits is the number of bits of a value that choose its bucket, beside its magnitude.
const histogramBits = 6

// bucketOf gives the bucket of a value: values below 64 have their own, above
// that each power of two is divided into 64.
func bucketOf(v uint64) int {
	shift := max(0, bits.Len64(v)-histogramBits-1)
	return shift<<histogramBits + int(v>>shift)
}

// bucketTop gives the largest value of a bucket.
func bucketTop(bucket int) uint64 {
	shift := max(0, bucket>>histogramBits-1)
	return (uint64(bucket-shift<<histogramBits)+1)<<shift - 1
}

// add counts n things that took d each.
func (h *histogram) add(d time.Duration, n int64) {
	if n == 0 {
		return
	}
	v := max(0, int64(d))
	h.counts[bucketOf(uint64(v))].Add(n)
	for {
		old := h.longest.Load()
		if v <= old || h.longest.CompareAndSwap(old, v) {
			return
		}
	}
}

// quantile gives the duration that a fraction q of the things did not exceed; 0 without any.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	rank := int64(q * float64(total))
	var seen int64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen > rank || seen == total {
			return min(time.Duration(bucketTop(i)), time.Duration(h.longest.Load()))
		}
	}
	return 0
}
