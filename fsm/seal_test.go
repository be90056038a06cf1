package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestSealProperty runs a catalog with some shards, whose leaders hand over and
// follow in any order, late, twice, and with an old view of the catalog. The
// promise: a step that was acknowledged as learned is in every model that is
// sealed later, and no shard judges by a sealed model that misses it.
func TestSealProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newSealWorld(t, rt)
		for range rapid.IntRange(10, 120).Draw(rt, "moves") {
			w.move()
		}
		// At the end everybody gets through, and a seal comes to its end.
		w.catalog.do(changeModeCommand(orderKey, sealing, time.Minute, 0))
		for range 4 {
			for _, s := range w.shards {
				w.handOver(s, 1000)
				w.follow(s, w.cat)
			}
		}
		w.check()
		if st, _ := w.cat.Model(orderKey); st.Mode != sealed || len(st.Acknowledged) != len(w.shards) {
			rt.Fatalf("the seal does not end: %+v", st)
		}
		for _, s := range w.shards {
			if st, found := s.Spec(orderKey); !found || st.Mode != sealed || st.Installed && st.Learned != 0 {
				rt.Fatalf("shard %d ends as %+v", s.id, st)
			}
		}
	})
}

type sealShard struct {
	*log
	*Shard
	id   uint32
	next int
}

type sealWorld struct {
	*rapid.T
	catalog *log
	cat     *Catalog
	shards  []*sealShard
	// late holds reports that reach the catalog once more, some time later.
	late []*statev1.Command
	// old is a state of the catalog that a shard's leader may still have.
	old []byte
	// learned holds what callers were told was learned.
	learned map[model.Transition]bool
}

func newSealWorld(t *testing.T, rt *rapid.T) *sealWorld {
	w := &sealWorld{T: rt, learned: map[model.Transition]bool{}}
	shards := uint32(rapid.IntRange(1, 4).Draw(rt, "shards"))
	w.catalog, w.cat = newFormed(t, shards)
	for id := range shards {
		l, s := newShardLog(t)
		w.shards = append(w.shards, &sealShard{log: l, Shard: s, id: id + 1})
	}
	w.old = dump(t, w.cat)
	return w
}

// oldView is what the leader of a shard may still take for the catalog.
func (w *sealWorld) oldView() *Catalog {
	c := NewCatalog()
	if err := c.Restore(bytes.NewReader(w.old)); err != nil {
		w.Fatal(err)
	}
	return c
}

func (w *sealWorld) move() {
	s := w.shards[rapid.IntRange(0, len(w.shards)-1).Draw(w.T, "shard")]
	view := w.cat
	if rapid.IntRange(0, 2).Draw(w.T, "stale") == 0 {
		view = w.oldView()
	}
	switch rapid.IntRange(0, 11).Draw(w.T, "move") {
	case 0:
		w.old = dump(w.catalog, w.cat)
	case 1:
		w.catalog.entry(changeModeCommand(orderKey, sealing, time.Minute, 0))
	case 2:
		w.catalog.entry(changeModeCommand(orderKey, learning, 0, 0))
	case 3:
		w.catalog.entry(importCommand("order", inline(w.catalog, &statev1.ModelImport{Transitions: []*typesv1.Transition{transitionProto(w.transition())}})))
	case 4:
		if len(w.late) > 0 {
			w.catalog.entry(w.late[rapid.IntRange(0, len(w.late)-1).Draw(w.T, "late")])
		}
	case 5, 6:
		w.handOver(s, rapid.IntRange(1, 3).Draw(w.T, "items"))
	case 7, 8:
		w.follow(s, view)
	case 9:
		w.judge(s)
	default:
		w.use(s, view)
	}
	w.check()
}

func (w *sealWorld) transition() model.Transition {
	name := func(label string) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.T, label) }
	return model.Transition{From: name("from"), Action: name("action"), To: name("to")}
}

// use begins an instance, installing the specification if it has to, and steps.
func (w *sealWorld) use(s *sealShard, view *Catalog) {
	t := w.transition()
	key := Key{"default", numbered("k", s.next)}
	s.next++
	begin := initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1, InitialState: t.From})
	res := s.entry(begin)[0]
	if ReasonOf(asErr(res)) == typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED {
		w.install(s, view)
		res = s.entry(begin)[0]
	}
	if res.Err != nil {
		return // the leader's view was too old to install
	}
	w.told(res)
	w.told(s.entry(stepCommand(key, t.Action, t.To, &statev1.Step{}))[0])
}

// told notes a step that the caller was told is ok while the shard is learning.
func (w *sealWorld) told(res Result) {
	v := res.Value.(*StepResult)
	if v.Verdict == ok {
		w.learned[model.Transition{From: v.From, Action: v.Action, To: v.State}] = true
	}
}

