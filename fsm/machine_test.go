package fsm

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// unknownField is field 1023 with the value 1.
var unknownField = protowire.AppendVarint(protowire.AppendTag(nil, 1023, protowire.VarintType), 1)

func with[M proto.Message](m M, change func(M)) M {
	change(m)
	return m
}

func stranger[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(unknownField)
	return m
}

// An entry that a build cannot apply in full halts the replica, so it must leave
// no trace: not even in the index and the time.
func TestApplyErrorChangesNothing(t *testing.T) {
	step := stepCommand(key1, "pay", "paid", &statev1.Step{})
	_, chunks := large(t)
	upload := []*statev1.Command{}
	odd := stranger(order())
	data, err := proto.Marshal(&statev1.SpecificationContent{Specification: with(odd, func(d *typesv1.Specification) { d.Name = strings.Repeat("n", 2*MaxChunkBytes) })})
	if err != nil {
		t.Fatal(err)
	}
	for i, piece := range slices.Collect(slices.Chunk(data, MaxChunkBytes)) {
		upload = append(upload, chunkCommand(&statev1.StageChunk{UploadId: sha(data), Index: uint32(i), Count: uint32((len(data) + MaxChunkBytes - 1) / MaxChunkBytes), Data: piece}))
	}
	odds := installCommand(SpecKey{"default", "odd", 1}, &statev1.Payload{Source: &statev1.Payload_UploadId{UploadId: sha(data)}}, learning, 1)

	both := map[string][]byte{
		"no entry":       []byte("\xffnot an entry"),
		"truncated":      encode(t, base, step)[:10],
		"feature level":  marshal(t, &statev1.Entry{FeatureLevel: FeatureLevel + 1, Commands: []*statev1.Command{leadCommand(9)}}),
		"entry's field":  append(encode(t, base, leadCommand(9)), unknownField...),
		"no kind":        encode(t, base, leadCommand(9), &statev1.Command{Principal: "x"}),
		"unknown kind":   encode(t, base, leadCommand(9), stranger(&statev1.Command{})),
		"command field":  encode(t, base, leadCommand(9), stranger(leadCommand(10))),
		"field of lead":  encode(t, base, with(leadCommand(9), func(c *statev1.Command) { stranger(c.GetLead()) })),
		"field of chunk": encode(t, base, chunkCommand(stranger(proto.CloneOf(chunks[0])))),
	}
	shard := map[string][]byte{
		"catalog's command": encode(t, base, step, reportCommand(1, nil)),
		"nested field":      encode(t, base, step, with(stepCommand(key1, "a", "b", &statev1.Step{}), func(c *statev1.Command) { stranger(c.GetStep().GetKey()) })),
		"deep field":        encode(t, base, step, verdictCommand(StepRef{key1, 2, 2}, stranger(&typesv1.Judgement{Verdict: not}))),
		"unknown verdict":   encode(t, base, step, verdictCommand(StepRef{key1, 2, 2}, &typesv1.Judgement{Verdict: 99})),
		"unknown mode":      encode(t, base, step, modeCommand(orderKey, 99, 9, 0)),
		"inline payload":    encode(t, base, step, installCommand(SpecKey{"default", "odd", 1}, rawInline(t, &statev1.SpecificationContent{Specification: stranger(order())}), learning, 1)),
		"deltas too":        encode(t, base, step, extendCommand(orderKey, rawInline(t, stranger(&statev1.ModelContent{})))),
		"uploaded payload":  encode(t, base, append(slices.Clone(upload), step, odds)...),
	}
	catalog := map[string][]byte{
		"shard's command": encode(t, base, changeModeCommand(orderKey, sealing, 0, 0), step),
		"node's field":    encode(t, base, registerCommand(stranger(&statev1.Node{Id: "n9"}))),
		"items too":       encode(t, base, reportCommand(1, []*statev1.OutboxItem{{Spec: orderKey.Proto(), Transition: stranger(&typesv1.Transition{})}})),
		"specification":   encode(t, base, applySpecCommand("odd", rawInline(t, &typesv1.Specification{Name: "odd", OnMissingModel: 9}))),
		"import":          encode(t, base, importCommand("order", rawInline(t, &statev1.ModelImport{Transitions: []*typesv1.Transition{stranger(&typesv1.Transition{})}}))),
	}
	check := func(t *testing.T, l *log, cases ...map[string][]byte) {
		for _, list := range cases {
			for name, data := range list {
				t.Run(name, func(t *testing.T) {
					before := hash(t, l.m)
					if results, err := l.m.Apply(l.index+1, data); err == nil || results != nil {
						t.Errorf("got %v, %v", results, err)
					}
					if hash(t, l.m) != before {
						t.Error("the state has changed")
					}
				})
			}
		}
		t.Run("index", func(t *testing.T) {
			before := hash(t, l.m)
			for _, index := range []uint64{0, 1, l.index} {
				if _, err := l.m.Apply(index, encode(t, base, leadCommand(99))); err == nil {
					t.Errorf("index %d was applied after %d", index, l.index)
				}
			}
			if hash(t, l.m) != before {
				t.Error("the state has changed")
			}
		})
		l.do(leadCommand(3)) // and the next entry is applied
	}
	t.Run("shard", func(t *testing.T) {
		l, _ := newOrders(t, sealed, payStep)
		l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1}))
		check(t, l, both, shard)
	})
	t.Run("catalog", func(t *testing.T) {
		l, _ := newFormed(t, 2)
		check(t, l, both, catalog)
	})
	t.Run("uploaded before", func(t *testing.T) {
		l, s := newShardLog(t)
		for _, c := range upload {
			l.do(c)
		}
		before := hash(t, s)
		if _, err := s.Apply(l.index+1, encode(t, base, leadCommand(9), odds)); err == nil || hash(t, s) != before {
			t.Errorf("got %v", err)
		}
		if _, err := s.Apply(l.index+1, encode(t, base.Add(uploadExpiry+1), odds)); err != nil {
			t.Errorf("the upload has expired, and so nothing unknown is left: %v", err)
		}
	})
}

