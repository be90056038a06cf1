package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// deadlines reads timeout=1h timeout-in-terminal prune=6h prunable=all|terminal|x,y timeouts=accept.
func (a args) deadlines(d *typesv1.Specification) {
	if v := a.value("timeout"); v != "" {
		d.TransitionTimeout = durationpb.New(a.duration(v))
	}
	d.TimeoutInTerminalStates = slices.Contains(a.words, "timeout-in-terminal")
	if v := a.value("prune"); v != "" {
		d.PruneTimeout = durationpb.New(a.duration(v))
	}
	switch v := a.value("prunable"); v {
	case "":
	case "all":
		d.PrunableStates = prunable(typesv1.PrunableStates_KIND_ALL)
	case "terminal":
		d.PrunableStates = prunable(typesv1.PrunableStates_KIND_TERMINAL)
	default:
		d.PrunableStates = prunable(typesv1.PrunableStates_KIND_LIST, strings.Split(v, ",")...)
	}
	if a.value("timeouts") == "accept" {
		d.ErrorPolicy = &typesv1.ErrorPolicy{TransitionTimeout: typesv1.ErrorAction_ERROR_ACTION_ACCEPT}
	}
}

func prunable(kind typesv1.PrunableStates_Kind, states ...string) *typesv1.PrunableStates {
	return &typesv1.PrunableStates{Kind: kind, States: states}
}

// askDue shows what is due at the scenario's time, and what every live instance's view says.
func askDue(a args, m *Shard) {
	due, next := m.Due(a.s.now, 100)
	for _, d := range due {
		kind := "timeout"
		if d.Prune {
			kind = "prune"
		}
		a.s.printf("%s of %s since +%s", kind, refText(d.Ref), d.At.Sub(base))
	}
	if !next.IsZero() {
		a.s.printf("next at +%s", next.Sub(base))
	}
	list, _, _ := m.List("default", "", "", "", 100)
	for _, v := range list {
		text := fmt.Sprintf("%s in %s:", v.Key.ID, v.State)
		for _, at := range []struct {
			name string
			time time.Time
		}{{"deadline", v.Deadline}, {"pruned", v.PruneAt}} {
			if !at.time.IsZero() {
				text += fmt.Sprintf(" %s +%s", at.name, at.time.Sub(base))
			}
		}
		a.s.printf("%s timed out=%t", text, v.TimedOut)
	}
}

// eventsOf lists the timeouts and prunes that a shard has reported.
func eventsOf(m *Shard) []string {
	var list []string
	for _, r := range m.Reports(0, ReportFilter{Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_TIMEOUT, typesv1.ReportKind_REPORT_KIND_PRUNED}}, 1<<20).Reports {
		t := r.GetTransition()
		list = append(list, fmt.Sprintf("%s %s in %s after %s/%s/%s at +%s, deadline +%s, rejected=%t", strings.ToLower(strings.TrimPrefix(r.GetKind().String(), "REPORT_KIND_")),
			refText(StepRefOf(r.GetStep())), r.GetState(), t.GetFrom(), t.GetAction(), t.GetTo(), time.Unix(0, r.GetTime()).Sub(base), time.Unix(0, r.GetDeadline()).Sub(base), r.GetRejected()))
	}
	return list
}

// refDue says from the promises which instances are due at now.
func (r *reference) refDue(now int64) []Due {
	var list []Due
	for key, id := range r.idents {
		in := id.live
		if in == nil {
			continue
		}
		last := in.steps[len(in.steps)-1]
		for _, prune := range []bool{false, true} {
			if at, counts := r.refDeadline(in, prune); counts && now > at {
				list = append(list, Due{Ref: StepRef{key, in.incarnation, last.ref.Seq}, Prune: prune, At: time.Unix(0, at)})
			}
		}
	}
	slices.SortFunc(list, compareDue)
	return list
}

func compareDue(a, b Due) int {
	order := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(order[a.Prune], order[b.Prune]), a.Ref.Compare(b.Ref))
}

