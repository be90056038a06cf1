package cluster

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

const (
	// sealTimeout is how long the shards have to hand over, unless the caller's
	// deadline is earlier.
	sealTimeout = time.Minute
	// maxListedCheck is the size up to which a list of models says whether each
	// is equivalent: larger ones would hold up the list.
	maxListedCheck = 2_000
)

// ApplySpecification makes a specification known to the cluster.
func (n *Node) ApplySpecification(ctx context.Context, namespace string, s *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error) {
	res, err := n.catalog.proposePayload(ctx, s, func(p *statev1.Payload) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_ApplySpecification{ApplySpecification: &statev1.ApplySpecification{Namespace: namespace, Name: s.GetName(), Payload: p}}}
	})
	if err != nil {
		return nil, err
	}
	resp := &spexv1.ApplySpecificationResponse{Name: s.GetName(), Version: res.Version, Changed: res.Changed, CatalogIndex: res.Index}
	if m, ok := n.catalog.machine.Model(fsm.SpecKey{Namespace: namespace, Name: s.GetName(), Version: res.Version}); ok {
		resp.ModelMode = m.Mode
	}
	return resp, nil
}

// GetSpecification returns a version of a specification; 0 means the newest.
func (n *Node) GetSpecification(ctx context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, 0, err
	}
	v, err := n.catalog.spec(ctx, namespace, name, version)
	return v.Definition, v.Key.Version, err
}

// ListSpecifications lists the newest versions of the namespace's specifications.
func (n *Node) ListSpecifications(ctx context.Context, req *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	shards := n.catalog.machine.Cluster().Shards
	resp := &spexv1.ListSpecificationsResponse{}
	for _, v := range n.catalog.machine.Specs(req.GetNamespace()) {
		info := &spexv1.SpecificationInfo{
			Name: v.Key.Name, Version: v.Key.Version, Transitions: uint32(len(v.Definition.GetTransitions())),
			AppliedAt: timestamppb.New(v.AppliedAt), Model: api.ModelInfo(v.Model, shards),
		}
		if s, err := spec.FromProto(v.Definition); err == nil {
			info.States = uint32(len(s.States()))
		}
		resp.Specifications = append(resp.Specifications, info)
	}
	return resp, nil
}

// DeleteSpecification hides a specification from new instances.
func (n *Node) DeleteSpecification(ctx context.Context, req *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	if _, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetName(), 0); err != nil {
		return nil, err
	}
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_DeleteSpecification{DeleteSpecification: &statev1.DeleteSpecification{
		Namespace: req.GetNamespace(), Name: req.GetName(),
	}}})
	if fsm.ReasonOf(err) == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND {
		// It was there a moment ago: an earlier attempt of this call, or somebody
		// else, has deleted it since.
		return &spexv1.DeleteSpecificationResponse{CatalogIndex: n.catalog.machine.Applied()}, nil
	}
	if err != nil {
		return nil, err
	}
	return &spexv1.DeleteSpecificationResponse{CatalogIndex: res.Index}, nil
}

// ListModels lists the models of the newest versions of the namespace's specifications.
func (n *Node) ListModels(ctx context.Context, req *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	resp := &spexv1.ListModelsResponse{}
	ctx, cancel := n.checkContext(ctx)
	defer cancel()
	for _, v := range n.catalog.machine.Specs(req.GetNamespace()) {
		small := v.Model.Transitions <= maxListedCheck && len(v.Definition.GetTransitions()) <= maxListedCheck
		resp.Models = append(resp.Models, n.modelInfo(ctx, v, small))
	}
	return resp, nil
}

// checkContext bounds how long an answer waits for what has to be computed.
func (n *Node) checkContext(ctx context.Context) (context.Context, context.CancelFunc) {
	budget := n.cfg.JudgeBudget
	if deadline, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, budget)
}

// modelInfo is what is told about a model; check adds whether it is equivalent,
// if that is known before ctx ends.
func (n *Node) modelInfo(ctx context.Context, v fsm.SpecView, check bool) *spexv1.ModelInfo {
	info := api.ModelInfo(v.Model, n.catalog.machine.Cluster().Shards)
	if !check {
		return info
	}
	if c := n.checker(v); c != nil {
		done := n.judge.begin(c, v.Key, func() { c.Equivalent() })
		select {
		case <-done:
			// It is kept in the checker.
			eq, _ := c.Equivalent()
			info.Equivalent = &eq
		case <-ctx.Done():
		}
	}
	return info
}

// checkedInfo is modelInfo for one model.
func (n *Node) checkedInfo(ctx context.Context, v fsm.SpecView) *spexv1.ModelInfo {
	ctx, cancel := n.checkContext(ctx)
	defer cancel()
	return n.modelInfo(ctx, v, true)
}

func (n *Node) checker(v fsm.SpecView) *model.Checker {
	key := checkerKey{v.Key, v.Model.Version}
	if c, ok := n.judge.cache.Checker(key); ok {
		return c
	}
	transitions, m, ok := n.catalog.machine.ModelTransitions(v.Key)
	s, err := spec.FromProto(v.Definition)
	if !ok || err != nil || m.Version != v.Model.Version {
		return nil
	}
	return n.judge.cache.Keep(key, model.NewChecker(s, transitions))
}

// GetModel returns a model with its transitions in order.
func (n *Node) GetModel(ctx context.Context, namespace, name string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, nil, err
	}
	v, err := n.catalog.spec(ctx, namespace, name, version)
	if err != nil {
		return nil, nil, err
	}
	transitions, m, _ := n.catalog.machine.ModelTransitions(v.Key)
	v.Model = m
	list := make([]*typesv1.Transition, len(transitions))
	for i, t := range transitions {
		list[i] = &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}
	}
	return n.checkedInfo(ctx, v), list, nil
}

