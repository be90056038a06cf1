package local

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// maxListedCheck is the size up to which a list of models says whether each is
// equivalent, as in the cluster.
const maxListedCheck = 2_000

// ApplySpecification makes a specification known.
func (e *engine) ApplySpecification(ctx context.Context, namespace string, s *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error) {
	if err := api.CheckNamespace(&namespace); err != nil {
		return nil, out(err)
	}
	parsed, err := spec.FromProto(s)
	if err != nil {
		return nil, out(api.Refusal(err))
	}
	resp := &spexv1.ApplySpecificationResponse{Name: parsed.Name}
	err = e.alone(ctx, func() error {
		return e.payload(toCatalog, parsed.Proto(), func(p *statev1.Payload) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_ApplySpecification{ApplySpecification: &statev1.ApplySpecification{Namespace: namespace, Name: parsed.Name, Payload: p}}}
		}, func(v any) {
			res := v.(*fsm.CatalogResult)
			resp.Version, resp.Changed, resp.CatalogIndex = res.Version, res.Changed, res.Index
		})
	})
	if err != nil {
		return nil, out(err)
	}
	if m, ok := e.catalog.Model(fsm.SpecKey{Namespace: namespace, Name: parsed.Name, Version: resp.Version}); ok {
		resp.ModelMode = m.Mode
	}
	return resp, nil
}

// spec finds a version of a specification; 0 means the newest.
func (e *engine) spec(namespace *string, field, name string, version uint64) (fsm.SpecView, error) {
	if err := api.CheckNamed(namespace, field, name); err != nil {
		return fsm.SpecView{}, err
	}
	if err := e.open(); err != nil {
		return fsm.SpecView{}, err
	}
	v, ok := e.catalog.Spec(*namespace, name, version)
	if !ok {
		return v, fsm.NoSpec(*namespace, name, version)
	}
	return v, nil
}

// GetSpecification returns a version of a specification.
func (e *engine) GetSpecification(_ context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error) {
	v, err := e.spec(&namespace, "name", name, version)
	return v.Definition, v.Key.Version, out(err)
}

// ListModels lists the models of the newest versions of the specifications.
func (e *engine) ListModels(ctx context.Context, req *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error) {
	if err := api.CheckNamespace(&req.Namespace); err != nil {
		return nil, out(err)
	}
	if err := e.open(); err != nil {
		return nil, out(err)
	}
	resp := &spexv1.ListModelsResponse{}
	for _, v := range e.catalog.Specs(req.Namespace) {
		small := v.Model.Transitions <= maxListedCheck && len(v.Definition.GetTransitions()) <= maxListedCheck
		resp.Models = append(resp.Models, e.modelInfo(ctx, v, small))
	}
	return resp, nil
}

// modelInfo is what is told about a model; check adds whether it is equivalent,
// if that is known within the budget of the judge.
func (e *engine) modelInfo(ctx context.Context, v fsm.SpecView, check bool) *spexv1.ModelInfo {
	info := api.ModelInfo(v.Model, 1)
	if !check {
		return info
	}
	var equivalent *bool
	if e.beside(ctx, v.Key, func() {
		if c := e.checker(v); c != nil {
			eq, _ := c.Equivalent()
			equivalent = &eq
		}
	}) {
		info.Equivalent = equivalent
	}
	return info
}

// beside computes something on a goroutine of its own, and says whether it came
// to an end within the budget of the judge; what f writes may be read only then.
func (e *engine) beside(ctx context.Context, about fsm.SpecKey, f func()) bool {
	done := make(chan bool, 1)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false
	}
	e.tasks.Go(func() {
		ended := false
		defer func() {
			if p := recover(); p != nil {
				e.opts.Logger.Error("a look at a model panicked", "spec", about.Name, "panic", p)
			}
			done <- ended
		}()
		f()
		ended = true
	})
	e.mu.Unlock()
	timer := time.NewTimer(e.opts.JudgeBudget)
	defer timer.Stop()
	select {
	case ended := <-done:
		return ended
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func (e *engine) checker(v fsm.SpecView) *model.Checker {
	key := modelKey{v.Key, v.Model.Version}
	if c, ok := e.cache.Checker(key); ok {
		return c
	}
	transitions, m, ok := e.catalog.ModelTransitions(v.Key)
	s, err := spec.FromProto(v.Definition)
	if !ok || err != nil || m.Version != v.Model.Version {
		return nil
	}
	return e.cache.Keep(key, model.NewChecker(s, transitions))
}

// GetModel returns a model with its transitions in order.
func (e *engine) GetModel(ctx context.Context, namespace, name string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error) {
	v, err := e.spec(&namespace, "spec", name, version)
	if err != nil {
		return nil, nil, out(err)
	}
	transitions, m, _ := e.catalog.ModelTransitions(v.Key)
	v.Model = m
	list := make([]*typesv1.Transition, len(transitions))
	for i, t := range transitions {
		list[i] = &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}
	}
	return e.modelInfo(ctx, v, true), list, nil
}