// refDeadline is the deadline of an instance, and whether it counts by the model as it is.
func (r *reference) refDeadline(in *refInstance, prune bool) (at int64, counts bool) {
	sp := r.specs[in.spec]
	last := in.steps[len(in.steps)-1]
	ended := sp.ended(last.t.To)
	if !prune {
		d := sp.def.GetTransitionTimeout()
		return last.at + int64(d.AsDuration()), d != nil && !last.timedOut && (!ended || sp.def.GetTimeoutInTerminalStates())
	}
	d := sp.def.GetPruneTimeout()
	at = last.at + int64(d.AsDuration())
	switch p := sp.def.GetPrunableStates(); p.GetKind() {
	case typesv1.PrunableStates_KIND_ALL:
		return at, d != nil
	case typesv1.PrunableStates_KIND_TERMINAL:
		return at, d != nil && ended && sp.mode == sealed
	case typesv1.PrunableStates_KIND_LIST:
		return at, d != nil && slices.Contains(p.GetStates(), last.t.To)
	}
	return at, false
}

// ended says whether the model leads to a state and not away from it.
func (sp *refSpec) ended(state string) bool {
	to, from := false, false
	see := func(t model.Transition) {
		to, from = to || t.To == state, from || t.From == state
	}
	for t := range sp.model {
		see(t)
	}
	if sp.mode != sealed {
		for t := range sp.learned {
			see(t)
		}
	}
	return to && !from
}

// refLast finds the live instance whose last step is the one that a command names.
func (r *reference) refLast(step *statev1.StepRef) (*refIdent, *refStep) {
	ref := StepRefOf(step)
	id := r.idents[ref.Key]
	if id == nil || id.live == nil {
		return nil, nil
	}
	last := id.live.steps[len(id.live.steps)-1]
	if last.ref != ref {
		return nil, nil
	}
	return id, last
}

func (r *reference) checkFire(c *statev1.FireTimeout, res Result) {
	want := &TimeoutResult{Ref: StepRefOf(c.GetStep())}
	if id, last := r.refLast(c.GetStep()); id != nil {
		at, counts := r.refDeadline(id.live, false)
		if want.Fired = counts && r.now > at; want.Fired {
			last.timedOut = true
			r.timeouts++
		}
	}
	if v, found := res.Value.(*TimeoutResult); !found || *v != *want {
		r.fail("a timeout got %s, want %+v", describe(res), *want)
	}
}

func (r *reference) checkPrune(c *statev1.PruneInstance, res Result) {
	want := &PruneResult{Ref: StepRefOf(c.GetStep())}
	if id, _ := r.refLast(c.GetStep()); id != nil {
		at, counts := r.refDeadline(id.live, true)
		if want.Pruned = counts && r.now > at; want.Pruned {
			id.live, id.deletedAt = nil, r.now
			r.prunes++
		}
	}
	if v, found := res.Value.(*PruneResult); !found || *v != *want {
		r.fail("a prune got %s, want %+v", describe(res), *want)
	}
}

// withDeadlines gives the specifications of a world different rules.
func withDeadlines(d *typesv1.Specification, n int) {
	switch n % 4 {
	case 0:
		d.TransitionTimeout, d.PruneTimeout, d.PrunableStates = durationpb.New(time.Minute), durationpb.New(20*time.Hour), prunable(typesv1.PrunableStates_KIND_TERMINAL)
	case 1:
		d.TransitionTimeout, d.TimeoutInTerminalStates = durationpb.New(time.Second), true
		d.PruneTimeout, d.PrunableStates = durationpb.New(13*time.Hour), prunable(typesv1.PrunableStates_KIND_LIST, "q", "elsewhere")
	case 2:
		d.TransitionTimeout, d.PruneTimeout, d.PrunableStates = durationpb.New(30*time.Hour), durationpb.New(14*time.Hour), prunable(typesv1.PrunableStates_KIND_ALL)
	}
}

// deadlines does what the timers of a leader do, and what they must not: commands
// for instances that are not due, twice, and for steps that are not the last.
func (w *world) deadlines() {
	var cmds []*statev1.Command
	due, _ := w.s.Due(w.now, 3)
	for _, d := range due {
		cmds = append(cmds, d.Command())
	}
	for _, id := range w.ref.idents {
		if id.live != nil && len(cmds) < 8 {
			st := id.live.steps[len(id.live.steps)-1]
			cmds = append(cmds, Due{Ref: st.ref}.Command(), Due{Ref: st.ref, Prune: true}.Command(), Due{Ref: id.live.steps[0].ref}.Command())
		}
	}
	slices.SortFunc(cmds, func(a, b *statev1.Command) int { return cmp.Compare(a.String(), b.String()) })
	if len(cmds) > 0 {
		w.entry(append(cmds, due0(due)...)...)
	}
}

