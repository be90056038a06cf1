package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/ring"
)

func TestCheckPlacementRequests(t *testing.T) {
	yes, none, many := true, uint32(0), uint32(ring.MaxMembers+1)
	long := strings.Repeat("n", maxNodeName+1)
	for name, c := range map[string]struct {
		err  error
		want string // part of the error, none if empty
	}{
		"drain":            {CheckNodeState(&spexv1.SetNodeStateRequest{Node: "n1", State: spexv1.NodeState_NODE_STATE_DRAINING}), ""},
		"activate":         {CheckNodeState(&spexv1.SetNodeStateRequest{Node: "n1", State: spexv1.NodeState_NODE_STATE_ACTIVE}), ""},
		"no node":          {CheckNodeState(&spexv1.SetNodeStateRequest{State: spexv1.NodeState_NODE_STATE_DRAINING}), "node is missing"},
		"long node":        {CheckNodeState(&spexv1.SetNodeStateRequest{Node: long, State: spexv1.NodeState_NODE_STATE_DRAINING}), "the limit is 256"},
		"no state":         {CheckNodeState(&spexv1.SetNodeStateRequest{Node: "n1"}), "use NODE_STATE_ACTIVE"},
		"unknown state":    {CheckNodeState(&spexv1.SetNodeStateRequest{Node: "n1", State: 77}), "state is 77"},
		"pause":            {CheckPlacement(&spexv1.SetPlacementRequest{Paused: &yes}), ""},
		"nothing":          {CheckPlacement(&spexv1.SetPlacementRequest{}), "nothing is to be changed"},
		"default silence":  {CheckPlacement(&spexv1.SetPlacementRequest{DeadAfter: durationpb.New(0)}), ""},
		"least silence":    {CheckPlacement(&spexv1.SetPlacementRequest{DeadAfter: durationpb.New(fsm.MinDeadAfter)}), ""},
		"short silence":    {CheckPlacement(&spexv1.SetPlacementRequest{DeadAfter: durationpb.New(fsm.MinDeadAfter - 1)}), "dead_after is 999.999999ms"},
		"negative silence": {CheckPlacement(&spexv1.SetPlacementRequest{DeadAfter: durationpb.New(-time.Hour)}), "dead_after is -1h0m0s"},
		"invalid silence":  {CheckPlacement(&spexv1.SetPlacementRequest{DeadAfter: &durationpb.Duration{Seconds: 1, Nanos: -1}}), "dead_after"},
		"no replicas":      {CheckPlacement(&spexv1.SetPlacementRequest{Replicas: &none}), "replicas is 0"},
		"many replicas":    {CheckPlacement(&spexv1.SetPlacementRequest{Replicas: &many}), "replicas is 201"},
		"catalog":          {CheckTransfer(&spexv1.TransferLeadershipRequest{}), ""},
		"to a node":        {CheckTransfer(&spexv1.TransferLeadershipRequest{Shard: 3, Node: "n1"}), ""},
		"far shard":        {CheckTransfer(&spexv1.TransferLeadershipRequest{Shard: ring.MaxShards + 1}), "shard is 1025"},
		"to a long node":   {CheckTransfer(&spexv1.TransferLeadershipRequest{Node: long}), "the limit is 256"},
	} {
		if (c.err == nil) != (c.want == "") || c.err != nil && !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
}
