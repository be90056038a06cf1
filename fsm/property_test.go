package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestShardProperty applies random entries to two copies, one of which is
// snapshotted and restored at random points, and holds every answer and every
// instance against the reference.
func TestShardProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range rapid.IntRange(1, 60).Draw(rt, "entries") {
			w.step()
		}
	})
}

type world struct {
	*rapid.T
	t     *testing.T
	s     *Shard
	twin  *Shard
	ref   *reference
	index uint64
	now   time.Time
	sent  []*statev1.Command
	specs []SpecKey
	ids   int
	// acked is how far the outbox was acknowledged, and handed what left it so.
	acked  uint64
	handed map[SpecKey]map[model.Transition]bool
}

func newWorld(t *testing.T, rt *rapid.T) *world {
	w := &world{T: rt, t: t, s: NewShard(), twin: NewShard(), now: base, handed: map[SpecKey]map[model.Transition]bool{}}
	w.ref = newReference(func(format string, args ...any) { rt.Fatalf("entry %d: %s", w.index, fmt.Sprintf(format, args...)) })
	for n, namespace := range []string{"a", "b"} {
		for i, name := range []string{"order", "loop"} {
			key := SpecKey{namespace, name, uint64(i + 1)}
			def := order()
			def.Name, def.HistoryLimit = name, uint32(3+i*70)
			withDeadlines(def, 2*n+i)
			mode := []typesv1.ModelMode{learning, sealed, absent}[rapid.IntRange(0, 5).Draw(rt, "mode")%3]
			w.specs = append(w.specs, key)
			w.entry(installCommand(key, inline(t, &statev1.SpecificationContent{Specification: def}), mode, 1))
			w.ref.install(key, def, mode)
		}
	}
	return w
}

// entry applies commands to both copies and checks all that can be checked.
func (w *world) entry(cmds ...*statev1.Command) []Result {
	w.index++
	data := encode(w.t, w.now, cmds...)
	results, err := w.s.Apply(w.index, data)
	again, errAgain := w.twin.Apply(w.index, data)
	if err != nil || errAgain != nil {
		w.Fatalf("entry %d: %v, %v", w.index, err, errAgain)
	}
	w.ref.begin(w.index, w.now)
	for i, res := range results {
		if got := describe(again[i]); got != describe(res) {
			w.Fatalf("entry %d, command %d: the copies answer %s and %s", w.index, i, describe(res), got)
		}
		w.ref.check(cmds[i], res)
	}
	if rapid.IntRange(0, 7).Draw(w.T, "restore") == 0 {
		w.restore()
	}
	if hash(w.t, w.s) != hash(w.t, w.twin) {
		w.Fatalf("entry %d: the copies are in different states", w.index)
	}
	return results
}

// restore brings the twin to a snapshot of itself, in place or anew.
func (w *world) restore() {
	data := dump(w.t, w.twin)
	if rapid.Bool().Draw(w.T, "anew") {
		w.twin = NewShard()
	}
	if err := w.twin.Restore(bytes.NewReader(data)); err != nil {
		w.Fatalf("entry %d: restore: %v", w.index, err)
	}
}

func (w *world) step() {
	delta := rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Minute, -time.Hour, 13 * time.Hour, 25 * time.Hour, -30 * time.Hour}).Draw(w.T, "time")
	w.now = w.now.Add(delta)
	switch rapid.IntRange(0, 11).Draw(w.T, "what") {
	case 0:
		w.extend()
	case 1:
		w.changeMode()
	case 2, 3:
		w.judge()
	case 4:
		w.acknowledge()
	case 5, 6:
		w.deadlines()
	default:
		var cmds []*statev1.Command
		for range rapid.IntRange(1, 6).Draw(w.T, "commands") {
			cmds = append(cmds, w.request())
		}
		w.sent = append(w.sent, cmds...)
		w.entry(cmds...)
	}
	w.compare()
}

