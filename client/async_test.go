package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// record is a queue whose calls note that they ran.
type record struct {
	*asyncQueue
	cancel context.CancelFunc
	mu     sync.Mutex // guards the fields below
	ran    []string
	failed []string
	errs   []error
}

func newRecord(opts Async) *record {
	ctx, cancel := context.WithCancel(context.Background())
	r := &record{cancel: cancel}
	opts.OnError = func(e *Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed, r.errs = append(r.failed, e.Action), append(r.errs, e.Err)
	}
	opts, err := opts.withDefaults()
	if err != nil {
		panic(err)
	}
	r.asyncQueue = newAsyncQueue(ctx, opts, nil)
	return r
}

func (r *record) end() {
	r.cancel()
	r.close()
}

// call is named by its instance and what it is: "x1" belongs to x. It takes a second.
func (r *record) call(name string, result error) *asyncCall {
	return &asyncCall{event: Event{ID: name[:1], Action: name}, run: func(ctx context.Context) error {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ran = append(r.ran, name)
		return result
	}}
}

func (r *record) of(id string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ran {
		if n[:1] == id {
			list = append(list, n)
		}
	}
	return list
}

func TestAsyncOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(Async{Workers: 2})
		defer r.end()
		begin := time.Now()
		for i := range 3 {
			for _, id := range []string{"x", "y"} {
				if err := r.add(context.Background(), r.call(fmt.Sprint(id, i), nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"x", "y"} {
			if want := []string{id + "0", id + "1", id + "2"}; !slices.Equal(r.of(id), want) {
				t.Errorf("%s ran %v", id, r.of(id))
			}
		}
		// One after another by instance, the instances beside each other.
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestAsyncFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fail := range []bool{false, true} {
			r := newRecord(Async{Buffer: 2, FailWhenFull: fail})
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			for _, n := range []string{"x1", "x2"} {
				if err := r.add(ctx, r.call(n, nil)); err != nil {
					t.Fatal(err)
				}
			}
			want := context.DeadlineExceeded
			if fail {
				want = ErrFull
			}
			if err := r.add(ctx, r.call("y1", nil)); !errors.Is(err, want) {
				t.Errorf("fail %v: got %v, want %v", fail, err, want)
			}
			if err := r.flush(ctx); !errors.Is(err, context.DeadlineExceeded) && !fail {
				t.Errorf("flush: %v", err)
			}
			cancel()
			if err := r.flush(context.Background()); err != nil {
				t.Error(err)
			}
			// There is room again.
			if err := r.add(context.Background(), r.call("y1", nil)); err != nil {
				t.Error(err)
			}
			if err := r.flush(context.Background()); err != nil || len(r.of("y")) != 1 {
				t.Error(err, r.of("y"))
			}
			r.end()
		}
	})
}