func due0(due []Due) []*statev1.Command {
	if len(due) == 0 {
		return nil
	}
	return []*statev1.Command{due[0].Command()}
}

// compareDeadlines holds the index of both copies against the reference.
func (w *world) compareDeadlines() {
	for _, now := range []time.Time{w.s.Time(), w.now.Add(time.Hour), time.Unix(0, math.MaxInt64)} {
		want := w.ref.refDue(now.UnixNano())
		for _, s := range []*Shard{w.s, w.twin} {
			got, next := s.Due(now, 1<<20)
			slices.SortFunc(got, compareDue)
			if !slices.Equal(got, want) {
				w.Fatalf("entry %d: at %v due are %v, want %v", w.index, now, got, want)
			}
			if len(want) > 0 {
				continue
			}
			// The next one is the first nanosecond at which the reference has any.
			if after := w.ref.refDue(math.MaxInt64); (len(after) > 0) == next.IsZero() {
				w.Fatalf("entry %d: next is %v, and there will be %v", w.index, next, after)
			} else if len(after) > 0 && (len(w.ref.refDue(next.UnixNano())) > 0 || len(w.ref.refDue(next.UnixNano()+1)) == 0) {
				w.Fatalf("entry %d: next is %v, but the deadlines are %v", w.index, next, after)
			}
		}
	}
	timeouts, prunes := 0, 0
	for _, e := range eventsOf(w.s) {
		if strings.HasPrefix(e, "timeout") {
			timeouts++
		} else {
			prunes++
		}
	}
	if timeouts != w.ref.timeouts || prunes != w.ref.prunes {
		w.Fatalf("entry %d: reported are %d timeouts and %d prunes, want %d and %d", w.index, timeouts, prunes, w.ref.timeouts, w.ref.prunes)
	}
}

