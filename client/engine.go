package client

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Engine answers requests in this process. It is what NewManager makes a Manager
// of; programs use local.Open, which does both. Methods are called by many
// goroutines at once, and own the requests that they get. Their errors are *Error.
type Engine interface {
	InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error)
	Transition(ctx context.Context, req *spexv1.TransitionRequest) (*spexv1.StepResponse, error)
	DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error)
	DeleteMatching(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error)
	MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error)
	GetInstance(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error)
	GetHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error)
	ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error)

	ApplySpecification(ctx context.Context, namespace string, spec *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error)
	GetSpecification(ctx context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error)
	ListModels(ctx context.Context, req *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error)
	GetModel(ctx context.Context, namespace, spec string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error)
	ImportModel(ctx context.Context, namespace, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	ReplaceModel(ctx context.Context, namespace, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	SealModel(ctx context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error)
	LearnModel(ctx context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error)
	ListDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error)
	AcceptDeviations(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error)
	RejectDeviations(ctx context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error)
	ListModelHistory(ctx context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error)

	// Watch hands reports to send on the goroutine of the call, which is held up by
	// it: first a response without reports, then what there is, and a response
	// without reports for each heartbeat. It ends with the error of ctx or of send, or with ErrClosed.
	Watch(ctx context.Context, req *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error

	// Close ends the engine. Calls that are under way may fail.
	Close() error
}

// ManagerOptions configures NewManager. The zero value is complete.
type ManagerOptions struct {
	// Namespace of all calls; empty means "default".
	Namespace string
	// Timeout is the deadline of calls whose context has none; 0 means DefaultTimeout.
	Timeout time.Duration
	// Handler is told about errors and deviations; see Options.Handler.
	Handler Handler
	// Async configures InitAsync and TransitionAsync.
	Async Async
	// NewRequestID makes the ids of requests that have none; nil means UUIDv7. It
	// is called from many goroutines at once.
	NewRequestID func() string
	// Logger is told what concerns the operator; nil means silence.
	Logger *slog.Logger
}

// inProcess is the Manager of an Engine.
type inProcess struct {
	engine Engine
	opts   ManagerOptions
	async  *asyncQueue
	cancel context.CancelFunc
}

// NewManager makes a Manager of an engine, which it closes when it is closed.
func NewManager(engine Engine, opts ManagerOptions) (Manager, error) {
	if opts.Timeout < 0 {
		return nil, errors.New("client: ManagerOptions.Timeout is negative")
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.NewRequestID == nil {
		opts.NewRequestID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	async, err := opts.Async.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &inProcess{engine: engine, opts: opts, async: newAsyncQueue(ctx, async, opts.Handler), cancel: cancel}, nil
}

func (m *inProcess) requests() requests {
	return requests{namespace: m.opts.Namespace, newRequestID: m.opts.NewRequestID}
}

// do makes a call of the engine, unless ctx has ended, with the default deadline
// when ctx has none.
func (m *inProcess) do(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return GivenUp(err, true)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.opts.Timeout)
		defer cancel()
	}
	return call(ctx)
}

// ask is do with a request and its answer.
func ask[Req, Resp any](ctx context.Context, m *inProcess, method func(context.Context, *Req) (*Resp, error), req *Req) (resp *Resp, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		resp, err = method(ctx, req)
		return err
	})
	return resp, err
}

// judged makes a step, and repeats it while its verdict is pending and asked for.
func judged[Req any](ctx context.Context, m *inProcess, wait verdictWait, method func(context.Context, *Req) (*spexv1.StepResponse, error), req *Req) (resp *spexv1.StepResponse, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		if resp, err = method(ctx, req); err != nil {
			return err
		}
		if wait.on && wait.max > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wait.max)
			defer cancel()
		}
		// The engine waits for the verdict by itself; it gives up only at its budget.
		for wait.on && resp.GetVerdict() == typesv1.Verdict_VERDICT_PENDING && ctx.Err() == nil {
			again, err := method(ctx, req)
			if err != nil && ctx.Err() == nil {
				return err
			} else if err != nil {
				break // the step is stored all the same
			}
			resp = again
		}
		return rejection(resp)
	})
	return resp, err
}

