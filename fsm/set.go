package fsm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// versioned is a transition and the version of the set that first had it (for
// the learned set: the id of its outbox item). It is immutable, and histories
// point at its Transition so that equal steps share their strings.
type versioned struct {
	model.Transition
	version uint64
	// removed is the first version without it, 0 while the set has it.
	removed uint64
}

// transitionSet is an ordered, copy-on-write set of transitions with its older
// versions: the content at one of them is the elements up to that version, with
// those that were taken out later.
type transitionSet struct {
	tree *btree.BTreeG[*versioned]
	// gone holds what was taken out and may be asked for yet.
	gone *btree.BTreeG[*versioned]
	// byTransition finds the elements of tree, and targets counts the transitions
	// into each state. A clone has neither, and looks when it is asked: clones are
	// made to be written into snapshots.
	byTransition map[model.Transition]*versioned
	targets      map[string]int
}

// newTree makes a copy-on-write tree without locks: the machine's lock guards it.
func newTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func newTransitionSet() transitionSet {
	return transitionSet{
		tree: newTree(func(a, b *versioned) bool { return model.Compare(a.Transition, b.Transition) < 0 }),
		gone: newTree(func(a, b *versioned) bool {
			return cmp.Or(model.Compare(a.Transition, b.Transition), cmp.Compare(a.removed, b.removed)) < 0
		}),
		byTransition: map[model.Transition]*versioned{},
		targets:      map[string]int{},
	}
}

func (s transitionSet) get(t model.Transition) (*versioned, bool) {
	if s.byTransition == nil {
		return s.tree.Get(&versioned{Transition: t})
	}
	v, ok := s.byTransition[t]
	return v, ok
}

// add puts t in at the given version, unless it is there already.
func (s transitionSet) add(t model.Transition, version uint64) bool {
	if _, ok := s.get(t); ok {
		return false
	}
	v := &versioned{Transition: t, version: version}
	s.tree.Set(v)
	if s.targets != nil {
		s.byTransition[t] = v
		s.targets[t.To]++
	}
	return true
}

func (s transitionSet) remove(t model.Transition) {
	if _, ok := s.tree.Delete(&versioned{Transition: t}); !ok || s.targets == nil {
		return
	}
	delete(s.byTransition, t)
	if s.targets[t.To]--; s.targets[t.To] == 0 {
		delete(s.targets, t.To)
	}
}

func (s transitionSet) len() int { return s.tree.Len() }
func (s transitionSet) clone() transitionSet {
	return transitionSet{tree: s.tree.Copy(), gone: s.gone.Copy()}
}

// leaves reports whether a transition leads away from the state, be it back to it.
func (s transitionSet) leaves(state string) (found bool) {
	s.tree.Ascend(&versioned{Transition: model.Transition{From: state}}, func(v *versioned) bool {
		found = v.From == state
		return false
	})
	return found
}

// reaches reports whether a transition leads to the state.
func (s transitionSet) reaches(state string) (found bool) {
	if s.targets != nil {
		return s.targets[state] > 0
	}
	s.tree.Scan(func(v *versioned) bool {
		found = v.To == state
		return !found
	})
	return found
}

// through lists the elements that the set had at a version, in order.
func (s transitionSet) through(version uint64) []model.Transition {
	var list []model.Transition
	s.tree.Scan(func(v *versioned) bool {
		if v.version <= version {
			list = append(list, v.Transition)
		}
		return true
	})
	now := len(list)
	s.gone.Scan(func(v *versioned) bool {
		if v.version <= version && version < v.removed {
			list = append(list, v.Transition)
		}
		return true
	})
	if len(list) > now {
		slices.SortFunc(list, model.Compare)
	}
	return list
}

// between lists the elements above one version, up to another, for the wire.
func (s transitionSet) between(above, through uint64) []*statev1.VersionedTransition {
	var list []*statev1.VersionedTransition
	s.tree.Scan(func(v *versioned) bool {
		if v.version > above && v.version <= through {
			list = append(list, &statev1.VersionedTransition{Transition: transitionProto(v.Transition), Version: v.version})
		}
		return true
	})
	return list
}

func transitionProto(t model.Transition) *typesv1.Transition {
	return &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}
}

func transitionOf(t *typesv1.Transition) model.Transition {
	return model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
}

// SpecKey names a version of a specification.
type SpecKey struct {
	Namespace, Name string
	Version         uint64
}

// Compare orders keys by namespace, name and version.
func (k SpecKey) Compare(o SpecKey) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	if c := strings.Compare(k.Name, o.Name); c != 0 {
		return c
	}
	switch {
	case k.Version < o.Version:
		return -1
	case k.Version > o.Version:
		return 1
	}
	return 0
}

// Proto returns the form of the key that commands carry.
func (k SpecKey) Proto() *statev1.SpecKey {
	return &statev1.SpecKey{Namespace: k.Namespace, Name: k.Name, Version: k.Version}
}

// SpecKeyOf is the inverse of Proto.
func SpecKeyOf(k *statev1.SpecKey) SpecKey {
	return SpecKey{Namespace: k.GetNamespace(), Name: k.GetName(), Version: k.GetVersion()}
}

// Key names an instance identifier.
type Key struct{ Namespace, ID string }

// Compare orders keys by namespace and id, bytewise.
func (k Key) Compare(o Key) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.ID, o.ID)
}

// Proto returns the form of the key that commands carry.
func (k Key) Proto() *statev1.Key { return &statev1.Key{Namespace: k.Namespace, Id: k.ID} }

// KeyOf is the inverse of Proto.
func KeyOf(k *statev1.Key) Key { return Key{Namespace: k.GetNamespace(), ID: k.GetId()} }

// StepRef names a step for ever, since an incarnation is the log index of the
// initialisation that began it.
type StepRef struct {
	Key
	Incarnation, Seq uint64
}

// Compare orders references by key, incarnation and sequence number.
func (r StepRef) Compare(o StepRef) int {
	if c := r.Key.Compare(o.Key); c != 0 {
		return c
	}
	for _, pair := range [][2]uint64{{r.Incarnation, o.Incarnation}, {r.Seq, o.Seq}} {
		if pair[0] < pair[1] {
			return -1
		}
		if pair[0] > pair[1] {
			return 1
		}
	}
	return 0
}

// Proto returns the form of the reference that commands carry.
func (r StepRef) Proto() *statev1.StepRef {
	return &statev1.StepRef{Key: r.Key.Proto(), Incarnation: r.Incarnation, Seq: r.Seq}
}

// StepRefOf is the inverse of Proto.
func StepRefOf(r *statev1.StepRef) StepRef {
	return StepRef{Key: KeyOf(r.GetKey()), Incarnation: r.GetIncarnation(), Seq: r.GetSeq()}
}
