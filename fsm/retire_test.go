package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func dropCommand(key SpecKey) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_DropSpecification{DropSpecification: &statev1.DropSpecification{Spec: key.Proto()}}}
}

func retireCommand(key SpecKey) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_RetireSpecification{RetireSpecification: &statev1.RetireSpecification{Spec: key.Proto()}}}
}

func droppedCommand(shard uint32, keys ...SpecKey) *statev1.Command {
	r := &statev1.ReportShard{Shard: shard}
	for _, k := range keys {
		r.Dropped = append(r.Dropped, k.Proto())
	}
	return &statev1.Command{Kind: &statev1.Command_ReportShard{ReportShard: r}}
}

// versions makes the versions from one to another of the order specification.
func versions(l *log, from, to int) {
	for i := from; i <= to; i++ {
		def := order()
		def.Transitions = append(def.Transitions, &typesv1.Transition{From: "shipped", Action: fmt.Sprintf("a%d", i), To: "new"})
		l.do(applySpecCommand("order", inline(l, def)))
	}
}

func orderVersion(n uint64) SpecKey { return SpecKey{Namespace: "default", Name: "order", Version: n} }

func TestTheCatalogRetiresOldVersions(t *testing.T) {
	l, c := newFormed(t, 2)
	versions(l, 2, 5)
	if got := c.Retirable(10); len(got) != 0 {
		t.Fatalf("%v can be retired of five versions", got)
	}
	l.do(settingsCommand(&statev1.ChangeSettings{SpecVersions: ptr(uint64(3))}))
	want := []SpecKey{orderVersion(1), orderVersion(2)}
	if got := c.Retirable(10); !slices.Equal(got, want) || len(c.Retirable(1)) != 1 {
		t.Fatalf("%v can be retired, want %v", got, want)
	}
	if r := l.do(retireCommand(orderVersion(3))).(*CatalogResult); r.Changed {
		t.Error("a version that is to be kept is being retired")
	}
	// One that is being sealed has to wait.
	l.do(changeModeCommand(orderVersion(2), sealing, time.Minute, 0))
	if r := l.do(retireCommand(orderVersion(2))).(*CatalogResult); r.Changed || len(c.Retirable(10)) != 1 {
		t.Error("a version that is being sealed is being retired")
	}
	l.do(droppedCommand(1, orderVersion(1))) // nobody asked for it
	l.do(retireCommand(orderVersion(1)))
	if r := l.do(retireCommand(orderVersion(1))).(*CatalogResult); r.Changed {
		t.Error("it began twice")
	}
	l.do(droppedCommand(2, orderVersion(1), orderVersion(2)))
	l.do(droppedCommand(2, orderVersion(1)))
	m, ok := c.Model(orderVersion(1))
	if !ok || !m.Retiring || m.DroppedByShard(1) || !m.DroppedByShard(2) {
		t.Fatalf("the version is %+v", m)
	}
	restored := NewCatalog()
	if err := restored.Restore(bytes.NewReader(dump(t, c))); err != nil || hash(t, restored) != hash(t, c) {
		t.Fatalf("restore: %v", err)
	}
	l.do(droppedCommand(1, orderVersion(1)))
	if _, ok := c.Spec("default", "order", 1); ok {
		t.Error("the version is still there after all shards have dropped it")
	}
	if _, ok := c.Model(orderVersion(1)); ok {
		t.Error("its model is still there")
	}
	if r := l.do(retireCommand(orderVersion(1))).(*CatalogResult); r.Changed {
		t.Error("what is gone was retired again")
	}
	// Numbers are not given out again.
	versions(l, 6, 6)
	if v, _ := c.Spec("default", "order", 0); v.Key.Version != 6 {
		t.Errorf("the newest version is %d", v.Key.Version)
	}
}

// Of a specification that was deleted only the last version is kept, which is what
// keeps its numbers from being given out again.
func TestADeletedSpecificationKeepsItsLastVersion(t *testing.T) {
	l, c := newFormed(t, 1)
	versions(l, 2, 3)
	l.do(&statev1.Command{Kind: &statev1.Command_DeleteSpecification{DeleteSpecification: &statev1.DeleteSpecification{Namespace: "default", Name: "order"}}})
	want := []SpecKey{orderVersion(1), orderVersion(2)}
	if got := c.Retirable(10); !slices.Equal(got, want) {
		t.Errorf("%v can be retired, want %v", got, want)
	}
}