func (m *inProcess) init(ctx context.Context, ic initCall) (*spexv1.StepResponse, error) {
	resp, err := judged(ctx, m, ic.wait, m.engine.InitInstance, ic.req)
	err = named(err, ic.req.RequestId)
	return resp, m.opts.Handler.decide(ctx, Event{Operation: "Init", Spec: ic.req.Spec, ID: ic.req.Id, State: ic.req.InitialState, Response: resp}, err)
}

func (m *inProcess) transition(ctx context.Context, sc stepCall) (*spexv1.StepResponse, error) {
	resp, err := judged(ctx, m, sc.wait, m.engine.Transition, sc.req)
	err = named(err, sc.req.RequestId)
	e := Event{Operation: "Transition", ID: sc.req.Id, Action: sc.req.Action, State: sc.req.ToState, Response: resp}
	return resp, m.opts.Handler.decide(ctx, e, err)
}

// named adds the request id to an *Error.
func named(err error, requestID string) error {
	var e *Error
	if errors.As(err, &e) && e.RequestID == "" {
		e.RequestID = requestID
	}
	return err
}

func (m *inProcess) Init(ctx context.Context, spec, id string, opts ...InitOption) (*spexv1.StepResponse, error) {
	return m.init(ctx, m.requests().init(spec, id, opts))
}

func (m *inProcess) Transition(ctx context.Context, id, action, state string, opts ...StepOption) (*spexv1.StepResponse, error) {
	return m.transition(ctx, m.requests().step(id, action, state, opts))
}

func (m *inProcess) InitAsync(ctx context.Context, spec, id string, opts ...InitOption) error {
	return m.async.init(ctx, m.requests().init(spec, id, opts), m.init)
}

func (m *inProcess) TransitionAsync(ctx context.Context, id, action, state string, opts ...StepOption) error {
	return m.async.transition(ctx, m.requests().step(id, action, state, opts), m.transition)
}

func (m *inProcess) Flush(ctx context.Context) error { return m.async.flush(ctx) }

func (m *inProcess) Delete(ctx context.Context, id string, opts ...DeleteOption) (*spexv1.DeleteInstanceResponse, error) {
	req := m.requests().delete(id, opts)
	resp, err := ask(ctx, m, m.engine.DeleteInstance, req)
	return resp, m.opts.Handler.decide(ctx, Event{Operation: "Delete", ID: id}, named(err, req.RequestId))
}

func (m *inProcess) DeleteMatching(ctx context.Context, filter DeleteFilter) (Deletion, error) {
	done, err := deleteMatching(ctx, m.opts.Namespace, filter, func(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
		return ask(ctx, m, m.engine.DeleteMatching, req)
	})
	return done, m.opts.Handler.decide(ctx, Event{Operation: "DeleteMatching", Spec: filter.Spec}, err)
}

func (m *inProcess) Mock(ctx context.Context, spec, id, state string, opts ...MockOption) (*spexv1.StepResponse, error) {
	req := m.requests().mock(spec, id, state, opts)
	resp, err := ask(ctx, m, m.engine.MockInstance, req)
	return resp, m.opts.Handler.decide(ctx, Event{Operation: "Mock", Spec: spec, ID: id, State: state, Response: resp}, named(err, req.RequestId))
}

func (m *inProcess) Get(ctx context.Context, id string, opts ...ReadOption) (*spexv1.GetInstanceResponse, error) {
	r := readOptions(opts)
	return ask(ctx, m, m.engine.GetInstance, &spexv1.GetInstanceRequest{Namespace: m.opts.Namespace, Id: id, Consistency: r.consistency, MinIndex: r.minIndex})
}

func (m *inProcess) History(ctx context.Context, id string, opts ...ReadOption) iter.Seq2[*spexv1.Step, error] {
	r := readOptions(opts)
	return stepsOf(func(token string) (*spexv1.GetHistoryResponse, error) {
		return ask(ctx, m, m.engine.GetHistory, &spexv1.GetHistoryRequest{
			Namespace: m.opts.Namespace, Id: id, Consistency: r.consistency, MinIndex: r.minIndex,
			PageSize: r.pageSize, PageToken: token, NewestFirst: r.newestFirst,
		})
	})
}

