package fsm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// TestShardScenarios runs testdata/shard: every command of the shard machine,
// what it answers and what it refuses.
func TestShardScenarios(t *testing.T) {
	runScenarios(t, "testdata/shard/*.txt", func(s *scenario) {
		m := NewShard()
		s.m, s.twin = m, NewShard()
		s.command = shardLine
		s.ask = func(a args) { askShard(a, m) }
	})
}

func shardLine(a args) *statev1.Command {
	switch a.word(0) {
	case "install":
		key := a.spec(1)
		c := &statev1.SpecificationContent{Specification: a.definition(key.Name), Model: a.model()}
		if a.value("table") != "" {
			table, err := FrontierTableOf(c.Specification)
			if err != nil {
				a.s.Fatalf("%s: %v", a.at, err)
			}
			if c.FrontierTable = table; a.value("table") == "bad" {
				table.Start = 99
			}
		}
		if a.value("content") == "none" {
			c.Specification = nil
		}
		return installCommand(key, inline(a.s, c), a.mode(a.value("mode")), a.number("rev"))
	case "extend":
		return extendCommand(a.spec(1), inline(a.s, a.model()))
	case "mode":
		return modeCommand(a.spec(1), a.mode(a.word(2)), a.number("rev"), a.number("model"))
	case "init":
		spec := a.spec(2)
		c := &statev1.InitInstance{Spec: spec.Name, SpecVersion: spec.Version, InitialState: a.value("state"), RequestId: a.id(), EventTime: int64(a.number("event"))}
		for _, m := range strings.Split(a.value("meta"), ",") {
			if k, v, found := strings.Cut(m, ":"); found {
				if c.Meta == nil {
					c.Meta = map[string]string{}
				}
				c.Meta[k] = v
			}
		}
		return initCommand(a.key(1), c)
	case "step":
		return stepCommand(a.key(1), a.word(2), a.word(3), &statev1.Step{
			RequestId: a.id(), ExpectedSeq: a.number("seq"), Incarnation: a.number("inc"), EventTime: int64(a.number("event")),
		})
	case "mock":
		spec := a.spec(2)
		return mockCommand(a.key(1), &statev1.MockInstance{Spec: spec.Name, SpecVersion: spec.Version, State: a.word(3), RequestId: a.id()})
	case "delete":
		return deleteCommand(a.key(1), &statev1.DeleteInstance{RequestId: a.id(), Incarnation: a.number("inc")})
	case "fire":
		return Due{Ref: a.ref(1)}.Command()
	case "prune":
		return Due{Ref: a.ref(1), Prune: true}.Command()
	case "verdict":
		return verdictCommand(a.ref(1), a.judgement())
	case "acknowledge":
		return ackCommand(a.number("through"))
	case "lead":
		return leadCommand(a.number("term"))
	}
	return nil
}

// model reads the versioned transitions t=from/action/to of from=0 to=1.
func (a args) model() *statev1.ModelContent {
	c := &statev1.ModelContent{FromVersion: a.number("from"), Version: a.number("to")}
	for _, t := range a.transitions("t") {
		if t.Action == "init" {
			t.Action = spec.Initialisation
		}
		if c.Version == 0 {
			c.Version = 1
		}
		c.Transitions = append(c.Transitions, &statev1.VersionedTransition{Transition: t, Version: c.Version})
	}
	return c
}

// ref reads id#incarnation/seq.
func (a args) ref(i int) StepRef {
	id, rest, _ := strings.Cut(a.word(i), "#")
	incarnation, seq, _ := strings.Cut(rest, "/")
	return StepRef{Key: Key{Namespace: "default", ID: id}, Incarnation: a.parse(incarnation), Seq: a.parse(seq)}
}

func (a args) judgement() *typesv1.Judgement {
	verdicts := map[string]typesv1.Verdict{"ok": ok, "still": still, "not": not, "pending": waiting, "": 0}
	j := &typesv1.Judgement{
		Verdict: verdicts[a.word(2)], WithPending: verdicts[a.value("with")], Reason: a.value("reason"),
		SpecVersion: 1, ModelVersion: a.number("model"), PendingVersion: a.number("pending"),
	}
	if a.value("spec") != "" {
		j.SpecVersion = a.number("spec")
	}
	return j
}

