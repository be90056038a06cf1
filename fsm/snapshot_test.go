package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// busyShard has something of every kind that a snapshot holds.
func busyShard(t testing.TB) (*log, *Shard) {
	l, s := newOrders(t, sealed, model.Init("new"), payStep)
	for i, key := range []Key{key1, key2} {
		l.do(initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(l.now, i), Meta: map[string]string{"b": "2", "a": "1"}}))
		l.do(stepCommand(key, "pay", "paid", &statev1.Step{RequestId: requestID(l.now, 10+i)}))
		l.do(stepCommand(key, "lose", "lost", &statev1.Step{RequestId: requestID(l.now, 20+i)}))
	}
	c := s.Cases(StepRef{}, 1)[0]
	l.do(verdictCommand(c.Ref, &typesv1.Judgement{
		Verdict: not, Reason: "ACTION_NOT_IN_SPEC", SpecVersion: c.Spec.Version, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion,
	}))
	l.do(chunkCommand(&statev1.StageChunk{UploadId: sha([]byte("whole")), Count: 2, Data: []byte("who")}))
	l.do(leadCommand(3))
	return l, s
}

// busyCatalog is the same for the catalog.
func busyCatalog(t testing.TB) (*log, *Catalog) {
	l, c := newFormed(t, 3)
	l.do(registerCommand(&statev1.Node{Id: "n2", Name: "n2", PeerAddress: "127.0.0.1:1"}))
	l.do(reportCommand(1, []*statev1.OutboxItem{
		{Id: 1, Spec: orderKey.Proto(), Transition: transitionProto(payStep)},
		{Id: 2, Spec: orderKey.Proto(), Transition: transitionProto(model.Transition{From: "x", Action: "y", To: "z"}), Deviation: &statev1.Deviation{Verdict: not, First: StepRef{Key: key1, Incarnation: 1, Seq: 2}.Proto()}},
	}))
	l.do(changeModeCommand(orderKey, sealing, time.Minute, 0))
	l.do(reportCommand(2, nil, &statev1.ModelAcknowledgement{Spec: orderKey.Proto(), ModeRevision: 2}))
	l.do(changeModeCommand(orderKey, learning, 0, 0))
	for _, kind := range []string{"accept", "reject"} {
		a := args{at: "busy", words: []string{kind, "order", "t=x/" + kind + "/z", "owner=ops", "reason=r", "expires=1h"}}
		l.do(a.reviewCommand())
	}
	return l, c
}

// TestSnapshotDamage cuts a snapshot at every byte and flips bits in every
// byte: the restore fails with ErrSnapshot, and the state stays what it was.
func TestSnapshotDamage(t *testing.T) {
	for name, make := range map[string]func() (good, target applier){
		"shard": func() (applier, applier) {
			_, good := busyShard(t)
			_, target := newOrders(t, learning)
			return good, target
		},
		"catalog": func() (applier, applier) {
			_, good := busyCatalog(t)
			_, target := newFormed(t, 1)
			return good, target
		},
	} {
		t.Run(name, func(t *testing.T) {
			good, target := make()
			data, before := dump(t, good), hash(t, target)
			refuse := func(what string, damaged []byte) {
				if err := target.Restore(bytes.NewReader(damaged)); !errors.Is(err, ErrSnapshot) {
					t.Fatalf("%s: restored with %v", what, err)
				}
			}
			for i := range data {
				refuse(fmt.Sprintf("cut at %d of %d", i, len(data)), data[:i])
				for _, bit := range []byte{1, 0x80} {
					damaged := bytes.Clone(data)
					damaged[i] ^= bit
					refuse(fmt.Sprintf("bit %#x of byte %d flipped", bit, i), damaged)
				}
			}
			refuse("with a byte more", append(bytes.Clone(data), 0))
			if hash(t, target) != before {
				t.Fatal("a restore that failed changed the state")
			}
			if err := target.Restore(bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if hash(t, target) != hash(t, good) || target.Applied() != good.Applied() {
				t.Fatal("the restored state differs")
			}
		})
	}
}

// TestSnapshotForeign: one machine's snapshot is not the other's.
func TestSnapshotForeign(t *testing.T) {
	_, s := busyShard(t)
	_, c := busyCatalog(t)
	if err := NewShard().Restore(bytes.NewReader(dump(t, c))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a shard took a catalog: %v", err)
	}
	if err := NewCatalog().Restore(bytes.NewReader(dump(t, s))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a catalog took a shard: %v", err)
	}
}

// TestPinnedSnapshot writes old views while entries are applied: a view stays
// what it was.
func TestPinnedSnapshot(t *testing.T) {
	l, s := busyShard(t)
	var work sync.WaitGroup
	defer work.Wait()
	for round := range 8 {
		want, pin := dump(t, s), s.Snapshot()
		work.Add(1)
		go func() {
			defer work.Done()
			defer pin.Release()
			for range 3 {
				var b bytes.Buffer
				if _, err := pin.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), want) {
					t.Errorf("round %d: the view changed (%v)", round, err)
				}
			}
		}()
		for i := range 100 {
			key := Key{"default", numbered("p", i%7)}
			l.entry(
				initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(l.now, 1000*round+i)}),
				stepCommand(key, "pay", "paid", &statev1.Step{}), stepCommand(key, "odd", "new", &statev1.Step{}),
				stepCommand(key1, "odd", "paid", &statev1.Step{}),
			)
			for _, c := range s.Cases(StepRef{}, 2) {
				l.do(verdictCommand(c.Ref, &typesv1.Judgement{Verdict: still, SpecVersion: 1, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion}))
			}
			if i%10 == 0 {
				l.do(deleteCommand(key, &statev1.DeleteInstance{RequestId: requestID(l.now, 500_000+1000*round+i)}))
			}
		}
	}
}