// request makes a client's command, or sends an earlier one again, now and then
// with another body.
func (w *world) request() *statev1.Command {
	if n := len(w.sent); n > 0 && rapid.IntRange(0, 3).Draw(w.T, "again") == 0 {
		cmd := proto.CloneOf(w.sent[rapid.IntRange(max(0, n-40), n-1).Draw(w.T, "which")])
		if rapid.IntRange(0, 5).Draw(w.T, "changed") == 0 {
			switch kind := cmd.GetKind().(type) {
			case *statev1.Command_InitInstance:
				kind.InitInstance.InitialState = "changed"
			case *statev1.Command_Step:
				kind.Step.Action = "changed"
			case *statev1.Command_DeleteInstance:
				kind.DeleteInstance.Incarnation++
			}
		}
		return cmd
	}
	key := Key{rapid.SampledFrom([]string{"a", "b"}).Draw(w.T, "namespace"), rapid.SampledFrom([]string{"1", "2"}).Draw(w.T, "id")}
	var incarnation, seq uint64
	if id := w.ref.idents[key]; id != nil && id.live != nil && rapid.Bool().Draw(w.T, "conditions") {
		if seq = uint64(max(0, len(id.live.steps)+rapid.IntRange(-4, 2).Draw(w.T, "seq"))); rapid.Bool().Draw(w.T, "incarnation") {
			incarnation = id.incarnation - uint64(rapid.IntRange(0, 5).Draw(w.T, "older")/5)
		}
	}
	switch kind := rapid.IntRange(0, 9).Draw(w.T, "kind"); {
	case kind < 2:
		spec := rapid.SampledFrom(w.specs).Draw(w.T, "spec")
		return initCommand(key, &statev1.InitInstance{
			Spec: spec.Name, SpecVersion: spec.Version, RequestId: w.requestID(), InitialState: rapid.SampledFrom([]string{"", "", "q"}).Draw(w.T, "initial"),
			Meta: map[string]string{"k": "v", "l": ""},
		})
	case kind == 2:
		return deleteCommand(key, &statev1.DeleteInstance{RequestId: w.requestID(), Incarnation: incarnation})
	default:
		action, to := rapid.SampledFrom([]string{"x", "y"}).Draw(w.T, "action"), rapid.SampledFrom([]string{"p", "q", "new"}).Draw(w.T, "to")
		return stepCommand(key, action, to, &statev1.Step{RequestId: w.requestID(), ExpectedSeq: seq, Incarnation: incarnation, EventTime: int64(seq)})
	}
}

// requestID is new: with the time of a clock that is off by hours, or without.
func (w *world) requestID() string {
	w.ids++
	switch rapid.IntRange(0, 5).Draw(w.T, "request id") {
	case 0:
		return ""
	case 1:
		return numbered("plain-", w.ids)
	case 2:
		return requestID(w.now.Add(time.Duration(rapid.IntRange(-30, 20).Draw(w.T, "hours"))*time.Hour), w.ids)
	}
	return requestID(w.now, w.ids)
}

// extend does what the catalog does with what it was handed, and with an import.
func (w *world) extend() {
	key := rapid.SampledFrom(w.specs).Draw(w.T, "spec")
	sp := w.ref.specs[key]
	version := sp.version + 1
	list := []model.Transition{
		model.Init(rapid.SampledFrom([]string{"new", "q"}).Draw(w.T, "initial")),
		{From: rapid.SampledFrom([]string{"new", "p", "q"}).Draw(w.T, "from"), Action: "x", To: "p"},
	}
	if rapid.Bool().Draw(w.T, "learned too") {
		list = append(list, sortedTransitions(sp.learned)...)
	}
	c := &statev1.ModelContent{FromVersion: sp.version, Version: version}
	if c.Complete = rapid.IntRange(0, 3).Draw(w.T, "complete") == 0; c.Complete {
		// Something is taken out: some of what there was stays.
		c.FromVersion = 0
		for _, t := range sortedTransitions(sp.model) {
			if rapid.Bool().Draw(w.T, "stays") {
				list = append(list, t)
			}
		}
		list = model.Union(list)
	}
	for _, t := range list {
		c.Transitions = append(c.Transitions, &statev1.VersionedTransition{Transition: transitionProto(t), Version: version})
	}
	cmd := extendCommand(key, inline(w.t, c))
	var waits []model.Transition // to be handed over
	for _, item := range w.s.Outbox(1 << 20) {
		if item.GetDeviation() == nil && SpecKeyOf(item.GetSpec()) == key {
			waits = append(waits, transitionOf(item.GetTransition()))
		}
	}
	w.entry(cmd, cmd) // twice is once
	w.ref.extend(key, version, list, c.Complete)
	if c.Complete {
		// What was handed over and is not in the model has to be learned anew.
		maps.DeleteFunc(sp.learned, func(t model.Transition, _ bool) bool { return !slices.Contains(waits, t) })
	}
}