func TestApplyTimeAndTerm(t *testing.T) {
	l, s := newShardLog(t)
	l.now = base.Add(time.Hour)
	l.entry(leadCommand(7))
	l.now = base
	l.entry(leadCommand(6))
	if !s.Time().Equal(base.Add(time.Hour)) || s.LedTerm() != 7 || s.Applied() != 2 {
		t.Errorf("time %s, term %d, applied %d", s.Time(), s.LedTerm(), s.Applied())
	}
	// A clock that is out of all bounds does not make durations overflow.
	l.index++
	if _, err := s.Apply(l.index, marshal(t, &statev1.Entry{TimeUnixNano: math.MaxInt64, Commands: []*statev1.Command{deleteCommand(key1, &statev1.DeleteInstance{RequestId: "d"})}})); err != nil {
		t.Fatal(err)
	}
	l.index++
	if _, err := s.Apply(l.index, marshal(t, &statev1.Entry{TimeUnixNano: math.MinInt64})); err != nil {
		t.Fatal(err)
	}
	if s.records.Len() != 1 {
		t.Error("the tombstone expired at once")
	}
}

func TestEmptyEntryAndSeveralTombstones(t *testing.T) {
	l, s := newShardLog(t)
	if results := l.entry(); len(results) != 0 {
		t.Fatalf("got %v", results)
	}
	const many = 1000
	deletes := func(n int, id string) (cmds []*statev1.Command) {
		for i := range n {
			cmds = append(cmds, deleteCommand(Key{"default", numbered("k", i)}, &statev1.DeleteInstance{RequestId: id}))
		}
		return cmds
	}
	l.entry(deletes(many, "d")...)
	l.now = l.now.Add(DedupeWindow)
	// No entry forgets all of them, so that none takes long; but none leaves more
	// behind than it could have made.
	l.entry()
	if n := s.records.Len(); n != many-64 {
		t.Fatalf("%d tombstones are left", n)
	}
	l.entry(deletes(400, "e")...) // forgets 864 of them, and makes 400
	if n := s.records.Len(); n > 400+many-64-864 {
		t.Fatalf("%d tombstones are left", n)
	}
	l.entry()
	l.entry()
	if n := s.records.Len(); n != 400 {
		t.Fatalf("%d tombstones are left", n)
	}
}

func TestErrors(t *testing.T) {
	err := Errorf(typesv1.Reason_REASON_SEQUENCE_MISMATCH, "seq %d", 7)
	err.CurrentSeq, err.Shard, err.LeaderID, err.LeaderAddress = 6, 3, "n1", "a:1"
	again := ErrorFromDetail(err.Detail())
	if *again != *err || !err.NotApplied || err.Error() != "seq 7" {
		t.Errorf("got %+v for %+v", again, err)
	}
	if ErrorFromDetail(nil) != nil || ReasonOf(nil) != 0 || ReasonOf(ErrSnapshot) != 0 {
		t.Error("something out of nothing")
	}
	if !err.Is(&Error{Reason: err.Reason}) || err.Is(&Error{}) || err.Is(ErrSnapshot) {
		t.Error("Is compares something else than the reason")
	}
}
