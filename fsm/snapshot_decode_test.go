package fsm

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// restoring collects the records of a shard that its quick decoder takes, and
// restores the others.
type restoring struct{ quick, generated *shardRestore }

func newRestoring() restoring {
	make := func() *shardRestore { return &shardRestore{Shard: NewShard(), strings: map[string]string{}} }
	return restoring{make(), make()}
}

// add restores a record in both ways, and reports whether the quick one took it.
func (r restoring) add(t testing.TB, raw []byte) (done bool) {
	t.Helper()
	done, err := r.quick.quick(raw)
	other := decodeRecord(raw, r.generated.apply)
	if !done {
		err = decodeRecord(raw, r.quick.apply)
	}
	if (err == nil) != (other == nil) {
		t.Fatalf("record %x: quickly %v, by the generated code %v", raw, err, other)
	}
	if err != nil {
		t.Skip("not a record of this snapshot")
	}
	return done
}

// same compares what both have restored.
func (r restoring) same(t testing.TB) {
	t.Helper()
	err, other := r.quick.finish(), r.generated.finish()
	if (err == nil) != (other == nil) {
		t.Fatalf("the end: quickly %v, by the generated code %v", err, other)
	}
	if !bytes.Equal(dump(t, r.quick.Shard), dump(t, r.generated.Shard)) {
		t.Fatal("the states differ")
	}
}

// recordsOf lists the encoded records of a machine's snapshot.
func recordsOf(t testing.TB, m applier) (list [][]byte) {
	t.Helper()
	err := readSnapshot(bytes.NewReader(dump(t, m)), func(raw []byte) error {
		list = append(list, bytes.Clone(raw))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// variedShard has instances of every shape that the quick decoder must tell apart.
func variedShard(t testing.TB) *Shard {
	l, s := busyShard(t)
	key := func(n int) Key { return Key{"default", numbered("plain-", n)} }
	for n := range 3 {
		l.do(initCommand(key(n), &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(l.now, 100+n), EventTime: 7}))
		l.do(stepCommand(key(n), "pay", "paid", &statev1.Step{RequestId: requestID(l.now, 200+n)}))
		l.now = l.now.Add(time.Minute)
	}
	l.do(deleteCommand(key(1), &statev1.DeleteInstance{RequestId: requestID(l.now, 300)}))
	l.do(initCommand(key(3), &statev1.InitInstance{Spec: "order", SpecVersion: 1})) // nothing to remember
	return s
}

// TestQuickDecoding: the decoder of the frequent records restores what the
// generated code does, and takes the plain ones.
func TestQuickDecoding(t *testing.T) {
	l, long := newOrders(t, learning)
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(l.now, 0)}))
	for n := range 3 * recordRun {
		l.do(stepCommand(key1, "go", numbered("state-", n%5), &statev1.Step{RequestId: requestID(l.now, n+1)}))
	}
	for name, c := range map[string]struct {
		shard *Shard
		least int
	}{"varied": {variedShard(t), 4 + 3 + 5}, "long": {long, 1 + 3 + 3}} {
		t.Run(name, func(t *testing.T) {
			r, quick := newRestoring(), 0
			for _, raw := range recordsOf(t, c.shard) {
				if r.add(t, raw) {
					quick++
				}
			}
			r.same(t)
			if !bytes.Equal(dump(t, r.quick.Shard), dump(t, c.shard)) {
				t.Error("the restored state differs from the one that was written")
			}
			if quick < c.least {
				t.Errorf("%d records were decoded quickly, want at least %d", quick, c.least)
			}
		})
	}
}

// TestQuickDecodingLeavesTheRest: fields that are out of order, doubled, of
// another type or unknown are for the generated code.
func TestQuickDecodingLeavesTheRest(t *testing.T) {
	field := func(n protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), value)
	}
	seq := protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 1)
	state := field(8, []byte("new"))
	for name, raw := range map[string][]byte{
		"doubled":      append(bytes.Clone(seq), seq...),
		"out of order": append(bytes.Clone(state), seq...),
		"unknown":      field(999, nil),
		"another type": field(7, nil),
		"fixed":        protowire.AppendFixed32(protowire.AppendTag(nil, 7, protowire.Fixed32Type), 1),
		"not UTF-8":    field(8, []byte{0xff}),
		"cut off":      state[:len(state)-1],
		"meta data":    field(6, nil),
	} {
		b := newRestoring().quick
		b.header = true
		if done, err := b.quick(field(7, raw)); done || err != nil || b.rec != nil {
			t.Errorf("%s: done %t, %v", name, done, err)
		}
	}
}

// FuzzQuickDecoding puts arbitrary bytes behind an instance of a snapshot.
func FuzzQuickDecoding(f *testing.F) {
	_, s := newOrders(f, sealed, model.Init("new"), payStep)
	head := recordsOf(f, s)
	for _, raw := range recordsOf(f, variedShard(f)) {
		f.Add(raw, []byte{})
		f.Add(raw, raw)
	}
	first := marshal(f, &statev1.Record{Kind: &statev1.Record_Instance{Instance: &statev1.InstanceRecord{
		Key: key1.Proto(), Incarnation: 2, Live: true, Spec: orderKey.Proto(), Seq: 2, State: "paid", FirstKept: 1, InitRequestId: "r"}}})
	f.Fuzz(func(t *testing.T, second, third []byte) {
		r := newRestoring()
		for _, raw := range head {
			r.add(t, raw)
		}
		r.add(t, first)
		r.add(t, second)
		r.add(t, third)
		r.same(t)
	})
}