// ImportModel adds transitions to the model of the newest version of a
// specification. When the model is sealed it answers after every shard has them.
func (n *Node) ImportModel(ctx context.Context, namespace, name string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return n.importModel(ctx, namespace, name, &statev1.ModelImport{Transitions: transitions, Learning: learning})
}

// ReplaceModel is ImportModel that takes everything else out of the model.
func (n *Node) ReplaceModel(ctx context.Context, namespace, name string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return n.importModel(ctx, namespace, name, &statev1.ModelImport{Transitions: transitions, Learning: learning, Replace: true})
}

func (n *Node) importModel(ctx context.Context, namespace, name string, content *statev1.ModelImport) (*spexv1.ImportModelResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, namespace, name, 0)
	if err != nil {
		return nil, err
	}
	res, err := n.catalog.proposePayload(ctx, content, func(p *statev1.Payload) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_ImportModel{ImportModel: &statev1.ImportModel{Namespace: namespace, Spec: name, Payload: p}}}
	})
	if err != nil {
		return nil, err
	}
	m, err := n.adopted(ctx, v.Key, 0)
	if err != nil {
		return nil, err
	}
	v.Model = m
	return &spexv1.ImportModelResponse{Model: n.checkedInfo(ctx, v), Added: uint32(res.Added), Removed: uint32(res.Removed), CatalogIndex: res.Index}, nil
}

// SealModel ends the learning of the newest version of a specification, in the
// order that keeps every step that was acknowledged as learned: each shard logs
// that it learns no more and hands over what it has; when all have, the catalog
// publishes the model; when all have logged that, the answer goes out.
func (n *Node) SealModel(ctx context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetSpec(), 0)
	if err != nil {
		return nil, err
	}
	timeout := sealTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)*9/10)
	}
	res, err := n.changeMode(ctx, v.Key, typesv1.ModelMode_MODEL_MODE_SEALING, timeout)
	if err != nil {
		return nil, err
	}
	m, err := n.adopted(ctx, v.Key, res.Version)
	if err != nil {
		return nil, err
	}
	v.Model = m
	return &spexv1.SealModelResponse{Model: n.checkedInfo(ctx, v), CatalogIndex: res.Index}, nil
}

func (n *Node) changeMode(ctx context.Context, key fsm.SpecKey, mode typesv1.ModelMode, timeout time.Duration) (*fsm.CatalogResult, error) {
	return n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_ChangeModelMode{ChangeModelMode: &statev1.ChangeModelMode{
		Spec: key.Proto(), Mode: mode, TimeoutNanos: int64(timeout),
	}}})
}

// adopted waits until a model that is being sealed is sealed, and every shard
// works with the sealed model. since is the mode revision of the seal; 0 means
// that a model that is learning is fine too.
func (n *Node) adopted(ctx context.Context, key fsm.SpecKey, since uint64) (m fsm.ModelStatus, err error) {
	shards := int(n.catalog.machine.Cluster().Shards)
	err = n.catalog.await(ctx, func() (bool, error) {
		var ok bool
		if m, ok = n.catalog.machine.Model(key); !ok {
			return false, n.unavailable("the catalog has no model for version %d of %q", key.Version, key.Name)
		}
		switch m.Mode {
		case typesv1.ModelMode_MODEL_MODE_SEALED:
			return len(m.Acknowledged) == shards, nil
		case typesv1.ModelMode_MODEL_MODE_SEALING:
			return false, nil
		}
		if since != 0 && m.ModeRevision > since {
			return false, fsm.Errorf(typesv1.Reason_REASON_SEAL_ABORTED, "the model of %q was not sealed: a shard did not hand over in time, or somebody let the model learn again. `spex cluster status` shows shards without a leader; then seal again", key.Name)
		}
		return true, nil
	})
	if ctx.Err() != nil && err != nil {
		e := n.unavailable("%d of %d shards have acknowledged the %s model of %q in time: it goes on, ask again", len(m.Acknowledged), shards, modeWord(m.Mode), key.Name)
		e.NotApplied = false
		return m, e
	}
	return m, err
}

func modeWord(m typesv1.ModelMode) string {
	if m == typesv1.ModelMode_MODEL_MODE_SEALED {
		return "sealed"
	}
	return "sealing"
}

// LearnModel lets the newest version of a specification learn again. It waits a
// little for the shards to do so, and not for one that stays away: the mode is
// decided, and a step that such a shard judges meanwhile stays judged.
func (n *Node) LearnModel(ctx context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	v, err := n.catalog.spec(ctx, req.GetNamespace(), req.GetSpec(), 0)
	if err != nil {
		return nil, err
	}
	res, err := n.changeMode(ctx, v.Key, typesv1.ModelMode_MODEL_MODE_LEARNING, 0)
	if err != nil {
		return nil, err
	}
	wait, cancel := n.checkContext(ctx)
	defer cancel()
	shards := int(n.catalog.machine.Cluster().Shards)
	_ = n.catalog.await(wait, func() (bool, error) {
		v.Model, _ = n.catalog.machine.Model(v.Key)
		return v.Model.ModeRevision != res.Version || v.Model.ModeRevision == 1 || len(v.Model.Acknowledged) == shards, nil
	})
	return &spexv1.LearnModelResponse{Model: n.checkedInfo(ctx, v), CatalogIndex: res.Index}, nil
}