func sortedTransitions[V any](set map[model.Transition]V) []model.Transition {
	return slices.SortedFunc(maps.Keys(set), model.Compare)
}

func (w *world) changeMode() {
	key := rapid.SampledFrom(w.specs).Draw(w.T, "spec")
	sp := w.ref.specs[key]
	mode := rapid.SampledFrom([]typesv1.ModelMode{learning, sealing, sealed}).Draw(w.T, "mode")
	revision := sp.revision + uint64(rapid.IntRange(0, 2).Draw(w.T, "revision"))
	w.entry(modeCommand(key, mode, revision, sp.version+uint64(rapid.IntRange(0, 4).Draw(w.T, "needs")/4)))
}

// judge records verdicts on what awaits one, in an order of its own, twice, and
// also by versions that are not the right ones.
func (w *world) judge() {
	refs := w.ref.awaitingRefs()
	if len(refs) == 0 {
		return
	}
	var cmds []*statev1.Command
	for range rapid.IntRange(1, 6).Draw(w.T, "verdicts") {
		st := w.ref.awaiting[rapid.SampledFrom(refs).Draw(w.T, "step")]
		verdict := rapid.SampledFrom([]typesv1.Verdict{ok, still, still, not}).Draw(w.T, "verdict")
		with := rapid.SampledFrom([]typesv1.Verdict{0, still, not}).Draw(w.T, "with pending")
		cmds = append(cmds, verdictCommand(st.ref, &typesv1.Judgement{
			Verdict: verdict, WithPending: with, SpecVersion: st.spec.Version, ModelVersion: st.version,
			PendingVersion: st.before + uint64(rapid.IntRange(0, 6).Draw(w.T, "wrong")/6),
		}))
	}
	w.entry(cmds...)
}

func (w *world) acknowledge() {
	items := w.s.Outbox(100)
	if len(items) == 0 {
		return
	}
	last := rapid.IntRange(0, len(items)-1).Draw(w.T, "through")
	w.acked = items[last].GetId()
	note(w.handed, items[:last+1])
	w.entry(ackCommand(w.acked))
}

// note adds the learned transitions of the items.
func note(set map[SpecKey]map[model.Transition]bool, items []*statev1.OutboxItem) {
	for _, item := range items {
		if key := SpecKeyOf(item.GetSpec()); item.GetDeviation() == nil {
			if set[key] == nil {
				set[key] = map[model.Transition]bool{}
			}
			set[key][transitionOf(item.GetTransition())] = true
		}
	}
}

