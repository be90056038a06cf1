package fsm

import (
	"cmp"
	"math"
	"time"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/types/known/durationpb"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// noDeadline is later than every deadline.
const noDeadline = math.MaxInt64

type deadlineKind uint8

// Timeouts come before prunes, so that one who is late for both is reported first.
const (
	timeoutDeadline deadlineKind = iota
	pruneDeadline
	deadlineKinds
)

// deadline is the last instant at which the step after ref would be in time, or
// at which an instance is too young to be pruned: only later is past it.
type deadline struct {
	at  int64
	ref StepRef
}

func (d deadline) less(o deadline) bool {
	if d.at != o.at {
		return d.at < o.at
	}
	return d.ref.Compare(o.ref) < 0
}

// deadlineGroup holds the deadlines of one kind of all instances of a
// specification version in one state, in their order. Whether these count
// depends on the model, so it changes for a whole group at once and is asked
// when a deadline is looked for: no change of a model has to touch an instance.
//
// The groups follow from the instances; snapshots leave them out.
type deadlineGroup struct {
	kind  deadlineKind
	spec  SpecKey
	state string
	// members is never empty while the group is in the index.
	members *btree.BTreeG[deadline]
}

func (g *deadlineGroup) less(o *deadlineGroup) bool {
	return cmp.Or(cmp.Compare(g.kind, o.kind), g.spec.Compare(o.spec), cmp.Compare(g.state, o.state)) < 0
}

// instanceRules is what a specification says about the time of its instances.
// It is immutable.
type instanceRules struct {
	// timeout and prune are in nanoseconds; 0 means never.
	timeout, prune int64
	// inTerminal is set when terminal states time out too.
	inTerminal bool
	prunable   typesv1.PrunableStates_Kind
	listed     map[string]bool // never iterated
}

func rulesOf(d *typesv1.Specification) *instanceRules {
	r := &instanceRules{
		timeout: nanos(d.GetTransitionTimeout()), prune: nanos(d.GetPruneTimeout()),
		inTerminal: d.GetTimeoutInTerminalStates(), prunable: d.GetPrunableStates().GetKind(), listed: map[string]bool{},
	}
	for _, state := range d.GetPrunableStates().GetStates() {
		r.listed[state] = true
	}
	return r
}

// nanos is a duration that can be added to any time, 0 for one that no machine
// will see the end of.
func nanos(d *durationpb.Duration) int64 {
	if n := int64(d.AsDuration()); n > 0 && n < maxTime {
		return n
	}
	return 0
}

// mayPrune says whether an instance in the state could be pruned by some model.
func (r *instanceRules) mayPrune(state string) bool {
	switch r.prunable {
	case typesv1.PrunableStates_KIND_ALL, typesv1.PrunableStates_KIND_TERMINAL:
		return true
	case typesv1.PrunableStates_KIND_LIST:
		return r.listed[state]
	}
	return false
}

// ended says whether instances stay in the state for good, as far as the model
// tells: it leads there and not away. While the model learns, what it has learned
// belongs to it. A state that the model does not know at all has not ended: nothing
// says that an instance that went astray is finished.
func (p *specState) ended(state string) bool {
	if p.mode == typesv1.ModelMode_MODEL_MODE_SEALED {
		return p.model.reaches(state) && !p.model.leaves(state)
	}
	return (p.model.reaches(state) || p.learned.reaches(state)) && !p.model.leaves(state) && !p.learned.leaves(state)
}

// counts says whether deadlines of instances in the state count now. Doubt is
// decided for doing nothing: in a model that is not sealed, a state from which
// nobody has gone on yet neither times out nor is pruned as a terminal one.
func (p *specState) counts(kind deadlineKind, state string) bool {
	if kind == timeoutDeadline {
		return p.rules.inTerminal || !p.ended(state)
	}
	if p.rules.prunable == typesv1.PrunableStates_KIND_TERMINAL {
		return p.mode == typesv1.ModelMode_MODEL_MODE_SEALED && p.ended(state)
	}
	return p.rules.mayPrune(state)
}

// deadlineOf returns the deadline of an instance, whether it counts now or not.
// An instance without a history has none.
func (s *Shard) deadlineOf(kind deadlineKind, inst *instance) (at int64, ok bool) {
	if inst.history.len() == 0 {
		return 0, false
	}
	rules := s.spec(inst.spec).rules
	last := inst.history.at(inst.seq).time
	switch {
	case kind == timeoutDeadline && rules.timeout > 0 && inst.timedOut != inst.seq:
		return last + rules.timeout, true
	case kind == pruneDeadline && rules.prune > 0 && rules.mayPrune(inst.state):
		return last + rules.prune, true
	}
	return 0, false
}

// over says whether a deadline of the instance counts and the time of the entry is past it.
func (s *Shard) over(kind deadlineKind, inst *instance) (at int64, over bool) {
	at, ok := s.deadlineOf(kind, inst)
	return at, ok && s.now > at && s.spec(inst.spec).counts(kind, inst.state)
}

// schedule puts the deadlines of an instance into the index, and unschedule takes
// them out: every change of the instance's last step is between the two.
func (s *Shard) schedule(key Key, inst *instance) { s.index(key, inst, s.addDeadline) }

func (s *Shard) unschedule(key Key, inst *instance) { s.index(key, inst, s.removeDeadline) }

func (s *Shard) index(key Key, inst *instance, change func(*deadlineGroup, deadline)) {
	for kind := range deadlineKinds {
		if at, ok := s.deadlineOf(kind, inst); ok {
			ref := StepRef{Key: key, Incarnation: inst.incarnation, Seq: inst.seq}
			change(&deadlineGroup{kind: kind, spec: inst.spec, state: inst.state}, deadline{at: at, ref: ref})
		}
	}
}

func (s *Shard) addDeadline(name *deadlineGroup, d deadline) {
	g, ok := s.deadlines.Get(name)
	if !ok {
		g = name
		g.members = newTree(deadline.less)
		s.deadlines.Set(g)
	}
	g.members.Set(d)
	s.soonest = min(s.soonest, d.at)
}

func (s *Shard) removeDeadline(name *deadlineGroup, d deadline) {
	g, ok := s.deadlines.Get(name)
	if !ok {
		return
	}
	if g.members.Delete(d); g.members.Len() == 0 {
		s.deadlines.Delete(g)
	}
}

// Due is an instance whose time is over, as of a moment of asking.
type Due struct {
	// Ref is its last step.
	Ref StepRef
	// Prune is set when it is to be pruned; else its timeout is to be reported.
	Prune bool
	// At is the deadline that has passed.
	At time.Time
}

// Command is what brings the shard to act on it. Apply decides anew, by the time
// of the entry: a command that comes late or twice does nothing.
func (d Due) Command() *statev1.Command {
	if d.Prune {
		return &statev1.Command{Kind: &statev1.Command_PruneInstance{PruneInstance: &statev1.PruneInstance{Step: d.Ref.Proto()}}}
	}
	return &statev1.Command{Kind: &statev1.Command_FireTimeout{FireTimeout: &statev1.FireTimeout{Step: d.Ref.Proto()}}}
}

// Due lists up to limit instances whose deadline is strictly before now, timeouts
// before prunes. When it lists none, next is the earliest deadline that is still
// to come, and zero without any; a change of an instance or of a model may bring
// an earlier one, see Soonest.
//
// It takes time in the number of pairs of specification and state that instances
// with deadlines are in, not in the number of instances.
func (s *Shard) Due(now time.Time, limit int) (due []Due, next time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, soonest := now.UnixNano(), int64(noDeadline)
	s.deadlines.Scan(func(g *deadlineGroup) bool {
		if !s.spec(g.spec).counts(g.kind, g.state) {
			return true
		}
		g.members.Scan(func(d deadline) bool {
			if len(due) == limit || d.at >= at {
				soonest = min(soonest, d.at)
				return false
			}
			due = append(due, Due{Ref: d.ref, Prune: g.kind == pruneDeadline, At: time.Unix(0, d.at)})
			return true
		})
		return len(due) < limit
	})
	if len(due) == 0 && soonest != noDeadline {
		next = time.Unix(0, soonest)
	}
	return due, next
}

// Soonest tells the earliest deadline that the last entry may have brought; ok is
// false when it brought none. It may name one that does not count, or the
// beginning of time when the entry changed which ones count.
func (s *Shard) Soonest() (at time.Time, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return time.Unix(0, s.soonest), s.soonest != noDeadline
}