// What waits behind a call that failed is not made; a deviation is no failure, and
// what comes later begins anew.
func TestAsyncFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(Async{})
		defer r.end()
		refused := &Error{Reason: typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, Message: "no"}
		deviates := &DeviationError{Response: &spexv1.StepResponse{Id: "y"}}
		for _, c := range []struct {
			name string
			err  error
		}{{"x1", refused}, {"x2", nil}, {"x3", nil}, {"y1", deviates}, {"y2", nil}} {
			if err := r.add(context.Background(), r.call(c.name, c.err)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := r.add(context.Background(), r.call("x4", nil)); err != nil {
			t.Fatal(err)
		}
		if err := r.flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.of("x"), []string{"x1", "x4"}) || !slices.Equal(r.of("y"), []string{"y1", "y2"}) {
			t.Errorf("ran %v and %v", r.of("x"), r.of("y"))
		}
		slices.Sort(r.failed)
		if !slices.Equal(r.failed, []string{"x1", "x2", "x3", "y1"}) {
			t.Errorf("failed %v", r.failed)
		}
		for _, err := range r.errs {
			if !errors.Is(err, ErrInstanceNotFound) && !isDeviation(err) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// The handler is told of calls that are not made as well, and decides about them.
func TestAsyncHandlerSeesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(Async{Workers: 1})
		defer r.end()
		var told []string // by one worker
		r.handler = func(_ context.Context, e *Event) error {
			if e.Err == nil || !e.Async {
				t.Errorf("told of %+v", e)
			}
			told = append(told, e.Action)
			if e.Action == "x2" {
				return nil
			}
			return e.Err
		}
		refused := &Error{Reason: typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND}
		for _, n := range []string{"x1", "x2", "x3", "x4"} {
			c := r.call(n, refused)
			run := c.run
			c.run = func(ctx context.Context) error { return r.handler.decide(ctx, c.event, run(ctx)) }
			if err := r.add(context.Background(), c); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, []string{"x1", "x2", "x3", "x4"}) || !slices.Equal(r.failed, []string{"x1", "x3", "x4"}) {
			t.Errorf("the handler was told of %v, OnError of %v", told, r.failed)
		}
		told, r.failed = nil, nil
		r.cancel()
		if err := r.add(context.Background(), r.call("y1", nil)); err != nil {
			t.Fatal(err)
		}
		r.end()
		if !slices.Equal(told, []string{"y1"}) || !slices.Equal(r.failed, []string{"y1"}) || !errors.Is(r.errs[len(r.errs)-1], ErrClosed) {
			t.Errorf("closed: the handler was told of %v, OnError of %v", told, r.failed)
		}
	})
}

// Flush does not wait for what is handed over after it, nor is it over before what
// was handed over before it, whichever ends first.
func TestAsyncFlushUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(Async{Buffer: 8, Workers: 4})
		defer r.end()
		for _, n := range []string{"x1", "x2", "x3", "y1"} {
			if err := r.add(context.Background(), r.call(n, nil)); err != nil {
				t.Fatal(err)
			}
		}
		load, stop := context.WithCancel(context.Background())
		defer stop()
		var writers sync.WaitGroup
		defer func() { stop(); writers.Wait() }()
		for w := range 4 {
			writers.Go(func() {
				for load.Err() == nil {
					// The load ends while a call waits for room.
					_ = r.add(load, r.call(fmt.Sprint(w), nil))
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.flush(ctx); err != nil {
			t.Fatal(err)
		}
		if len(r.of("x")) != 3 || len(r.of("y")) != 1 {
			t.Errorf("the flush is over: x ran %v, y %v", r.of("x"), r.of("y"))
		}
	})
}

func TestAsyncClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(Async{Workers: 1})
		for _, n := range []string{"x1", "x2", "y1"} {
			if err := r.add(context.Background(), r.call(n, nil)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		r.end()
		if len(r.ran) == 0 || len(r.ran)+len(r.failed) != 3 {
			t.Errorf("ran %v, failed %v", r.ran, r.failed)
		}
		if err := r.add(context.Background(), r.call("z1", nil)); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
		if err := r.flush(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// The handler decides what a call returns.
func TestHandlerDecides(t *testing.T) {
	other := errors.New("other")
	deviation := &spexv1.StepResponse{Spec: "s", Verdict: typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT}
	for _, tt := range []struct {
		name    string
		handler Handler
		resp    *spexv1.StepResponse
		err     error
		want    error
	}{
		{"none", nil, deviation, other, other},
		{"not asked when all is well", func(context.Context, *Event) error { return other }, &spexv1.StepResponse{Verdict: typesv1.Verdict_VERDICT_OK}, nil, nil},
		{"forgives", func(context.Context, *Event) error { return nil }, nil, other, nil},
		{"leaves it", func(_ context.Context, e *Event) error { return e.Err }, nil, other, other},
		{"refuses what the policy accepts", func(_ context.Context, e *Event) error {
			if e.Deviates() && e.Spec == "s" {
				return other
			}
			return nil
		}, deviation, nil, other},
	} {
		if got := tt.handler.decide(context.Background(), Event{Response: tt.resp}, tt.err); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
