package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// WriteOption is an option of Init, Transition and Delete alike.
type WriteOption interface {
	InitOption
	StepOption
	DeleteOption
}

// InitOption is an option of Init.
type InitOption interface{ applyInit(*initCall) }

// StepOption is an option of Transition.
type StepOption interface{ applyStep(*stepCall) }

// DeleteOption is an option of Delete.
type DeleteOption interface {
	applyDelete(*spexv1.DeleteInstanceRequest)
}

// initCall is Init while its options are applied.
type initCall struct {
	req  *spexv1.InitInstanceRequest
	wait verdictWait
}

// stepCall is Transition while its options are applied.
type stepCall struct {
	req  *spexv1.TransitionRequest
	wait verdictWait
}

// verdictWait says whether and how long to wait for a pending verdict.
type verdictWait struct {
	on  bool
	max time.Duration
}

type initOption func(*initCall)

func (f initOption) applyInit(c *initCall) { f(c) }

type requestIDOption string

func (o requestIDOption) applyInit(c *initCall)                       { c.req.RequestId = string(o) }
func (o requestIDOption) applyStep(c *stepCall)                       { c.req.RequestId = string(o) }
func (o requestIDOption) applyDelete(r *spexv1.DeleteInstanceRequest) { r.RequestId = string(o) }

// WithRequestID gives the request id instead of a new UUIDv7. An id that is not
// a UUIDv7 needs WithExpectedSeq (Transition) or WithIncarnation (Delete), since it carries no time.
func WithRequestID(id string) WriteOption { return requestIDOption(id) }

// StepOrInitOption is an option of Init and Transition.
type StepOrInitOption interface {
	InitOption
	StepOption
}

type eventTimeOption time.Time

func (o eventTimeOption) applyInit(c *initCall) {
	c.req.EventTime = timestamppb.New(time.Time(o))
}
func (o eventTimeOption) applyStep(c *stepCall) {
	c.req.EventTime = timestamppb.New(time.Time(o))
}

// WithEventTime tells when the step happened. It is kept and shown, and never used for deadlines.
func WithEventTime(t time.Time) StepOrInitOption { return eventTimeOption(t) }

type verdictWaitOption time.Duration

func (o verdictWaitOption) applyInit(c *initCall) { c.wait = verdictWait{true, time.Duration(o)} }
func (o verdictWaitOption) applyStep(c *stepCall) { c.wait = verdictWait{true, time.Duration(o)} }

// WithVerdictWait makes the call ask again, with the same request id, while the
// verdict is pending: for at most max, and for 0 until the deadline of the call.
// A verdict that is pending still is then returned as VERDICT_PENDING without an
// error, as it is without this option: the step is stored.
func WithVerdictWait(max time.Duration) StepOrInitOption { return verdictWaitOption(max) }

// WithInitialState begins the instance in another state than the specification's initial one.
func WithInitialState(state string) InitOption {
	return initOption(func(c *initCall) { c.req.InitialState = state })
}

// WithMeta attaches data to the instance, up to 64 keys and 8 KiB.
func WithMeta(meta map[string]string) InitOption {
	return initOption(func(c *initCall) { c.req.Meta = meta })
}

// WithSpecVersion begins the instance with that version of the specification instead of the newest.
func WithSpecVersion(version uint64) InitOption {
	return initOption(func(c *initCall) { c.req.SpecVersion = version })
}

type expectedSeqOption uint64

func (o expectedSeqOption) applyStep(c *stepCall) { c.req.ExpectedSeq = uint64(o) }

// WithExpectedSeq makes the step be refused with ErrSequenceMismatch unless it
// gets that sequence number. The initialisation is seq 1, the first step 2.
func WithExpectedSeq(seq uint64) StepOption { return expectedSeqOption(seq) }

type incarnationOption uint64

func (o incarnationOption) applyStep(c *stepCall) { c.req.Incarnation = uint64(o) }
func (o incarnationOption) applyDelete(r *spexv1.DeleteInstanceRequest) {
	r.Incarnation = uint64(o)
}

// StepOrDeleteOption is an option of Transition and Delete.
type StepOrDeleteOption interface {
	StepOption
	DeleteOption
}

// WithIncarnation makes the call concern only that incarnation of the instance,
// not a later one with the same id.
func WithIncarnation(incarnation uint64) StepOrDeleteOption { return incarnationOption(incarnation) }

// Init begins an instance of a specification. When the error policy rejects the
// verdict about the initialisation, the response comes with a *DeviationError.
func (c *Client) Init(ctx context.Context, spec, id string, opts ...InitOption) (*spexv1.StepResponse, error) {
	return c.init(ctx, c.requests().init(spec, id, opts))
}

func (c *Client) init(ctx context.Context, ic initCall) (*spexv1.StepResponse, error) {
	cl := call{name: "InitInstance", write: true, requestID: ic.req.RequestId}
	resp, err := c.judged(ctx, ic.wait, func(ctx context.Context) (*spexv1.StepResponse, error) {
		return unary(ctx, c, cl, ic.req, func(ep *endpoint) rpc[spexv1.InitInstanceRequest, spexv1.StepResponse] {
			return spexv1.NewInstanceServiceClient(ep.conn).InitInstance
		})
	})
	return resp, c.opts.Handler.decide(ctx, Event{Operation: "Init", Spec: ic.req.Spec, ID: ic.req.Id, State: ic.req.InitialState, Response: resp}, err)
}

