package fsm

import (
	"bytes"
	"testing"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const kindJoint = typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION

// The catalog reports a joint deviation once, however often it is judged, and the
// report survives a snapshot.
func TestTheCatalogReportsJointDeviations(t *testing.T) {
	l, c := newFormed(t, 1)
	l.do(changeModeCommand(orderKey, sealing, time.Minute, 0))
	l.do(reportCommand(1, nil, &statev1.ModelAcknowledgement{Spec: orderKey.Proto(), ModeRevision: 2}))
	harmless, harmful := model.Transition{From: "new", Action: "a", To: "x"}, model.Transition{From: "new", Action: "b", To: "x"}
	for i, tr := range []model.Transition{harmless, harmful} {
		ref := StepRef{Key: Key{"default", numbered("k", i)}, Incarnation: 7, Seq: 2}
		l.do(reportCommand(1, []*statev1.OutboxItem{{Id: uint64(i + 1), Spec: orderKey.Proto(), Transition: transitionProto(tr), Deviation: &statev1.Deviation{Verdict: still, First: ref.Proto()}}}))
	}
	judge := func(version uint64) {
		t.Helper()
		for i, tr := range []model.Transition{harmless, harmful} {
			j := &typesv1.JointJudgement{Verdict: still, ModelVersion: version, PendingVersion: uint64(i)}
			if tr == harmful {
				j.Verdict, j.Joint, j.With, j.Explanation = not, true, []*typesv1.Transition{transitionProto(harmless)}, "together"
			}
			if r := l.do(judgeCommand(orderKey, tr, j)).(*CatalogResult); !r.Changed {
				t.Fatalf("the judgement of %v with version %d was not taken", tr, version)
			}
		}
	}
	judge(0)
	// Another version of the model: everything is judged anew.
	l.do(&statev1.Command{Kind: &statev1.Command_AcceptDeviations{AcceptDeviations: &statev1.AcceptDeviations{
		Spec: orderKey.Proto(), Transitions: []*typesv1.Transition{{From: "x", Action: "c", To: "new"}}, Owner: "o", Reason: "r",
	}}})
	judge(1)
	restored := NewCatalog()
	if err := restored.Restore(bytes.NewReader(dump(t, c))); err != nil || hash(t, restored) != hash(t, c) {
		t.Fatalf("restore: %v", err)
	}
	for name, m := range map[string]*Catalog{"applied": c, "restored": restored} {
		p := m.Reports(0, ReportFilter{}, 10)
		if len(p.Reports) != 1 || m.LastReport() != 1 || len(p.Gaps) != 0 {
			t.Fatalf("%s: %d reports, the last %d, gaps %v; want one", name, len(p.Reports), m.LastReport(), p.Gaps)
		}
		r := p.Reports[0]
		if r.GetKind() != kindJoint || r.GetStep().GetKey().GetId() != "k1" || r.GetJoint().GetExplanation() != "together" || r.GetTransition().GetAction() != "b" {
			t.Errorf("%s: %v", name, r)
		}
	}
	if p := c.Reports(0, ReportFilter{Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_TIMEOUT}}, 10); len(p.Reports) != 0 || p.Through != 1 {
		t.Errorf("a filter lets through %v", p)
	}
}

// The setting bounds the reports of the catalog as well.
func TestReportsOfTheCatalogAreBounded(t *testing.T) {
	l, c := newFormed(t, 1)
	for range 300 {
		c.reports.add(&statev1.ReportRecord{Kind: kindJoint}, 1)
	}
	l.do(settingsCommand(&statev1.ChangeSettings{ReportRetention: ptr(uint64(100))}))
	restored := NewCatalog()
	if err := restored.Restore(bytes.NewReader(dump(t, c))); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*Catalog{"applied": c, "restored": restored} {
		p := m.Reports(0, ReportFilter{}, 1000)
		if len(p.Reports) != 100 || len(p.Gaps) != 1 || p.Gaps[0].Through != 200 || m.reports.limit() != 100 {
			t.Errorf("%s: %d reports, gaps %v", name, len(p.Reports), p.Gaps)
		}
	}
}
