package client

import (
	"context"
	"fmt"
	"iter"
	"slices"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Manager records the steps of instances and judges them. There are two: Dial
// makes one that talks to a cluster, and local.Open one that runs in this process.
// Both answer the same, with the same errors and the same verdicts, so that a
// program is tested with one and runs with the other.
//
// A method that another release adds is no breaking change of this package: who
// implements the interface embeds a Manager.
//
// It is safe for concurrent use.
type Manager interface {
	// Init begins an instance; see Client.Init.
	Init(ctx context.Context, spec, id string, opts ...InitOption) (*spexv1.StepResponse, error)
	// Transition records a step; see Client.Transition.
	Transition(ctx context.Context, id, action, state string, opts ...StepOption) (*spexv1.StepResponse, error)
	// InitAsync is Init without waiting for it; see Client.InitAsync.
	InitAsync(ctx context.Context, spec, id string, opts ...InitOption) error
	// TransitionAsync is Transition without waiting for it; see Client.InitAsync.
	TransitionAsync(ctx context.Context, id, action, state string, opts ...StepOption) error
	// Flush waits until everything that was handed over before has its answer.
	Flush(ctx context.Context) error

	// Get reads an instance without its history.
	Get(ctx context.Context, id string, opts ...ReadOption) (*spexv1.GetInstanceResponse, error)
	// History reads the steps of an instance that are kept. An error ends the iteration.
	History(ctx context.Context, id string, opts ...ReadOption) iter.Seq2[*spexv1.Step, error]
	// List yields the instances that match. An error ends the iteration, except
	// that a *PartialError and an *UnevaluatedError come after what could be read.
	List(ctx context.Context, filter ListFilter) iter.Seq2[*spexv1.Instance, error]
	// Delete deletes an instance; one that does not exist is not an error.
	Delete(ctx context.Context, id string, opts ...DeleteOption) (*spexv1.DeleteInstanceResponse, error)
	// DeleteMatching deletes the instances that match; see Client.DeleteMatching.
	DeleteMatching(ctx context.Context, filter DeleteFilter) (Deletion, error)
	// Mock puts an instance straight into a state, for tests; see Client.Mock.
	Mock(ctx context.Context, spec, id, state string, opts ...MockOption) (*spexv1.StepResponse, error)

	// ApplySpecification makes a specification known, or a new version of it.
	ApplySpecification(ctx context.Context, spec *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error)
	// GetSpecification reads a specification and its version; 0 asks for the newest.
	GetSpecification(ctx context.Context, name string, version uint64) (*typesv1.Specification, uint64, error)
	// Models lists the models of the newest versions of all specifications, by name.
	Models(ctx context.Context) ([]*spexv1.ModelInfo, error)
	// GetModel reads a model, its transitions sorted; version 0 asks for the newest.
	GetModel(ctx context.Context, spec string, specVersion uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error)
	// ImportModel adds transitions to the model of the newest version of a specification.
	ImportModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	// ReplaceModel is ImportModel that takes everything else out of the model.
	ReplaceModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	// SealModel ends the learning of a model.
	SealModel(ctx context.Context, spec string) (*spexv1.SealModelResponse, error)
	// LearnModel begins the learning of a model again.
	LearnModel(ctx context.Context, spec string) (*spexv1.LearnModelResponse, error)
	// Deviations reads the distinct deviating transitions of a specification; an
	// empty name means all, and limit 0 means 1,000.
	Deviations(ctx context.Context, spec string, limit int) (*spexv1.ListDeviationsResponse, error)
	// AcceptDeviations puts deviating transitions into the model; see Client.AcceptDeviations.
	AcceptDeviations(ctx context.Context, a Acceptance) (*spexv1.AcceptDeviationsResponse, error)
	// RejectDeviations notes that deviations are wrong; see Client.RejectDeviations.
	RejectDeviations(ctx context.Context, r Review) (*spexv1.RejectDeviationsResponse, error)
	// ModelHistory reads what happened to a model, newest first; see Client.ModelHistory.
	ModelHistory(ctx context.Context, spec string, specVersion uint64, limit int) (*spexv1.ListModelHistoryResponse, error)
	// ExportModels writes every model into a .spex file of a directory.
	ExportModels(ctx context.Context, dir string) ([]string, error)

	// Watch yields the reports of deviations, timeouts, and the lives of instances
	// and models while they are made: at least once each, in order for each shard.
	// Among the errors a *GapError says that reports are missing, and any other one
	// ends the iteration, as do the end of ctx and Close. See Client.Watch; in
	// process there is one shard, Close does not wait for the loop, and a manager
	// whose log cannot be written any more ends the watch.
	Watch(ctx context.Context, opts WatchOptions) iter.Seq2[Report, error]

	// Close ends the manager. What was handed over to the asynchronous forms and
	// has not begun gets ErrClosed: call Flush before.
	Close() error
}

var _ Manager = (*Client)(nil)

// Models lists the models of the newest versions of all specifications, by name.
func (c *Client) Models(ctx context.Context) ([]*spexv1.ModelInfo, error) {
	resp, err := c.ListModels(ctx)
	return resp.GetModels(), err
}

// ExportModels writes every model that has a transition or is not learning into
// dir, which is created, as one .spex file for each specification that replaces
// the one before it whole. It returns the paths in the order of the
// specifications' names. The files say "Learning mode: false", so that a model
// exported from tests and imported elsewhere checks.
func (c *Client) ExportModels(ctx context.Context, dir string) ([]string, error) {
	return ExportModels(ctx, c, dir)
}

// MockOption is an option of Mock.
type MockOption interface {
	applyMock(*spexv1.MockInstanceRequest)
}

type mockOption func(*spexv1.MockInstanceRequest)

func (f mockOption) applyMock(r *spexv1.MockInstanceRequest) { f(r) }

// WithMockMeta attaches data to a mocked instance, up to 64 keys and 8 KiB.
func WithMockMeta(meta map[string]string) MockOption {
	return mockOption(func(r *spexv1.MockInstanceRequest) { r.Meta = meta })
}

// WithMockSpecVersion mocks an instance of that version of the specification instead of the newest.
func WithMockSpecVersion(version uint64) MockOption {
	return mockOption(func(r *spexv1.MockInstanceRequest) { r.SpecVersion = version })
}

// Mock puts an instance straight into a state, for tests of programs: nothing is
// checked, no model changes, the history is empty, no timeout begins, and an
// instance of that identifier is overwritten. It counts as seq 1; the next step
// gets seq 2.
func (c *Client) Mock(ctx context.Context, spec, id, state string, opts ...MockOption) (*spexv1.StepResponse, error) {
	req := c.requests().mock(spec, id, state, opts)
	cl := call{name: "MockInstance", write: true, requestID: req.RequestId}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.MockInstanceRequest, spexv1.StepResponse] {
		return spexv1.NewInstanceServiceClient(ep.conn).MockInstance
	})
	return resp, c.opts.Handler.decide(ctx, Event{Operation: "Mock", Spec: spec, ID: id, State: state, Response: resp}, err)
}