// Transition records that an instance took a step: the action, and the state
// that it is in afterwards. When the error policy rejects the verdict, the
// response comes with a *DeviationError; the step is stored all the same.
func (c *Client) Transition(ctx context.Context, id, action, state string, opts ...StepOption) (*spexv1.StepResponse, error) {
	return c.transition(ctx, c.requests().step(id, action, state, opts))
}

func (c *Client) transition(ctx context.Context, sc stepCall) (*spexv1.StepResponse, error) {
	cl := call{name: "Transition", write: true, requestID: sc.req.RequestId}
	resp, err := c.judged(ctx, sc.wait, func(ctx context.Context) (*spexv1.StepResponse, error) {
		return unary(ctx, c, cl, sc.req, func(ep *endpoint) rpc[spexv1.TransitionRequest, spexv1.StepResponse] {
			return spexv1.NewInstanceServiceClient(ep.conn).Transition
		})
	})
	e := Event{Operation: "Transition", ID: sc.req.Id, Action: sc.req.Action, State: sc.req.ToState, Response: resp}
	return resp, c.opts.Handler.decide(ctx, e, err)
}

// judged sends a step and, when asked to, asks again while its verdict is pending.
func (c *Client) judged(ctx context.Context, wait verdictWait, send func(context.Context) (*spexv1.StepResponse, error)) (*spexv1.StepResponse, error) {
	if wait.on {
		// One deadline for the call and all its repetitions.
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
			defer cancel()
		}
	}
	resp, err := send(ctx)
	if err != nil {
		return nil, err
	}
	if wait.on {
		if resp, err = c.awaitVerdict(ctx, wait.max, resp, send); err != nil {
			return resp, err
		}
	}
	return resp, rejection(resp)
}

// awaitVerdict repeats a stored step until it is judged. The step stays stored
// whatever happens here, so that only a refusal is an error.
func (c *Client) awaitVerdict(ctx context.Context, max time.Duration, resp *spexv1.StepResponse, send func(context.Context) (*spexv1.StepResponse, error)) (*spexv1.StepResponse, error) {
	if max > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max)
		defer cancel()
	}
	for n := 0; resp.GetVerdict() == typesv1.Verdict_VERDICT_PENDING; n++ {
		sleep(ctx, c.backoff(n))
		if ctx.Err() != nil {
			return resp, nil
		}
		c.stats.polls.Add(1)
		again, err := send(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return resp, nil
			}
			return resp, err
		}
		resp = again
	}
	return resp, nil
}

// Delete deletes an instance. An instance that does not exist is not an error;
// the response says whether there was one.
func (c *Client) Delete(ctx context.Context, id string, opts ...DeleteOption) (*spexv1.DeleteInstanceResponse, error) {
	req := c.requests().delete(id, opts)
	cl := call{name: "DeleteInstance", write: true, requestID: req.RequestId}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.DeleteInstanceRequest, spexv1.DeleteInstanceResponse] {
		return spexv1.NewInstanceServiceClient(ep.conn).DeleteInstance
	})
	return resp, c.opts.Handler.decide(ctx, Event{Operation: "Delete", ID: id}, err)
}

// ReadOption is an option of reads. Without one a read is linearizable.
type ReadOption func(*readCall)

// readCall collects the options of a read.
type readCall struct {
	consistency spexv1.Consistency
	minIndex    uint64
	pageSize    uint32
	newestFirst bool
}

// Stale lets any replica answer from what it has.
func Stale() ReadOption {
	return func(r *readCall) { r.consistency = spexv1.Consistency_CONSISTENCY_STALE }
}

// MinIndex makes the replica wait until it has applied that log index, for
// example StepResponse.Index of an own step.
func MinIndex(index uint64) ReadOption { return func(r *readCall) { r.minIndex = index } }

// PageSize sets how many items travel in one answer, up to MaxPage; it does not
// change what an iteration yields.
func PageSize(n uint32) ReadOption { return func(r *readCall) { r.pageSize = n } }

// NewestFirst makes History begin with the last step.
func NewestFirst() ReadOption { return func(r *readCall) { r.newestFirst = true } }

// readOptions applies options.
func readOptions(opts []ReadOption) readCall {
	r := readCall{consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE}
	for _, o := range opts {
		o(&r)
	}
	return r
}

// Get reads an instance without its history.
func (c *Client) Get(ctx context.Context, id string, opts ...ReadOption) (*spexv1.GetInstanceResponse, error) {
	r := readOptions(opts)
	req := &spexv1.GetInstanceRequest{
		Namespace: c.opts.Namespace, Id: id, Consistency: r.consistency, MinIndex: r.minIndex,
	}
	return unary(ctx, c, call{name: "GetInstance"}, req, func(ep *endpoint) rpc[spexv1.GetInstanceRequest, spexv1.GetInstanceResponse] {
		return spexv1.NewInstanceServiceClient(ep.conn).GetInstance
	})
}