func (m *inProcess) List(ctx context.Context, filter ListFilter) iter.Seq2[*spexv1.Instance, error] {
	return func(yield func(*spexv1.Instance, error) bool) {
		var missing incompleteness
		left := filter.Limit
		for token, more := "", true; more; more = token != "" && (filter.Limit == 0 || left > 0) {
			req := filter.request(m.opts.Namespace)
			req.PageToken = token
			page, err := ask(ctx, m, m.engine.ListInstances, req)
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
					break
				}
			}
			token = page.GetNextPageToken()
		}
		for _, err := range missing.errors() {
			if !yield(nil, err) {
				return
			}
		}
	}
}

func (m *inProcess) ApplySpecification(ctx context.Context, spec *typesv1.Specification) (resp *spexv1.ApplySpecificationResponse, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		resp, err = m.engine.ApplySpecification(ctx, m.opts.Namespace, spec)
		return err
	})
	return resp, err
}

func (m *inProcess) GetSpecification(ctx context.Context, name string, version uint64) (spec *typesv1.Specification, got uint64, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		spec, got, err = m.engine.GetSpecification(ctx, m.opts.Namespace, name, version)
		return err
	})
	return spec, got, err
}

func (m *inProcess) Models(ctx context.Context) ([]*spexv1.ModelInfo, error) {
	resp, err := ask(ctx, m, m.engine.ListModels, &spexv1.ListModelsRequest{Namespace: m.opts.Namespace})
	return resp.GetModels(), err
}

func (m *inProcess) GetModel(ctx context.Context, spec string, specVersion uint64) (info *spexv1.ModelInfo, list []*typesv1.Transition, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		info, list, err = m.engine.GetModel(ctx, m.opts.Namespace, spec, specVersion)
		return err
	})
	return info, list, err
}

func (m *inProcess) ImportModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (resp *spexv1.ImportModelResponse, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		resp, err = m.engine.ImportModel(ctx, m.opts.Namespace, spec, learning, transitions)
		return err
	})
	return resp, err
}

func (m *inProcess) ReplaceModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (resp *spexv1.ImportModelResponse, err error) {
	err = m.do(ctx, func(ctx context.Context) error {
		resp, err = m.engine.ReplaceModel(ctx, m.opts.Namespace, spec, learning, transitions)
		return err
	})
	return resp, err
}

func (m *inProcess) AcceptDeviations(ctx context.Context, a Acceptance) (*spexv1.AcceptDeviationsResponse, error) {
	return ask(ctx, m, m.engine.AcceptDeviations, a.request(m.opts.Namespace))
}

func (m *inProcess) RejectDeviations(ctx context.Context, r Review) (*spexv1.RejectDeviationsResponse, error) {
	return ask(ctx, m, m.engine.RejectDeviations, r.request(m.opts.Namespace))
}

func (m *inProcess) ModelHistory(ctx context.Context, spec string, specVersion uint64, limit int) (*spexv1.ListModelHistoryResponse, error) {
	return ask(ctx, m, m.engine.ListModelHistory, historyRequest(m.opts.Namespace, spec, specVersion, limit))
}

func (m *inProcess) SealModel(ctx context.Context, spec string) (*spexv1.SealModelResponse, error) {
	return ask(ctx, m, m.engine.SealModel, &spexv1.SealModelRequest{Namespace: m.opts.Namespace, Spec: spec})
}

func (m *inProcess) LearnModel(ctx context.Context, spec string) (*spexv1.LearnModelResponse, error) {
	return ask(ctx, m, m.engine.LearnModel, &spexv1.LearnModelRequest{Namespace: m.opts.Namespace, Spec: spec})
}

func (m *inProcess) Deviations(ctx context.Context, spec string, limit int) (*spexv1.ListDeviationsResponse, error) {
	return ask(ctx, m, m.engine.ListDeviations, &spexv1.ListDeviationsRequest{
		Namespace: m.opts.Namespace, Spec: spec, Consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE, Limit: uint32(max(0, limit)),
	})
}

func (m *inProcess) ExportModels(ctx context.Context, dir string) ([]string, error) {
	return ExportModels(ctx, m, dir)
}

func (m *inProcess) Close() error {
	m.cancel()
	m.async.close()
	return m.engine.Close()
}

// ErrorFromDetail makes the Error that a server's answer with the detail would
// become, for engines; code is the gRPC status code of the answer.
func ErrorFromDetail(d *typesv1.ErrorDetail, code codes.Code) *Error {
	e := fromDetail(d)
	e.Code, e.Attempts = code, 1
	return e
}
