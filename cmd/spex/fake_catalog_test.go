package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

func (f *fakeCluster) GetInstance(_ context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.instances[req.GetId()]
	if in == nil {
		return nil, refusal(codes.NotFound, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q", req.GetId())
	}
	return &spexv1.GetInstanceResponse{Instance: proto.CloneOf(in.info), Read: f.readLocked(req.GetConsistency())}, nil
}

func (f *fakeCluster) readLocked(c spexv1.Consistency) *spexv1.ReadInfo {
	read := &spexv1.ReadInfo{Shard: 1, Index: f.index, NodeId: "n1-0001"}
	if c == spexv1.Consistency_CONSISTENCY_STALE {
		read.AgeNanos = 250_000_000
	}
	return read
}

// GetHistory pages by two steps, so that following the token is tested.
func (f *fakeCluster) GetHistory(_ context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.instances[req.GetId()]
	if in == nil {
		return nil, refusal(codes.NotFound, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q", req.GetId())
	}
	steps := slices.Clone(in.steps)
	if req.GetNewestFirst() {
		slices.Reverse(steps)
	}
	from := len(req.GetPageToken()) * 2
	to := min(from+2, len(steps))
	resp := &spexv1.GetHistoryResponse{Instance: proto.CloneOf(in.info), FirstKeptSeq: 1, Read: f.readLocked(req.GetConsistency())}
	for _, s := range steps[from:to] {
		resp.Steps = append(resp.Steps, proto.CloneOf(s))
	}
	if to < len(in.steps) {
		resp.NextPageToken = req.GetPageToken() + "x"
	}
	return resp, nil
}

func (f *fakeCluster) ListInstances(_ context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &spexv1.ListInstancesResponse{Failures: f.listFailures}
	if req.GetWhere() != "" {
		resp.Unevaluated, resp.UnevaluatedError = 2, "no such key: customer"
	}
	for _, id := range f.order {
		in := f.instances[id]
		if in == nil || req.GetSpec() != "" && req.GetSpec() != in.info.GetSpec() || req.GetState() != "" && req.GetState() != in.info.GetState() {
			continue
		}
		resp.Instances = append(resp.Instances, proto.CloneOf(in.info))
	}
	return resp, nil
}

// DeleteMatching knows one kind of expression, which names an id, and is
// otherwise what a cluster makes of it.
func (f *fakeCluster) DeleteMatching(_ context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := strings.CutPrefix(req.GetWhere(), "id == ")
	if !ok {
		return nil, refusal(codes.InvalidArgument, typesv1.Reason_REASON_INVALID_ARGUMENT, "where: line 1, column 1: undeclared reference to '%s'", req.GetWhere())
	}
	resp := &spexv1.DeleteMatchingResponse{Examined: uint64(len(f.instances)), Failures: f.listFailures, Unevaluated: 1, UnevaluatedError: "no such key: customer"}
	if _, ok := f.instances[strings.Trim(id, `"`)]; ok {
		resp.Matched = 1
		if !req.GetDryRun() {
			resp.Deleted = 1
			delete(f.instances, strings.Trim(id, `"`))
		}
	}
	return resp, nil
}

func (f *fakeCluster) DeleteInstance(_ context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.instances[req.GetId()]
	if in == nil {
		return &spexv1.DeleteInstanceResponse{}, nil
	}
	delete(f.instances, req.GetId())
	f.order = slices.DeleteFunc(f.order, func(id string) bool { return id == req.GetId() })
	return &spexv1.DeleteInstanceResponse{Deleted: true, Incarnation: in.info.GetIncarnation()}, nil
}

func (f *fakeCluster) ApplySpecification(stream grpc.ClientStreamingServer[spexv1.ApplySpecificationRequest, spexv1.ApplySpecificationResponse]) error {
	var data []byte
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		data = append(data, msg.GetData()...)
	}
	m := &typesv1.Specification{}
	if err := proto.Unmarshal(data, m); err != nil {
		return err
	}
	parsed, err := spec.FromProto(m)
	if err != nil {
		return refusal(codes.InvalidArgument, typesv1.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.specs[parsed.Name]
	changed := s == nil || !proto.Equal(s.spec.Proto(), m)
	if changed {
		version := uint64(1)
		var earlier []*spexv1.DeviationInfo
		if s != nil {
			version, earlier = s.version+1, slices.Concat(s.earlier, s.deviations)
		}
		s = &fakeSpec{spec: parsed, version: version, earlier: earlier, appliedAt: f.tickLocked().AsTime(), mode: typesv1.ModelMode_MODEL_MODE_LEARNING}
		f.specs[parsed.Name] = s
	}
	return stream.SendAndClose(&spexv1.ApplySpecificationResponse{
		Name: parsed.Name, Version: s.version, Changed: changed, CatalogIndex: f.index, ModelMode: s.mode})
}

func (f *fakeCluster) findLocked(name string) (*fakeSpec, error) {
	if s := f.specs[name]; s != nil {
		return s, nil
	}
	return nil, refusal(codes.NotFound, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q", name)
}

// GetSpecification sends many small pieces.
func (f *fakeCluster) GetSpecification(req *spexv1.GetSpecificationRequest, stream grpc.ServerStreamingServer[spexv1.GetSpecificationResponse]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(req.GetName())
	if err != nil {
		return err
	}
	data, err := proto.Marshal(s.spec.Proto())
	if err != nil {
		return err
	}
	version := s.version
	for piece := range slices.Chunk(data, 16) {
		if err := stream.Send(&spexv1.GetSpecificationResponse{Version: version, Data: piece}); err != nil {
			return err
		}
		version = 0
	}
	return nil
}

func (f *fakeCluster) sortedLocked() []*fakeSpec {
	var out []*fakeSpec
	for _, name := range sortedKeys(f.specs) {
		out = append(out, f.specs[name])
	}
	return out
}

func (f *fakeCluster) ListSpecifications(context.Context, *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &spexv1.ListSpecificationsResponse{}
	for _, s := range f.sortedLocked() {
		resp.Specifications = append(resp.Specifications, &spexv1.SpecificationInfo{
			Name: s.spec.Name, Version: s.version, States: uint32(len(s.spec.States())), Transitions: uint32(len(s.spec.Transitions)),
			AppliedAt: timestamppb.New(s.appliedAt), Model: s.info(),
		})
	}
	return resp, nil
}

func (f *fakeCluster) DeleteSpecification(_ context.Context, req *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.findLocked(req.GetName()); err != nil {
		return nil, err
	}
	delete(f.specs, req.GetName())
	f.tickLocked()
	return &spexv1.DeleteSpecificationResponse{CatalogIndex: f.index}, nil
}

// info tells about the model, and checks it as the server does.
func (s *fakeSpec) info() *spexv1.ModelInfo {
	equivalent, _ := model.NewChecker(s.spec, s.model).Equivalent()
	open := len(slices.DeleteFunc(slices.Clone(s.deviations), func(d *spexv1.DeviationInfo) bool { return d.GetRejection() != nil }))
	return &spexv1.ModelInfo{
		Spec: s.spec.Name, SpecVersion: s.version, Mode: s.mode, Version: s.revision,
		Transitions: uint32(len(s.model)), Deviations: uint32(open), Shards: 1, Equivalent: &equivalent,
	}
}

func (f *fakeCluster) ListModels(context.Context, *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &spexv1.ListModelsResponse{}
	for _, s := range f.sortedLocked() {
		resp.Models = append(resp.Models, s.info())
	}
	return resp, nil
}

func (f *fakeCluster) GetModel(req *spexv1.GetModelRequest, stream grpc.ServerStreamingServer[spexv1.GetModelResponse]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(req.GetSpec())
	if err != nil {
		return err
	}
	if err := stream.Send(&spexv1.GetModelResponse{Info: s.info()}); err != nil {
		return err
	}
	for _, t := range slices.SortedFunc(slices.Values(s.model), model.Compare) {
		piece := []*typesv1.Transition{{From: t.From, Action: t.Action, To: t.To}}
		if err := stream.Send(&spexv1.GetModelResponse{Transitions: piece}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeCluster) ImportModel(stream grpc.ClientStreamingServer[spexv1.ImportModelRequest, spexv1.ImportModelResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(first.GetSpec())
	if err != nil {
		return err
	}
	before := s.model
	if first.GetMode() == spexv1.ImportMode_IMPORT_MODE_REPLACE {
		s.model = nil
	}
	for msg := first; ; {
		for _, t := range msg.GetTransitions() {
			s.model = append(s.model, spec.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()})
		}
		if msg, err = stream.Recv(); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	s.model = model.Union(s.model)
	beside := func(a, b []spec.Transition) uint32 { return uint32(len(model.Union(a, b)) - len(b)) }
	f.tickLocked()
	return stream.SendAndClose(&spexv1.ImportModelResponse{
		Model: s.info(), Added: beside(s.model, before), Removed: beside(before, s.model), CatalogIndex: f.index,
	})
}

func (f *fakeCluster) setMode(name string, mode typesv1.ModelMode) (*spexv1.ModelInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.findLocked(name)
	if err != nil {
		return nil, err
	}
	f.tickLocked()
	s.mode = mode
	return s.info(), nil
}

func (f *fakeCluster) SealModel(_ context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	info, err := f.setMode(req.GetSpec(), typesv1.ModelMode_MODEL_MODE_SEALED)
	return &spexv1.SealModelResponse{Model: info}, err
}

func (f *fakeCluster) LearnModel(_ context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	info, err := f.setMode(req.GetSpec(), typesv1.ModelMode_MODEL_MODE_LEARNING)
	return &spexv1.LearnModelResponse{Model: info}, err
}

func (f *fakeCluster) ListDeviations(_ context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &spexv1.ListDeviationsResponse{Failures: f.listFailures}
	for _, s := range f.sortedLocked() {
		for _, d := range slices.Concat(s.earlier, s.deviations) {
			if req.GetSpec() == "" || req.GetSpec() == s.spec.Name {
				resp.Deviations = append(resp.Deviations, proto.CloneOf(d))
			}
		}
	}
	slices.SortStableFunc(resp.Deviations, func(a, b *spexv1.DeviationInfo) int { return int(b.GetCount()) - int(a.GetCount()) })
	if limit := int(req.GetLimit()); len(resp.Deviations) > limit {
		resp.Deviations, resp.Truncated = resp.Deviations[:limit], true
	}
	return resp, nil
}

func (f *fakeCluster) GetStatus(_ context.Context, req *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := proto.CloneOf(f.statusAnswer)
	if out == nil {
		out = healthyStatus()
	}
	f.moveLocked()
	if !req.GetStateHash() {
		for _, g := range append(out.GetShards(), out.GetCatalog()) {
			for _, r := range g.GetReplicas() {
				r.StateHash, r.StateHashIndex = "", 0
			}
		}
	}
	return out, nil
}

func (f *fakeCluster) GetVersion(context.Context, *spexv1.GetVersionRequest) (*spexv1.GetVersionResponse, error) {
	return &spexv1.GetVersionResponse{Version: "v9.8.7", FeatureLevel: 3, GoVersion: "go1.26.0"}, nil
}

// healthyStatus is a cluster of three nodes and two shards.
func healthyStatus() *spexv1.GetStatusResponse {
	out := &spexv1.GetStatusResponse{ClusterId: "c0ffee", ClusterName: "demo", NodeId: "n1-0001", FeatureLevel: 1, ReplicasAsked: 3}
	names := []string{"n1", "n2", "n3"}
	for i, name := range names {
		out.Nodes = append(out.Nodes, &spexv1.NodeStatus{
			Id: name + "-0001", Name: name, ClientAddress: "127.0.0.1:730" + name[1:], PeerAddress: "127.0.0.1:750" + name[1:],
			Gossip: "alive", Reachable: true, Version: "v1.0.0", Replicas: 2, Leaders: uint32(i % 2), CatalogVoter: true,
		})
	}
	group := func(id uint32, leader int, term, applied uint64) *spexv1.ShardStatus {
		g := &spexv1.ShardStatus{Id: id, Leader: names[leader] + "-0001", LeaderName: names[leader], Term: term, Formed: true, Instances: uint64(id) * 10, FailureTolerance: proto.Int32(1)}
		for i, name := range names {
			r := &spexv1.ReplicaStatus{NodeId: name + "-0001", NodeName: name, State: "follower", Voter: true, AppliedIndex: applied, CommitIndex: applied,
				StateHash: "5f2a", StateHashIndex: applied}
			if i == leader {
				r.State = "leader"
			}
			g.Replicas = append(g.Replicas, r)
		}
		return g
	}
	out.Catalog = group(0, 0, 2, 17)
	out.Shards = []*spexv1.ShardStatus{group(1, 1, 3, 120), group(2, 2, 2, 98)}
	return out
}
