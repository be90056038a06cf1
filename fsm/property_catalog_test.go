package fsm

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestCatalogProperty applies random commands to two catalogs, one of which is
// snapshotted and restored at random points: the same answers, and the same
// state hash all along.
func TestCatalogProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, a := newFormed(t, 2)
		b := NewCatalog()
		if err := b.Restore(bytes.NewReader(dump(t, a))); err != nil {
			rt.Fatalf("restore: %v", err)
		}
		for range rapid.IntRange(1, 40).Draw(rt, "entries") {
			l.now = l.now.Add(time.Duration(rapid.IntRange(-3, 9).Draw(rt, "minutes")) * time.Minute)
			var cmds []*statev1.Command
			for range rapid.IntRange(1, 3).Draw(rt, "commands") {
				cmds = append(cmds, catalogCommand(t, rt))
			}
			first := l.entry(cmds...)
			second, err := b.Apply(l.index, encode(t, l.now, cmds...))
			if err != nil || !reflect.DeepEqual(first, second) {
				rt.Fatalf("entry %d: %+v and %+v (%v)", l.index, first, second, err)
			}
			if rapid.IntRange(0, 3).Draw(rt, "restore") == 0 {
				anew := NewCatalog()
				if err := anew.Restore(bytes.NewReader(dump(t, b))); err != nil {
					rt.Fatalf("restore: %v", err)
				}
				b = anew
			}
			if hash(t, a) != hash(t, b) {
				rt.Fatalf("entry %d: the states differ", l.index)
			}
			checkCounts(rt, a)
		}
	})
}

func catalogCommand(t *testing.T, rt *rapid.T) *statev1.Command {
	name := rapid.SampledFrom([]string{"order", "loan"}).Draw(rt, "name")
	key := SpecKey{"default", name, uint64(rapid.IntRange(1, 3).Draw(rt, "version"))}
	tr := model.Transition{From: "s", Action: "a", To: rapid.SampledFrom([]string{"p", "q", "r"}).Draw(rt, "to")}
	shard := uint32(rapid.IntRange(0, 3).Draw(rt, "shard"))
	switch rapid.IntRange(0, 22).Draw(rt, "kind") {
	case 19:
		versions := uint64(rapid.IntRange(0, 2).Draw(rt, "versions"))
		return settingsCommand(&statev1.ChangeSettings{SpecVersions: &versions})
	case 20, 21:
		return retireCommand(key)
	case 22:
		return droppedCommand(shard, key)
	case 16, 17, 18:
		return placementOf(rt, rapid.SampledFrom([]string{"n1", "order", "loan"}).Draw(rt, "node"), shard)
	case 13, 14, 15:
		return judgeCommand(key, tr, &typesv1.JointJudgement{
			Verdict:      rapid.SampledFrom([]typesv1.Verdict{still, still, not, ok}).Draw(rt, "joint verdict"),
			Joint:        rapid.Bool().Draw(rt, "joint"),
			ModelVersion: uint64(rapid.IntRange(0, 2).Draw(rt, "model")), PendingVersion: uint64(rapid.IntRange(0, 2).Draw(rt, "pending")),
		})
	case 0:
		def := order()
		def.Name, def.HistoryLimit = name, uint32(rapid.IntRange(1, 2).Draw(rt, "limit"))
		def.OnMissingModel = typesv1.OnMissingModel(rapid.IntRange(0, 2).Draw(rt, "missing"))
		return applySpecCommand(name, inline(t, def))
	case 1:
		return &statev1.Command{Kind: &statev1.Command_DeleteSpecification{DeleteSpecification: &statev1.DeleteSpecification{Namespace: "default", Name: name}}}
	case 2:
		return importCommand(name, inline(t, &statev1.ModelImport{
			Learning: rapid.Bool().Draw(rt, "learning"), Replace: rapid.IntRange(0, 2).Draw(rt, "replace") == 0, Transitions: []*typesv1.Transition{transitionProto(tr)},
		}))
	case 3, 4:
		mode := rapid.SampledFrom([]typesv1.ModelMode{learning, sealing, sealing, sealed}).Draw(rt, "mode")
		return changeModeCommand(key, mode, time.Minute, uint64(rapid.IntRange(0, 2).Draw(rt, "if")))
	case 5:
		item := &statev1.OutboxItem{Id: 1, Spec: key.Proto(), Transition: transitionProto(tr)}
		if rapid.Bool().Draw(rt, "deviates") {
			item.Deviation = &statev1.Deviation{Verdict: not, Reason: "R", First: StepRef{Key: key1, Incarnation: 1, Seq: 2}.Proto(), TimeUnixNano: 5}
		}
		return reportCommand(shard, []*statev1.OutboxItem{item})
	case 6:
		return reportCommand(shard, nil, &statev1.ModelAcknowledgement{Spec: key.Proto(), ModeRevision: uint64(rapid.IntRange(1, 6).Draw(rt, "revision"))})
	case 8, 9, 10, 11:
		return reviewOf(rt, key, tr)
	case 7:
		return registerCommand(&statev1.Node{Id: name, PeerAddress: tr.To})
	}
	return &statev1.Command{Kind: &statev1.Command_MarkShardFormed{MarkShardFormed: &statev1.MarkShardFormed{Shard: shard}}}
}