// requests makes the requests of both managers from options.
type requests struct {
	namespace    string
	catalogIndex uint64
	newRequestID func() string
}

func (c *Client) requests() requests {
	return requests{c.opts.Namespace, c.CatalogIndex(), c.opts.NewRequestID}
}

func (r requests) init(spec, id string, opts []InitOption) initCall {
	ic := initCall{req: &spexv1.InitInstanceRequest{Namespace: r.namespace, Spec: spec, Id: id, MinCatalogIndex: r.catalogIndex}}
	for _, o := range opts {
		o.applyInit(&ic)
	}
	if ic.req.RequestId == "" {
		ic.req.RequestId = r.newRequestID()
	}
	return ic
}

func (r requests) step(id, action, state string, opts []StepOption) stepCall {
	sc := stepCall{req: &spexv1.TransitionRequest{Namespace: r.namespace, Id: id, Action: action, ToState: state}}
	for _, o := range opts {
		o.applyStep(&sc)
	}
	if sc.req.RequestId == "" {
		sc.req.RequestId = r.newRequestID()
	}
	return sc
}

func (r requests) delete(id string, opts []DeleteOption) *spexv1.DeleteInstanceRequest {
	req := &spexv1.DeleteInstanceRequest{Namespace: r.namespace, Id: id}
	for _, o := range opts {
		o.applyDelete(req)
	}
	if req.RequestId == "" {
		req.RequestId = r.newRequestID()
	}
	return req
}

func (r requests) mock(spec, id, state string, opts []MockOption) *spexv1.MockInstanceRequest {
	req := &spexv1.MockInstanceRequest{Namespace: r.namespace, Spec: spec, Id: id, State: state, MinCatalogIndex: r.catalogIndex}
	for _, o := range opts {
		o.applyMock(req)
	}
	if req.RequestId == "" {
		req.RequestId = r.newRequestID()
	}
	return req
}

// exportable says whether a model is worth a file: one that was never begun is not.
func exportable(m *spexv1.ModelInfo) bool {
	return m.GetTransitions() > 0 || m.GetMode() == typesv1.ModelMode_MODEL_MODE_SEALED
}

// ExportModels is Manager.ExportModels for any manager.
func ExportModels(ctx context.Context, m Manager, dir string) ([]string, error) {
	models, err := m.Models(ctx)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, info := range slices.DeleteFunc(models, func(i *spexv1.ModelInfo) bool { return !exportable(i) }) {
		_, transitions, err := m.GetModel(ctx, info.GetSpec(), info.GetSpecVersion())
		if err != nil {
			return paths, fmt.Errorf("client: export the model of %q: %w", info.GetSpec(), err)
		}
		path, err := writeModel(dir, info.GetSpec(), transitions)
		if err != nil {
			return paths, fmt.Errorf("client: export the model of %q: %w", info.GetSpec(), err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}
