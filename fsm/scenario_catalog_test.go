package fsm

import (
	"fmt"
	"strings"
	"testing"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// TestCatalogScenarios runs testdata/catalog: every command of the catalog
// machine, what it answers and what it refuses.
func TestCatalogScenarios(t *testing.T) {
	runScenarios(t, "testdata/catalog/*.txt", func(s *scenario) {
		m := NewCatalog()
		s.m, s.twin = m, NewCatalog()
		s.command = catalogLine
		s.ask = func(a args) { askCatalog(a, m) }
	})
}

func catalogLine(a args) *statev1.Command {
	switch a.word(0) {
	case "form":
		return &statev1.Command{Kind: &statev1.Command_FormCluster{FormCluster: a.form()}}
	case "register":
		return &statev1.Command{Kind: &statev1.Command_RegisterNode{RegisterNode: &statev1.RegisterNode{
			Node: &statev1.Node{Id: a.value("node"), PeerAddress: a.value("address")},
		}}}
	case "formed":
		return &statev1.Command{Kind: &statev1.Command_MarkShardFormed{MarkShardFormed: &statev1.MarkShardFormed{Shard: uint32(a.number("shard"))}}}
	case "apply":
		def := a.definition(a.word(1))
		switch named := a.value("named"); named {
		case "":
		case "none":
			def.Name = ""
		default:
			def.Name = named
		}
		return &statev1.Command{Kind: &statev1.Command_ApplySpecification{ApplySpecification: &statev1.ApplySpecification{
			Namespace: "default", Name: a.word(1), Payload: inline(a.s, def),
		}}}
	case "remove":
		return &statev1.Command{Kind: &statev1.Command_DeleteSpecification{DeleteSpecification: &statev1.DeleteSpecification{Namespace: "default", Name: a.word(1)}}}
	case "import":
		last := a.words[len(a.words)-1]
		i := &statev1.ModelImport{Learning: last == "learning", Replace: last == "replace"}
		for _, t := range a.transitions("t") {
			i.Transitions = append(i.Transitions, initialisation(t))
		}
		return &statev1.Command{Kind: &statev1.Command_ImportModel{ImportModel: &statev1.ImportModel{Namespace: "default", Spec: a.word(1), Payload: inline(a.s, i)}}}
	case "seal", "learn", "mode":
		c := &statev1.ChangeModelMode{Spec: a.spec(1).Proto(), IfModeRevision: a.number("rev")}
		switch a.word(0) {
		case "seal":
			c.Mode = sealing
		case "learn":
			c.Mode = learning
		default:
			c.Mode = a.mode(a.word(2))
		}
		if v := a.value("timeout"); v != "" {
			c.TimeoutNanos = int64(a.duration(v))
		}
		return &statev1.Command{Kind: &statev1.Command_ChangeModelMode{ChangeModelMode: c}}
	case "report":
		return a.report()
	case "accept", "reject", "withdraw":
		return a.reviewCommand()
	case "lead":
		return leadCommand(a.number("term"))
	}
	return a.placementLine()
}

// form reads slots=first-last:shard,... and place=n1,n2/n2,n1.
func (a args) form() *statev1.FormCluster {
	f := &statev1.FormCluster{ClusterId: a.value("id"), ClusterName: "test", Shards: uint32(a.number("shards")), Replicas: 2, FeatureLevel: 1}
	for _, part := range strings.Split(a.value("slots"), ",") {
		var r statev1.SlotRange
		if _, err := fmt.Sscanf(part, "%d-%d:%d", &r.First, &r.Last, &r.Shard); err == nil {
			f.Slots = append(f.Slots, &statev1.SlotRange{First: r.First, Last: r.Last, Shard: r.Shard})
		}
	}
	if place := a.value("place"); place != "" {
		for i, part := range strings.Split(place, "/") {
			p := &statev1.ShardPlacement{Shard: uint32(i + 1)}
			if part != "" {
				p.Replicas = strings.Split(part, ",")
			}
			f.Placements = append(f.Placements, p)
		}
	}
	if nodes := a.value("nodes"); nodes != "" {
		for _, id := range strings.Split(nodes, ",") {
			f.Nodes = append(f.Nodes, &statev1.Node{Id: id})
		}
	}
	return f
}

func initialisation(t *typesv1.Transition) *typesv1.Transition {
	if t.Action == "init" {
		t.Action = spec.Initialisation
	}
	return t
}

// report reads learned=spec:from/action/to, deviation=spec:from/action/to and
// ack=spec/revision, each any number of times.
func (a args) report() *statev1.Command {
	r := &statev1.ReportShard{Shard: uint32(a.parse(a.word(1)))}
	for _, w := range a.words[2:] {
		kind, value, _ := strings.Cut(w, "=")
		if kind == "ack" {
			name, revision, _ := strings.Cut(value, "/")
			r.Acknowledgements = append(r.Acknowledgements, &statev1.ModelAcknowledgement{
				Spec: SpecKey{"default", name, 1}.Proto(), ModeRevision: a.parse(revision),
			})
			continue
		}
		name, transition, _ := strings.Cut(value, ":")
		t := args{s: a.s, at: a.at, words: []string{"t=" + transition}}.transitions("t")
		item := &statev1.OutboxItem{Id: uint64(len(r.Items) + 1), Spec: SpecKey{"default", name, 1}.Proto(), Transition: initialisation(t[0])}
		if kind == "deviation" {
			item.Deviation = &statev1.Deviation{Verdict: not, First: StepRef{Key: key1, Incarnation: 1, Seq: 2}.Proto()}
		}
		r.Items = append(r.Items, item)
	}
	return &statev1.Command{Kind: &statev1.Command_ReportShard{ReportShard: r}}
}

func askCatalog(a args, m *Catalog) {
	s := a.s
	switch a.word(0) {
	case "cluster":
		c := m.Cluster()
		s.printf("cluster %q (%s), %d shards, %d replicas, level %d; slot 0 of shard %d, the last of %d, none of %d", c.ID, c.Name, c.Shards, c.Replicas, c.FeatureLevel,
			m.ShardOf(0), m.ShardOf(16383), m.ShardOf(16384))
		for _, p := range m.Placements() {
			s.printf("  shard %d on %v, formed=%t", p.GetShard(), p.GetReplicas(), m.Placement(p.GetShard()).GetFormed())
		}
	case "placing":
		askPlacing(a, m)
	case "nodes":
		for _, n := range m.Nodes() {
			again, _ := m.Node(n.GetId())
			s.printf("%s at %q", n.GetId(), again.GetPeerAddress())
		}
	case "specs":
		for _, v := range m.Specs("default") {
			s.printf("%s: %d transitions, %s", specText(v.Key), len(v.Definition.GetTransitions()), modeText(v.Model.Mode))
		}
	case "get":
		key := a.spec(1)
		if !strings.Contains(a.word(1), ":") {
			key.Version = 0
		}
		v, found := m.Spec(key.Namespace, key.Name, key.Version)
		s.printf("found=%t %s", found, specText(v.Key))
	case "models":
		for _, st := range m.Models() {
			deadline := ""
			if !st.SealDeadline.IsZero() {
				deadline = fmt.Sprintf(", until +%s", st.SealDeadline.Sub(base))
			}
			s.printf("%s: %s rev %d, version %d, %d transitions, %d deviations, acknowledged %v%s", specText(st.Key), modeText(st.Mode), st.ModeRevision, st.Version, st.Transitions,
				st.Deviations, st.Acknowledged, deadline)
		}
	case "content":
		c, st, found := m.ModelContent(a.spec(1), a.number("from"))
		var list []string
		for _, v := range c.GetTransitions() {
			list = append(list, fmt.Sprintf("%s@%d", v.GetTransition().GetAction(), v.GetVersion()))
		}
		s.printf("found=%t from %d to %d, rev %d: %v", found, c.GetFromVersion(), c.GetVersion(), st.ModeRevision, list)
	case "history", "review":
		askReviews(a, m)
	default:
		s.Fatalf("%s: %q is nothing that a catalog knows", a.at, a.word(0))
	}
}