func (w *sealWorld) install(s *sealShard, view *Catalog) {
	content, st, _ := view.ModelContent(orderKey, 0)
	p := inline(s, &statev1.SpecificationContent{Specification: order(), Model: content})
	s.entry(installCommand(orderKey, p, st.Mode, st.ModeRevision))
}

// handOver reports the oldest items; the acknowledgement may get lost.
func (w *sealWorld) handOver(s *sealShard, limit int) {
	items := s.Outbox(limit)
	if len(items) == 0 {
		return
	}
	report := reportCommand(s.id, items)
	w.catalog.do(report)
	w.late = append(w.late, report)
	if rapid.IntRange(0, 3).Draw(w.T, "lost") > 0 || limit == 1000 {
		s.do(ackCommand(items[len(items)-1].GetId()))
	}
}

// follow is what the leader of a shard does for one model, by its view of the
// catalog: the delta, the mode, the acknowledgement.
func (w *sealWorld) follow(s *sealShard, view *Catalog) {
	m, _ := view.Model(orderKey)
	st, known := s.Spec(orderKey)
	closing := m.Mode == sealing || m.Mode == sealed
	if !known && !closing {
		return
	}
	if st.Installed && st.ModelVersion < m.Version {
		content, _, _ := view.ModelContent(orderKey, st.ModelVersion)
		s.do(extendCommand(orderKey, inline(s, content)))
	}
	if st.ModeRevision < m.ModeRevision {
		s.do(modeCommand(orderKey, m.Mode, m.ModeRevision, m.Version))
	}
	st, _ = s.Spec(orderKey)
	if closing && st.ModeRevision == m.ModeRevision && (m.Mode == sealed || !s.Unsent(orderKey)) {
		ack := reportCommand(s.id, nil, &statev1.ModelAcknowledgement{Spec: orderKey.Proto(), ModeRevision: m.ModeRevision})
		w.catalog.do(ack)
		w.late = append(w.late, ack)
	}
}

func (w *sealWorld) judge(s *sealShard) {
	for _, c := range s.Cases(StepRef{}, 3) {
		s.do(verdictCommand(c.Ref, &typesv1.Judgement{Verdict: not, SpecVersion: 1, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion}))
	}
}

func (w *sealWorld) check() {
	if st, _ := w.cat.Model(orderKey); st.Mode == sealed {
		w.holds("the catalog", w.cat)
	}
	for _, s := range w.shards {
		st, found := s.Spec(orderKey)
		if !found || !st.Installed || st.Mode != sealed {
			continue
		}
		e, _ := s.Evidence(orderKey, st.ModelVersion, 0)
		if sealedContent := w.sealedContent(st.ModeRevision); sealedContent != nil && len(e.Model) < len(sealedContent) {
			w.Fatalf("shard %d judges by %d transitions, %d are sealed", s.id, len(e.Model), len(sealedContent))
		}
		if st.Learned != 0 {
			w.Fatalf("shard %d has %d learned transitions that its sealed model misses", s.id, st.Learned)
		}
	}
}

// sealedContent is the model of the revision, if the catalog still is at it.
func (w *sealWorld) sealedContent(revision uint64) []model.Transition {
	list, st, _ := w.cat.ModelTransitions(orderKey)
	if st.ModeRevision != revision {
		return nil
	}
	return list
}

func (w *sealWorld) holds(who string, c *Catalog) {
	list, _, _ := c.ModelTransitions(orderKey)
	for t := range w.learned {
		if _, found := slices.BinarySearchFunc(list, t, model.Compare); !found {
			w.Fatalf("%s is sealed without %s, which was learned", who, fmt.Sprint(t))
		}
	}
}

// TestLearningStopsAtTheLimit: a model whose states carry data is not learned for ever.
func TestLearningStopsAtTheLimit(t *testing.T) {
	l, s := newShardLog(t)
	c := content(order())
	c.Model.Version = 1
	const limit = 20_000
	for i := range limit - 2 {
		c.Model.Transitions = append(c.Model.Transitions, &statev1.VersionedTransition{Transition: &typesv1.Transition{From: "a", Action: "x", To: numbered("s", i)}, Version: 1})
	}
	p, chunks, err := NewPayload(c)
	if err != nil {
		t.Fatal(err)
	}
	l.stage(chunks...)
	l.do(installCommand(orderKey, p, learning, 1))
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	l.do(stepCommand(key1, "x", "y", &statev1.Step{}))
	before := body(t, s)
	l.refused(typesv1.Reason_REASON_MODEL_LIMIT, stepCommand(key1, "x", "z", &statev1.Step{RequestId: "r"}))
	l.refused(typesv1.Reason_REASON_MODEL_LIMIT, initCommand(key2, &statev1.InitInstance{Spec: "order", SpecVersion: 1, InitialState: "z", RequestId: "r"}))
	if body(t, s) != before {
		t.Error("the refused step changed the state")
	}
	l.do(initCommand(key2, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "r"})) // known, and the id was not used
}