// ImportModel adds transitions to the model of the newest version of a specification.
func (e *engine) ImportModel(ctx context.Context, namespace, name string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return e.importModel(ctx, namespace, name, &statev1.ModelImport{Transitions: transitions, Learning: learning})
}

// ReplaceModel is ImportModel that takes everything else out of the model.
func (e *engine) ReplaceModel(ctx context.Context, namespace, name string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return e.importModel(ctx, namespace, name, &statev1.ModelImport{Transitions: transitions, Learning: learning, Replace: true})
}

func (e *engine) importModel(ctx context.Context, namespace, name string, content *statev1.ModelImport) (*spexv1.ImportModelResponse, error) {
	if err := api.CheckImportSize(len(content.Transitions)); err != nil {
		return nil, out(err)
	}
	for i, t := range content.Transitions {
		if err := api.CheckModelTransition(i, t); err != nil {
			return nil, out(err)
		}
	}
	v, err := e.spec(&namespace, "spec", name, 0)
	if err != nil {
		return nil, out(err)
	}
	resp := &spexv1.ImportModelResponse{}
	err = e.alone(ctx, func() error {
		err := e.payload(toCatalog, content, func(p *statev1.Payload) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_ImportModel{ImportModel: &statev1.ImportModel{Namespace: namespace, Spec: name, Payload: p}}}
		}, func(v any) {
			res := v.(*fsm.CatalogResult)
			resp.Added, resp.Removed, resp.CatalogIndex = uint32(res.Added), uint32(res.Removed), res.Index
		})
		if err != nil {
			return err
		}
		return e.sync()
	})
	if err != nil {
		return nil, out(err)
	}
	v.Model, _ = e.catalog.Model(v.Key)
	resp.Model = e.modelInfo(ctx, v, true)
	return resp, nil
}

// SealModel ends the learning of the newest version of a specification. Nothing
// is recorded meanwhile, so that the model holds all that was learned before.
func (e *engine) SealModel(ctx context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	v, index, err := e.change(ctx, req.Namespace, req.Spec, typesv1.ModelMode_MODEL_MODE_SEALING)
	if err != nil {
		return nil, out(err)
	}
	return &spexv1.SealModelResponse{Model: e.modelInfo(ctx, v, true), CatalogIndex: index}, nil
}

// LearnModel lets the newest version of a specification learn again.
func (e *engine) LearnModel(ctx context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	v, index, err := e.change(ctx, req.Namespace, req.Spec, typesv1.ModelMode_MODEL_MODE_LEARNING)
	if err != nil {
		return nil, out(err)
	}
	return &spexv1.LearnModelResponse{Model: e.modelInfo(ctx, v, true), CatalogIndex: index}, nil
}

func (e *engine) change(ctx context.Context, namespace, name string, mode typesv1.ModelMode) (v fsm.SpecView, index uint64, err error) {
	if v, err = e.spec(&namespace, "spec", name, 0); err != nil {
		return v, 0, err
	}
	err = e.alone(ctx, func() error {
		value, err := e.one(toCatalog, &statev1.Command{Kind: &statev1.Command_ChangeModelMode{ChangeModelMode: &statev1.ChangeModelMode{
			Spec: v.Key.Proto(), Mode: mode, TimeoutNanos: int64(time.Hour),
		}}})
		if err != nil {
			return err
		}
		index = value.(*fsm.CatalogResult).Index
		return e.sync()
	})
	if err != nil {
		return v, 0, err // the function may still be running
	}
	v.Model, _ = e.catalog.Model(v.Key)
	return v, index, nil
}

// ListDeviations lists the distinct deviating transitions, the most frequent first.
func (e *engine) ListDeviations(_ context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	if err := api.CheckDeviations(req); err != nil {
		return nil, out(err)
	}
	if err := e.open(); err != nil {
		return nil, out(err)
	}
	resp := &spexv1.ListDeviationsResponse{}
	for _, d := range e.shard.Deviations(req.Namespace, req.Spec) {
		m := api.Deviation(d)
		api.Note(e.catalog, d.Spec, m)
		resp.Deviations = append(resp.Deviations, m)
	}
	// The machine lists them by transition; that order holds among equals.
	slices.SortStableFunc(resp.Deviations, func(a, b *spexv1.DeviationInfo) int { return -cmp.Compare(a.GetCount(), b.GetCount()) })
	if limit := int(req.Limit); len(resp.Deviations) > limit {
		resp.Deviations, resp.Truncated = resp.Deviations[:limit], true
	}
	return resp, nil
}