// fuzzApply applies arbitrary bytes: they are applied or refused as a whole.
func fuzzApply(t *testing.T, m applier, data []byte) {
	before := hash(t, m)
	if _, err := m.Apply(m.Applied()+1, data); err != nil && hash(t, m) != before {
		t.Fatalf("an entry that was not applied (%v) changed the state", err)
	}
	if err := m.Restore(bytes.NewReader(dump(t, m))); err != nil {
		t.Fatalf("the state after an entry cannot be restored: %v", err)
	}
}

func FuzzShardApply(f *testing.F) {
	f.Add(encode(f, base, initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}), stepCommand(key1, "pay", "paid", &statev1.Step{ExpectedSeq: 2})))
	f.Add(encode(f, base, deleteCommand(key1, &statev1.DeleteInstance{RequestId: requestID(base, 1)}), modeCommand(orderKey, sealing, 2, 0), ackCommand(3)))
	f.Add(encode(f, base, verdictCommand(StepRef{Key: key1, Incarnation: 2, Seq: 4}, &typesv1.Judgement{Verdict: still, SpecVersion: 1, ModelVersion: 1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, s := busyShard(t)
		fuzzApply(t, s, data)
	})
}

func FuzzCatalogApply(f *testing.F) {
	f.Add(encode(f, base, changeModeCommand(orderKey, learning, 0, 0), registerCommand(&statev1.Node{Id: "n3"})))
	f.Add(encode(f, base, applySpecCommand("order", inline(f, order())), importCommand("order", inline(f, &statev1.ModelImport{Learning: true}))))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, c := busyCatalog(t)
		fuzzApply(t, c, data)
	})
}

func FuzzRestore(f *testing.F) {
	_, s := busyShard(f)
	_, c := busyCatalog(f)
	f.Add(dump(f, s))
	f.Add(dump(f, c))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []applier{NewShard(), NewCatalog()} {
			if err := m.Restore(bytes.NewReader(data)); err == nil {
				hash(t, m)
			}
		}
	})
}

// BenchmarkApply applies entries of known steps. The instance with a long
// history shows that a step costs the same however many came before.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 256} {
		b.Run(fmt.Sprintf("steps=%d", size), func(b *testing.B) { benchmarkApply(b, size, 0) })
	}
	b.Run("steps=1/after=10000", func(b *testing.B) { benchmarkApply(b, 1, 10_000) })
}

func benchmarkApply(b *testing.B, size, before int) {
	l, s := newOrders(b, sealed, model.Init("new"), payStep, model.Transition{From: "paid", Action: "undo", To: "new"})
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
	steps := [2]*statev1.Command{stepCommand(key1, "pay", "paid", &statev1.Step{}), stepCommand(key1, "undo", "new", &statev1.Step{})}
	n := 0
	entry := func() []byte {
		cmds := make([]*statev1.Command, size)
		for i := range cmds {
			cmds[i] = steps[n%2]
			n++
		}
		return encode(b, l.now, cmds...)
	}
	for range before {
		l.entry(steps[n%2])
		n++
	}
	entries := [2][]byte{entry(), entry()}
	index := l.index
	for i := 0; b.Loop(); i++ {
		index++
		if _, err := s.Apply(index, entries[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshotPin is how long a snapshot holds up Apply, with 100,000 instances.
func BenchmarkSnapshotPin(b *testing.B) {
	l, s := newOrders(b, sealed, model.Init("new"))
	for i := range 1000 {
		var cmds []*statev1.Command
		for k := range 100 {
			cmds = append(cmds, initCommand(Key{"default", numbered("i", i*100+k)}, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
		}
		l.entry(cmds...)
	}
	for b.Loop() {
		s.Snapshot().Release()
	}
}