func askShard(a args, m *Shard) {
	s := a.s
	switch a.word(0) {
	case "show":
		v, found := m.Instance(a.key(1))
		if !found {
			s.printf("no instance")
			return
		}
		s.printf("%s#%d of %s: seq %d, %s, created +%s, updated +%s, off=%t, awaiting %d, kept from %d, meta %v", v.Key.ID, v.Incarnation, specText(v.Spec), v.Seq, v.State,
			v.CreatedAt.Sub(base), v.UpdatedAt.Sub(base), v.OffModel, v.Awaiting, v.FirstKept, v.Meta)
		for seq := v.FirstKept; seq <= v.Seq; seq++ {
			st, _ := v.Step(seq)
			event := ""
			if !st.EventTime.IsZero() {
				event = ", event " + st.EventTime.UTC().Format(time.RFC3339Nano)
			}
			s.printf("  %d: %q --[%s]-> %q %s at +%s%s%s", st.Seq, st.From, st.Action, st.State, verdictText(st.Verdict), st.Time.Sub(base), event, judgementText(st.Judgement)+violationText(st.RunViolation))
		}
		if f, anywhere, followed := v.Frontier(); followed {
			s.printf("  followed: %v or %v, anywhere=%t%s", f.Strict, f.Weak, anywhere, violationText(v.RunViolation))
		}
	case "due":
		askDue(a, m)
	case "events":
		for _, e := range eventsOf(m) {
			s.printf("%s", e)
		}
	case "runs":
		for _, r := range m.Reports(0, ReportFilter{Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_RUN_VIOLATION}}, 100).Reports {
			s.printf("%s in %s: %s rejected=%t%s", refText(StepRefOf(r.GetStep())), r.GetState(), transitionsText([]model.Transition{transitionOf(r.GetTransition())}), r.GetRejected(),
				violationText(m.RunViolation(SpecKeyOf(r.GetSpec()), r.GetRunViolation())))
		}
	case "specs":
		for _, p := range m.Specs() {
			s.printf("%s: installed=%t, %s rev %d, model %d, learned %d", specText(p.Key), p.Installed, modeText(p.Mode), p.ModeRevision, p.ModelVersion, p.Learned)
		}
	case "evidence":
		e, found := m.Evidence(a.spec(1), a.number("model"), a.number("pending"))
		s.printf("found=%t, model %s, pending %s", found, transitionsText(e.Model), transitionsText(e.Pending))
	case "cases":
		for _, c := range m.Cases(StepRef{}, 100) {
			s.printf("%s: %s by %s, model %d, pending %d", refText(c.Ref), transitionsText([]model.Transition{c.Transition}), specText(c.Spec), c.ModelVersion, c.PendingVersion)
		}
	case "deviations":
		for _, d := range m.Deviations("default", "") {
			s.printf("%s %s %s: %d times, first %s at +%s, last %s at +%s", transitionsText([]model.Transition{d.Transition}), verdictText(d.Verdict), d.Reason, d.Count,
				refText(d.First), d.FirstAt.Sub(base), refText(d.Last), d.LastAt.Sub(base))
		}
	case "outbox":
		for _, item := range m.Outbox(100) {
			kind := "learned"
			if d := item.GetDeviation(); d != nil {
				kind = verdictText(d.GetVerdict()) + " first " + refText(StepRefOf(d.GetFirst()))
			}
			s.printf("%d: %s %s", item.GetId(), transitionsText([]model.Transition{transitionOf(item.GetTransition())}), kind)
		}
	case "unsent":
		s.printf("unsent=%t", m.Unsent(a.spec(1)))
	case "answer":
		if res, found := m.Answer(a.ref(1)); found {
			s.printf("%s", describe(Result{Value: res}))
		} else {
			s.printf("no answer")
		}
	case "stats":
		st := m.Stats()
		s.printf("%d instances, %d awaiting, %d in the outbox, %d specifications, %d identifiers, term %d", st.Instances, st.Awaiting, st.Outbox, st.Specs, m.records.Len(), m.LedTerm())
	case "list":
		list, last, more := m.List("default", a.value("spec"), a.value("state"), a.value("after"), int(a.number("limit")))
		var ids []string
		for _, v := range list {
			ids = append(ids, v.Key.ID)
		}
		s.printf("%v, last %q, more=%t", ids, last, more)
	default:
		s.Fatalf("%s: %q is nothing that a shard knows", a.at, a.word(0))
	}
}

func transitionsText(list []model.Transition) string {
	var texts []string
	for _, t := range list {
		texts = append(texts, t.From+"/"+strings.ReplaceAll(t.Action, spec.Initialisation, "init")+"/"+t.To)
	}
	slices.Sort(texts)
	return "[" + strings.Join(texts, " ") + "]"
}
