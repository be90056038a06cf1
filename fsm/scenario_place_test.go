package fsm

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// nodeStates are the states of nodes by the words of the scenarios.
var nodeStates = map[string]statev1.NodeState{
	"active": statev1.NodeState_NODE_STATE_ACTIVE, "draining": statev1.NodeState_NODE_STATE_DRAINING,
	"decommissioning": statev1.NodeState_NODE_STATE_DECOMMISSIONING, "removed": statev1.NodeState_NODE_STATE_REMOVED,
	"gone": statev1.NodeState_NODE_STATE_GONE, "nothing": statev1.NodeState_NODE_STATE_UNSPECIFIED,
}

func stateWord(s statev1.NodeState) string {
	for word, state := range nodeStates {
		if state == s {
			return word
		}
	}
	return s.String()
}

func stateCommand(node string, state statev1.NodeState) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_SetNodeState{SetNodeState: &statev1.SetNodeState{Node: node, State: state}}}
}

func forgetCommand(node string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ForgetNode{ForgetNode: &statev1.ForgetNode{Node: node}}}
}

func placeCommand(shard uint32, node string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_PlaceReplica{PlaceReplica: &statev1.PlaceReplica{Shard: shard, Node: node}}}
}

func unplaceCommand(shard uint32, node string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_UnplaceReplica{UnplaceReplica: &statev1.UnplaceReplica{Shard: shard, Node: node}}}
}

// placementLine reads the commands of placement; nil is none of them.
func (a args) placementLine() *statev1.Command {
	switch a.word(0) {
	case "state":
		return stateCommand(a.value("node"), nodeStates[a.word(1)])
	case "forget":
		return forgetCommand(a.value("node"))
	case "place":
		return placeCommand(uint32(a.number("shard")), a.value("node"))
	case "unplace":
		return unplaceCommand(uint32(a.number("shard")), a.value("node"))
	case "placement":
		s := &statev1.SetPlacement{}
		if v := a.value("paused"); v != "" {
			paused := v == "true"
			s.Paused = &paused
		}
		if v := a.value("dead"); v != "" {
			nanos := int64(a.duration(v))
			s.DeadAfterNanos = &nanos
		}
		if v := a.value("replicas"); v != "" {
			n := uint32(a.parse(v))
			s.Replicas = &n
		}
		return &statev1.Command{Kind: &statev1.Command_SetPlacement{SetPlacement: s}}
	}
	return nil
}

// askPlacing shows what placement goes by.
func askPlacing(a args, m *Catalog) {
	p := m.Placing()
	a.s.printf("paused=%t, dead after %s, %d replicas", p.Paused, p.DeadAfter, p.Replicas)
	var ids []string
	for id := range m.states {
		ids = append(ids, id)
	}
	for _, n := range m.Nodes() {
		if !slices.Contains(ids, n.GetId()) {
			ids = append(ids, n.GetId())
		}
	}
	slices.Sort(ids)
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf("%s %s", id, stateWord(m.NodeState(id))))
	}
	a.s.printf("  %s", strings.Join(list, ", "))
	for _, p := range m.Placements() {
		a.s.printf("  shard %d on %v", p.GetShard(), p.GetReplicas())
	}
}

// placementOf draws a command of placement.
func placementOf(rt *rapid.T, node string, shard uint32) *statev1.Command {
	switch rapid.IntRange(0, 4).Draw(rt, "placement") {
	case 0:
		return stateCommand(node, statev1.NodeState(rapid.IntRange(0, 5).Draw(rt, "state")))
	case 1:
		return forgetCommand(node)
	case 2:
		return placeCommand(shard, node)
	case 3:
		return unplaceCommand(shard, node)
	}
	paused, dead, replicas := rapid.Bool().Draw(rt, "paused"), rapid.Int64Range(-1, 1<<40).Draw(rt, "dead"), rapid.Uint32Range(0, 3).Draw(rt, "replicas")
	return &statev1.Command{Kind: &statev1.Command_SetPlacement{SetPlacement: &statev1.SetPlacement{Paused: &paused, DeadAfterNanos: &dead, Replicas: &replicas}}}
}
