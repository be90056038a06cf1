package cluster

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard"
)

// prepare makes the machine fresh enough for a read, and says how fresh it is.
func (r *replica) prepare(ctx context.Context, c spexv1.Consistency, minIndex uint64) (*spexv1.ReadInfo, error) {
	info := &spexv1.ReadInfo{Shard: r.id, NodeId: r.node.cfg.Self.GetId()}
	if c == spexv1.Consistency_CONSISTENCY_STALE {
		if _, leading := r.group.Leading(); !leading {
			info.AgeNanos = age(r.node.cfg.Now(), r.group.Status().LastContact)
		}
	} else if _, err := r.group.ReadIndex(ctx); err != nil {
		return nil, err
	}
	if minIndex > 0 && !(broken.Enabled && broken.Is(broken.MinIndexIgnored)) {
		if err := r.group.WaitApplied(ctx, minIndex); err != nil {
			return nil, err
		}
	}
	info.Index = r.machine.Applied()
	return info, nil
}

// instance reads an instance, and makes info name the index that it is of: entries
// may have been applied since prepare, and who has seen an instance must not be shown
// an older one under the index that came with it.
func (r *replica) instance(namespace, id string, info *spexv1.ReadInfo) (*fsm.InstanceView, error) {
	v, index, ok := r.machine.InstanceAt(fsm.Key{Namespace: namespace, ID: id})
	if ok {
		info.Index = index
		return v, nil
	}
	return nil, fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "there is no instance %q in the namespace %q", id, namespace)
}

func (r *replica) serveGet(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), req.GetMinIndex())
	if err != nil {
		return nil, err
	}
	v, err := r.instance(req.GetNamespace(), req.GetId(), info)
	if err != nil {
		return nil, err
	}
	return &spexv1.GetInstanceResponse{Instance: api.Instance(r.id, v), Read: info}, nil
}

// serveHistory pages through the kept steps; the token is the next sequence
// number with the incarnation, since a page of another incarnation would not go on.
func (r *replica) serveHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), req.GetMinIndex())
	if err != nil {
		return nil, err
	}
	v, err := r.instance(req.GetNamespace(), req.GetId(), info)
	if err != nil {
		return nil, err
	}
	next := v.FirstKept
	if req.GetNewestFirst() {
		next = v.Seq
	}
	if token := req.GetPageToken(); token != "" {
		incarnation, seq, ok := parseHistoryToken(token)
		if !ok {
			return nil, badToken()
		}
		if incarnation != v.Incarnation {
			return nil, fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "the instance %q was initialised again between two pages: read its history from the beginning", req.GetId())
		}
		next = seq
		if !req.GetNewestFirst() {
			next = max(next, v.FirstKept)
		}
	}
	resp := &spexv1.GetHistoryResponse{Instance: api.Instance(r.id, v), FirstKeptSeq: v.FirstKept, Read: info}
	for len(resp.Steps) < int(req.GetPageSize()) {
		s, ok := v.Step(next)
		if !ok {
			return resp, nil
		}
		resp.Steps = append(resp.Steps, api.Step(s))
		if req.GetNewestFirst() {
			next--
		} else {
			next++
		}
	}
	if _, ok := v.Step(next); ok {
		resp.NextPageToken = historyToken(v.Incarnation, next)
	}
	return resp, nil
}

func historyToken(incarnation, seq uint64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatUint(incarnation, 36) + "." + strconv.FormatUint(seq, 36)))
}

func parseHistoryToken(token string) (incarnation, seq uint64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, 0, false
	}
	for i, b := range raw {
		if b == '.' {
			incarnation, err1 := strconv.ParseUint(string(raw[:i]), 36, 64)
			seq, err2 := strconv.ParseUint(string(raw[i+1:]), 36, 64)
			return incarnation, seq, err1 == nil && err2 == nil
		}
	}
	return 0, 0, false
}

func badToken() error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the page_token is not one that this call gave out: leave it empty to begin")
}

// serveList answers one page of this shard: the token is the id to go on after.
func (r *replica) serveList(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	info, err := r.prepare(ctx, req.GetConsistency(), 0)
	if err != nil {
		return nil, err
	}
	page, err := r.examine(ctx, req, req.GetPageToken(), int(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	resp := &spexv1.ListInstancesResponse{
		Reads: []*spexv1.ReadInfo{info}, Examined: uint64(page.Examined),
		Unevaluated: uint64(page.Unevaluated), UnevaluatedError: page.Problem,
	}
	for _, v := range page.Matched {
		resp.Instances = append(resp.Instances, api.Instance(r.id, v))
	}
	if page.More {
		resp.NextPageToken = page.Last
	}
	return resp, nil
}

// serveDeviations answers with as many as one answer holds, the most frequent
// ones first. It does not apply the limit: what is rare here may be frequent elsewhere.
func (r *replica) serveDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	if _, err := r.prepare(ctx, req.GetConsistency(), 0); err != nil {
		return nil, err
	}
	resp := &spexv1.ListDeviationsResponse{}
	for _, d := range r.machine.Deviations(req.GetNamespace(), req.GetSpec()) {
		resp.Deviations = append(resp.Deviations, api.Deviation(d))
	}
	slices.SortFunc(resp.Deviations, compareDeviations)
	boundDeviations(resp)
	return resp, nil
}

// maxAnswerBytes bounds the answers whose number of elements does not bound
// them: well below what nodes and clients take in one message.
const maxAnswerBytes = shard.MaxAppendEntries * shard.MaxEntryBytes / 2

// boundDeviations cuts off what does not fit into one answer.
func boundDeviations(resp *spexv1.ListDeviationsResponse) {
	size := 0
	for i, d := range resp.Deviations {
		// Tag and length of the element take up to 6 bytes.
		if size += proto.Size(d) + 6; size > maxAnswerBytes {
			resp.Deviations, resp.Truncated = resp.Deviations[:i], true
			return
		}
	}
}