// A shard drops a version once nothing refers to it: no instance, no tombstone, no
// step that awaits a verdict, nothing in the outbox.
func TestAShardDropsWhatNothingRefersTo(t *testing.T) {
	l, s := newOrders(t, learning)
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(l.now, 1)}))
	drop := func(want bool, why string) {
		t.Helper()
		if can := s.Droppable(orderKey); can != want {
			t.Errorf("%s: droppable is %t", why, can)
		}
		if r := l.do(dropCommand(orderKey)).(*DropResult); r.Dropped != want {
			t.Fatalf("%s: dropped is %t", why, r.Dropped)
		}
	}
	drop(false, "an instance")
	l.do(modeCommand(orderKey, sealed, 2, 0))
	step := l.do(stepCommand(key1, "sing", "song", &statev1.Step{})).(*StepResult)
	l.do(ackCommand(s.Outbox(1)[0].GetId()))
	l.do(deleteCommand(key1, &statev1.DeleteInstance{RequestId: requestID(l.now, 2)}))
	drop(false, "a tombstone")
	l.now = l.now.Add(DedupeWindow)
	l.entry()
	if s.records.Len() != 0 {
		t.Fatal("the tombstone is still there")
	}
	drop(false, "a step without a verdict")
	l.do(verdictCommand(step.Ref, &typesv1.Judgement{Verdict: not, SpecVersion: 1}))
	drop(false, "a deviation in the outbox")
	l.do(ackCommand(s.Outbox(1)[0].GetId()))
	drop(true, "nothing")

	if st, ok := s.Spec(orderKey); !ok || !st.Dropped || st.Installed || s.Droppable(orderKey) || len(s.Deviations("default", "order")) != 0 {
		t.Errorf("what is left is %+v", st)
	}
	// Nobody brings it back, and a mode that comes late does no harm.
	l.refused(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, installCommand(orderKey, inline(t, content(order())), sealed, 3))
	l.refused(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	l.refused(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, mockCommand(key1, &statev1.MockInstance{Spec: "order", SpecVersion: 1, State: "new"}))
	l.do(modeCommand(orderKey, sealed, 3, 7))
	restored := NewShard()
	if err := restored.Restore(bytes.NewReader(dump(t, s))); err != nil || hash(t, restored) != hash(t, s) {
		t.Fatalf("restore: %v", err)
	}
	if st, _ := restored.Spec(orderKey); !st.Dropped {
		t.Error("the note is not in the snapshot")
	}
	// A version that never came to the shard leaves a note too; old notes go.
	if other := orderVersion(2); !s.Droppable(other) {
		t.Error("an unknown version cannot be dropped")
	}
	l.now = l.now.Add(DedupeWindow)
	l.do(dropCommand(orderVersion(2)))
	if _, ok := s.Spec(orderKey); ok {
		t.Error("the note of the first version is still there")
	}
	if st, _ := s.Spec(orderVersion(2)); !st.Dropped {
		t.Error("there is no note of a version that was never here")
	}
}

// What refers to a version is counted the same after a restore.
func TestUsesAreCountedAnew(t *testing.T) {
	l, s := newOrders(t, learning)
	other := SpecKey{Namespace: "default", Name: "other", Version: 1}
	def := order()
	def.Name = "other"
	l.do(installCommand(other, inline(t, content(def)), learning, 1))
	id := 0
	request := func() string { id++; return requestID(l.now, id) }
	for i, key := range []Key{key1, key2} {
		l.do(initCommand(key, &statev1.InitInstance{Spec: []string{"order", "other"}[i], SpecVersion: 1, RequestId: request()}))
		l.do(stepCommand(key, "pay", "paid", &statev1.Step{RequestId: request()}))
	}
	l.do(mockCommand(key1, &statev1.MockInstance{Spec: "other", SpecVersion: 1, State: "new"})) // changes its specification
	l.do(deleteCommand(key2, &statev1.DeleteInstance{RequestId: request()}))
	l.do(deleteCommand(Key{"default", "never"}, &statev1.DeleteInstance{RequestId: request()}))
	restored := NewShard()
	if err := restored.Restore(bytes.NewReader(dump(t, s))); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*Shard{"applied": s, "restored": restored} {
		if a, b := m.spec(orderKey).uses, m.spec(other).uses; a != 0 || b != 2 {
			t.Errorf("%s: %d and %d uses, want 0 and 2", name, a, b)
		}
	}
}

// What the catalog says against a version holds for new instances only: a request
// that was applied before gets its first answer.
func TestARefusedVersionAnswersRetries(t *testing.T) {
	l, _ := newOrders(t, learning)
	const why = "version 1 is being retired"
	refused := func(cmd *statev1.Command) {
		t.Helper()
		if err := l.refused(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, cmd); err.Message != why || !err.NotApplied {
			t.Errorf("%+v", err)
		}
	}
	begin := func(key Key, id, refused string) *statev1.Command {
		return initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: id, Refused: refused})
	}
	mock := func(key Key, id, refused string) *statev1.Command {
		return mockCommand(key, &statev1.MockInstance{Spec: "order", SpecVersion: 1, State: "new", RequestId: id, Refused: refused})
	}
	answered := func(cmd *statev1.Command) {
		t.Helper()
		if r, ok := l.do(cmd).(*StepResult); !ok || !r.Duplicate || r.State != "new" {
			t.Errorf("the retry got %+v", r)
		}
	}
	refused(begin(key1, "r1", why))
	refused(mock(key2, "r2", why))
	l.do(begin(key1, "r1", ""))
	l.do(mock(key2, "r2", ""))
	answered(begin(key1, "r1", why))
	answered(mock(key2, "r2", why))
	l.do(deleteCommand(key1, &statev1.DeleteInstance{}))
	answered(begin(key1, "r1", why))
	refused(begin(key1, "r3", why))
	refused(mock(key2, "r4", why))
}

func TestTheVersionOfANewInstance(t *testing.T) {
	l, c := newFormed(t, 1)
	want := func(name string, asked, version uint64, refused string) {
		t.Helper()
		v, why := c.VersionForNew("default", name, asked)
		if v != version || (why == "") != (refused == "") || !strings.Contains(why, refused) {
			t.Errorf("%s, version %d: got %d, %q", name, asked, v, why)
		}
	}
	versions(l, 2, 5)
	want("order", 0, 5, "")
	want("order", 1, 1, "")
	want("order", 6, 6, "there is no version 6")
	want("none", 0, 0, "there is no specification")
	l.do(settingsCommand(&statev1.ChangeSettings{SpecVersions: ptr(uint64(3))}))
	l.do(retireCommand(orderVersion(1)))
	want("order", 1, 1, "is being retired")
	want("order", 2, 2, "")
	l.do(&statev1.Command{Kind: &statev1.Command_DeleteSpecification{DeleteSpecification: &statev1.DeleteSpecification{Namespace: "default", Name: "order"}}})
	want("order", 0, 0, "there is no specification")
	want("order", 2, 2, "there is no specification")
}