// TestDueIsBounded: the limit holds, what is left over is due next time, and
// timeouts come before prunes.
func TestDueIsBounded(t *testing.T) {
	l, s := newShardLog(t)
	d := order()
	d.TransitionTimeout, d.PruneTimeout, d.PrunableStates = durationpb.New(time.Hour), durationpb.New(time.Minute), prunable(typesv1.PrunableStates_KIND_ALL)
	l.do(installCommand(orderKey, inline(t, content(d, model.Init("new"), payStep)), sealed, 1))
	for i := range 10 {
		l.do(initCommand(Key{"default", numbered("k", i)}, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	}
	l.now = l.now.Add(2 * time.Hour)
	due, next := s.Due(l.now, 15)
	if len(due) != 15 || !next.IsZero() || due[9].Prune || !due[10].Prune {
		t.Fatalf("due are %v, next %v", due, next)
	}
	fired := 0
	for round := range 10 {
		due, _ := s.Due(l.now, 3)
		if len(due) == 0 {
			if fired != 20 {
				t.Fatalf("%d commands had an effect", fired)
			}
			break
		}
		if round == 9 {
			t.Fatal("there is always more")
		}
		for _, d := range due {
			switch v := l.do(d.Command()).(type) {
			case *TimeoutResult:
				if v.Fired {
					fired++
				}
			case *PruneResult:
				if v.Pruned {
					fired++
				}
			}
		}
	}
	if st := s.Stats(); st.Instances != 0 || s.deadlines.Len() != 0 {
		t.Fatalf("%+v with %d groups of deadlines", st, s.deadlines.Len())
	}
}

// TestSoonest: what an entry may have made due earlier wakes the timers.
func TestSoonest(t *testing.T) {
	l, s := newShardLog(t)
	d := order()
	d.TransitionTimeout = durationpb.New(time.Hour)
	l.do(installCommand(orderKey, inline(t, content(d, model.Init("new"))), learning, 1))
	l.do(leadCommand(2))
	if at, ok := s.Soonest(); ok {
		t.Fatalf("an entry without deadlines brought %v", at)
	}
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	if at, ok := s.Soonest(); !ok || !at.Equal(base.Add(time.Hour)) {
		t.Fatalf("an initialisation brought %v, %t", at, ok)
	}
	// The state was terminal as far as anyone knew; a step of another instance shows that it is not.
	l.now = l.now.Add(2 * time.Hour)
	if due, next := s.Due(l.now, 1); len(due) != 0 || !next.IsZero() {
		t.Fatalf("due are %v, next %v", due, next)
	}
	l.do(initCommand(key2, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	l.do(stepCommand(key2, "pay", "paid", &statev1.Step{}))
	if at, ok := s.Soonest(); !ok || at.After(l.now) {
		t.Fatalf("a learned step brought %v, %t", at, ok)
	}
	if due, _ := s.Due(l.now, 10); len(due) != 1 || due[0].Ref.Key != key1 {
		t.Fatalf("due are %v", due)
	}
}

// TestLongDurations: a duration that no clock will see the end of means never.
func TestLongDurations(t *testing.T) {
	l, s := newShardLog(t)
	d := order()
	d.TransitionTimeout, d.PruneTimeout, d.PrunableStates = durationpb.New(math.MaxInt64), durationpb.New(math.MaxInt64), prunable(typesv1.PrunableStates_KIND_ALL)
	l.do(installCommand(orderKey, inline(t, content(d, model.Init("new"))), sealed, 1))
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	if due, next := s.Due(time.Unix(0, math.MaxInt64), 10); len(due) != 0 || !next.IsZero() {
		t.Fatalf("due are %v, next %v", due, next)
	}
}

// TestMocksHaveNoDeadlines: an instance without steps neither times out nor is
// pruned; its first step begins its time.
func TestMocksHaveNoDeadlines(t *testing.T) {
	l, s := newShardLog(t)
	d := order()
	d.TransitionTimeout, d.PruneTimeout, d.PrunableStates = durationpb.New(time.Hour), durationpb.New(time.Hour), prunable(typesv1.PrunableStates_KIND_ALL)
	l.do(installCommand(orderKey, inline(t, content(d, model.Init("new"), payStep)), sealed, 1))
	mock := &statev1.Command{Kind: &statev1.Command_MockInstance{MockInstance: &statev1.MockInstance{Key: key1.Proto(), Spec: "order", SpecVersion: 1, State: "new"}}}
	// In place of an instance that had deadlines.
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	l.do(mock)
	l.now = l.now.Add(100 * time.Hour)
	if due, next := s.Due(l.now, 10); len(due) != 0 || !next.IsZero() {
		t.Fatalf("due are %v, next %v", due, next)
	}
	v, _ := s.Instance(key1)
	for _, prune := range []bool{false, true} {
		l.do(Due{Ref: StepRef{Key: key1, Incarnation: v.Incarnation, Seq: v.Seq}, Prune: prune}.Command())
	}
	if v, found := s.Instance(key1); !found || v.TimedOut || !v.Deadline.IsZero() || !v.PruneAt.IsZero() || len(eventsOf(s)) != 0 {
		t.Fatalf("a mock is %+v, found=%t", v, found)
	}
	restored := NewShard()
	if err := restored.Restore(bytes.NewReader(dump(t, s))); err != nil {
		t.Fatal(err)
	}
	l.do(stepCommand(key1, "pay", "paid", &statev1.Step{}))
	if due, next := s.Due(l.now, 10); len(due) != 0 || !next.Equal(l.now.Add(time.Hour)) {
		t.Fatalf("due are %v, next %v", due, next)
	}
}

// BenchmarkDue shows that looking does not depend on the number of instances:
// they share few groups.
func BenchmarkDue(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, s := newShardLog(b)
			d := order()
			d.TransitionTimeout = durationpb.New(time.Hour)
			l.do(installCommand(orderKey, inline(b, content(d, model.Init("new"), payStep)), sealed, 1))
			var cmds []*statev1.Command
			for i := range n {
				cmds = append(cmds, initCommand(Key{"default", numbered("k", i)}, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
			}
			for batch := range slices.Chunk(cmds, 1000) {
				l.entry(batch...)
			}
			b.ResetTimer()
			for range b.N {
				s.Due(l.now, 256)
			}
		})
	}
}