// compare holds the state against the reference.
func (w *world) compare() {
	live, awaiting := 0, map[StepRef]uint32{}
	for ref := range w.ref.awaiting {
		awaiting[StepRef{Key: ref.Key, Incarnation: ref.Incarnation}]++
	}
	for key, id := range w.ref.idents {
		v, found := w.s.Instance(key)
		if found != (id.live != nil) {
			w.Fatalf("entry %d: %v live=%t", w.index, key, found)
		}
		if !found {
			continue
		}
		live++
		w.compareInstance(id.live, v, awaiting[StepRef{Key: key, Incarnation: id.live.incarnation}])
	}
	if st := w.s.Stats(); st.Instances != live || st.Awaiting != len(w.ref.awaiting) {
		w.Fatalf("entry %d: %+v, want %d instances and %d awaiting", w.index, st, live, len(w.ref.awaiting))
	}
	w.compareDeadlines()
	unsent := map[SpecKey]map[model.Transition]bool{}
	items := w.s.Outbox(1 << 20)
	note(unsent, items)
	if len(items) > 0 && items[0].GetId() <= w.acked {
		w.Fatalf("entry %d: item %d was acknowledged", w.index, items[0].GetId())
	}
	for _, st := range w.ref.awaiting {
		sp := w.ref.specs[st.spec]
		if e, have := w.s.Evidence(st.spec, st.version, st.before); st.settled && (!have || !slices.Equal(e.Model, sp.models[st.version]) || !slices.Equal(e.Pending, sp.pendings[st.before])) {
			w.Fatalf("entry %d: %v is judged by %v, want %v and %v", w.index, st.t, e, sp.models[st.version], sp.pendings[st.before])
		}
	}
	for key, sp := range w.ref.specs {
		st, _ := w.s.Spec(key)
		e, _ := w.s.Evidence(key, sp.version, sp.pendingVersions)
		if st.Mode != sp.mode || st.ModeRevision != sp.revision || st.ModelVersion != sp.version || st.Learned != len(sp.learned) ||
			!slices.Equal(e.Model, sortedTransitions(sp.model)) || !slices.Equal(e.Pending, sortedTransitions(sp.pending)) {
			w.Fatalf("entry %d: %+v with %v, want %+v", w.index, st, e, *sp)
		}
		for t := range sp.learned {
			if !unsent[key][t] && !w.handed[key][t] {
				w.Fatalf("entry %d: %v was learned and is not handed over", w.index, t)
			}
		}
		if w.s.Unsent(key) != (len(unsent[key]) > 0) {
			w.Fatalf("entry %d: unsent=%t of %v", w.index, w.s.Unsent(key), unsent[key])
		}
		if got := len(w.s.Deviations(key.Namespace, key.Name)); got != len(sp.deviations) {
			w.Fatalf("entry %d: %d deviations, want %v", w.index, got, sp.deviations)
		}
		for _, d := range w.s.Deviations(key.Namespace, key.Name) {
			if sp.deviations[d.Transition] != d.Count {
				w.Fatalf("entry %d: %v counted %d times, not %d", w.index, d.Transition, d.Count, sp.deviations[d.Transition])
			}
		}
	}
}

func (w *world) compareInstance(in *refInstance, v *InstanceView, awaiting uint32) {
	last := in.steps[len(in.steps)-1]
	kept := max(1, len(in.steps)+1-historyLimit(w.ref.specs[in.spec].def))
	off := false
	for _, st := range in.steps {
		off = off || st.verdict == still || st.verdict == not
	}
	if v.Incarnation != in.incarnation || v.Spec != in.spec || v.Seq != uint64(len(in.steps)) || v.State != last.t.To || v.FirstKept != uint64(kept) ||
		v.OffModel != off || v.Awaiting != awaiting || v.UpdatedAt.UnixNano() != last.at || v.CreatedAt.UnixNano() != in.steps[0].at {
		w.Fatalf("entry %d: %+v is not %+v", w.index, *v, *in)
	}
	for i, st := range in.steps {
		got, found := v.Step(uint64(i + 1))
		if found != (i+1 >= kept) {
			w.Fatalf("entry %d: step %d kept=%t", w.index, i+1, found)
		}
		if found && (got.From != st.t.From || got.Action != st.t.Action || got.State != st.t.To || got.Verdict != st.verdict || got.Time.UnixNano() != st.at ||
			!got.EventTime.IsZero() && got.EventTime.UnixNano() != st.eventTime) {
			w.Fatalf("entry %d: step %d is %+v, not %+v", w.index, i+1, got, *st)
		}
	}
}