// HistoryPage reads one page of the history of an instance: the first with an
// empty token, the others with the next_page_token of the one before.
func (c *Client) HistoryPage(ctx context.Context, id, token string, opts ...ReadOption) (*spexv1.GetHistoryResponse, error) {
	r := readOptions(opts)
	req := &spexv1.GetHistoryRequest{
		Namespace: c.opts.Namespace, Id: id, Consistency: r.consistency, MinIndex: r.minIndex,
		PageSize: r.pageSize, PageToken: token, NewestFirst: r.newestFirst,
	}
	return unary(ctx, c, call{name: "GetHistory"}, req, func(ep *endpoint) rpc[spexv1.GetHistoryRequest, spexv1.GetHistoryResponse] {
		return spexv1.NewInstanceServiceClient(ep.conn).GetHistory
	})
}

// History reads the steps of an instance that are kept, oldest first, page by
// page as they are asked for. An error ends the iteration.
func (c *Client) History(ctx context.Context, id string, opts ...ReadOption) iter.Seq2[*spexv1.Step, error] {
	return stepsOf(func(token string) (*spexv1.GetHistoryResponse, error) { return c.HistoryPage(ctx, id, token, opts...) })
}

// stepsOf goes through a history page by page. An error ends it.
func stepsOf(page func(token string) (*spexv1.GetHistoryResponse, error)) iter.Seq2[*spexv1.Step, error] {
	return func(yield func(*spexv1.Step, error) bool) {
		for token := ""; ; {
			p, err := page(token)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, s := range p.GetSteps() {
				if !yield(s, nil) {
					return
				}
			}
			if token = p.GetNextPageToken(); token == "" {
				return
			}
		}
	}
}

// ListFilter selects instances. Empty fields match everything.
type ListFilter struct {
	// Spec is the name of a specification.
	Spec string
	// State is the current state.
	State string
	// Where is a CEL expression of type bool over the instance, such as
	//
	//	state == "pending" && age > duration("1h")
	//
	// of up to 4 KiB. An instance for which it has no value does not match; see UnevaluatedError.
	Where string
	// Stuck, when above 0, selects instances whose last step is longer ago, and
	// whose state the model can leave.
	Stuck time.Duration
	// Limit is how many instances are yielded at most; 0 means all.
	Limit int
	// Stale lets any replica of each shard answer.
	Stale bool
	// PageSize is how many instances travel in one answer, up to MaxPage; 0 leaves it to the server.
	PageSize uint32
}

// request makes the request for the first page.
func (f ListFilter) request(namespace string) *spexv1.ListInstancesRequest {
	req := &spexv1.ListInstancesRequest{
		Namespace: namespace, Spec: f.Spec, State: f.State, Where: f.Where, StuckNanos: int64(f.Stuck),
		Consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE, PageSize: f.PageSize,
	}
	if f.Stale {
		req.Consistency = spexv1.Consistency_CONSISTENCY_STALE
	}
	if req.PageSize == 0 && f.Limit > 0 {
		req.PageSize = uint32(min(f.Limit, MaxPage))
	}
	return req
}

// List yields the instances that match, ordered by shard, then by id. Shards
// that did not answer are reported by one *PartialError at the end, after what
// the others have, and instances for which Where had no value by one
// *UnevaluatedError behind it; every other error ends the iteration.
func (c *Client) List(ctx context.Context, filter ListFilter) iter.Seq2[*spexv1.Instance, error] {
	req := filter.request(c.opts.Namespace)
	return func(yield func(*spexv1.Instance, error) bool) {
		var missing incompleteness
		left := filter.Limit
		for token := ""; ; {
			page, err := c.listPage(ctx, req, token)
			if err != nil {
				yield(nil, err)
				return
			}
			missing.add(page)
			for _, in := range page.GetInstances() {
				if !yield(in, nil) {
					return
				}
				if left--; left == 0 {
					token = ""
					break
				}
			}
			if token = page.GetNextPageToken(); token == "" || left == 0 && filter.Limit > 0 {
				break
			}
		}
		for _, err := range missing.errors() {
			if !yield(nil, err) {
				return
			}
		}
	}
}

// listPage reads one page of List.
func (c *Client) listPage(ctx context.Context, base *spexv1.ListInstancesRequest, token string) (*spexv1.ListInstancesResponse, error) {
	req := &spexv1.ListInstancesRequest{
		Namespace: base.Namespace, Spec: base.Spec, State: base.State, Where: base.Where, StuckNanos: base.StuckNanos,
		Consistency: base.Consistency, PageSize: base.PageSize, PageToken: token,
	}
	return unary(ctx, c, call{name: "ListInstances"}, req, func(ep *endpoint) rpc[spexv1.ListInstancesRequest, spexv1.ListInstancesResponse] {
		return spexv1.NewInstanceServiceClient(ep.conn).ListInstances
	})
}
