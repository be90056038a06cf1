package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	ok      = typesv1.Verdict_VERDICT_OK
	still   = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	not     = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
	waiting = typesv1.Verdict_VERDICT_PENDING

	absent   = typesv1.ModelMode_MODEL_MODE_ABSENT
	learning = typesv1.ModelMode_MODEL_MODE_LEARNING
	sealing  = typesv1.ModelMode_MODEL_MODE_SEALING
	sealed   = typesv1.ModelMode_MODEL_MODE_SEALED
)

// base is when the clocks of the tests begin.
var base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// applier is what the tests need of both machines.
type applier interface {
	Apply(index uint64, data []byte) ([]Result, error)
	Applied() uint64
	Snapshot() Snapshot
	Restore(r io.Reader) error
	StateHash() (uint64, [sha256.Size]byte, error)
}

func encode(t testing.TB, at time.Time, cmds ...*statev1.Command) []byte {
	t.Helper()
	data, err := proto.Marshal(&statev1.Entry{FeatureLevel: FeatureLevel, TimeUnixNano: at.UnixNano(), Commands: cmds})
	if err != nil {
		t.Fatalf("encode an entry: %v", err)
	}
	return data
}

// log feeds a machine with entries, one index after another.
type log struct {
	testing.TB
	m     applier
	index uint64
	now   time.Time
}

func newShardLog(t testing.TB) (*log, *Shard) {
	s := NewShard()
	return &log{TB: t, m: s, now: base}, s
}

func newCatalogLog(t testing.TB) (*log, *Catalog) {
	c := NewCatalog()
	return &log{TB: t, m: c, now: base}, c
}

// entry applies commands as one entry, which must be accepted.
func (l *log) entry(cmds ...*statev1.Command) []Result {
	l.Helper()
	l.index++
	results, err := l.m.Apply(l.index, encode(l, l.now, cmds...))
	if err != nil {
		l.Fatalf("entry %d: %v", l.index, err)
	}
	if len(results) != len(cmds) {
		l.Fatalf("entry %d: %d results for %d commands", l.index, len(results), len(cmds))
	}
	return results
}

// do applies one command, which must not be refused.
func (l *log) do(cmd *statev1.Command) any {
	l.Helper()
	res := l.entry(cmd)[0]
	if res.Err != nil {
		l.Fatalf("entry %d: %T refused: %v", l.index, cmd.GetKind(), res.Err)
	}
	return res.Value
}

// refused applies one command, which must be refused for the reason.
func (l *log) refused(reason typesv1.Reason, cmd *statev1.Command) *Error {
	l.Helper()
	res := l.entry(cmd)[0]
	if ReasonOf(asErr(res)) != reason || res.Value != nil {
		l.Fatalf("entry %d: got %+v, want the reason %s", l.index, res, reason)
	}
	return res.Err
}

func asErr(r Result) error {
	if r.Err == nil {
		return nil
	}
	return r.Err
}

func dump(t testing.TB, m applier) []byte {
	t.Helper()
	snap := m.Snapshot()
	defer snap.Release()
	var b bytes.Buffer
	if n, err := snap.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("write a snapshot: %d bytes of %d, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func hash(t testing.TB, m applier) [sha256.Size]byte {
	t.Helper()
	index, sum, err := m.StateHash()
	if err != nil || index != m.Applied() {
		t.Fatalf("hash at %d of %d: %v", index, m.Applied(), err)
	}
	return sum
}

// body is a machine's snapshot without its header, which changes with every
// entry: what a refused command must leave as it is.
func body(t testing.TB, m applier) string {
	t.Helper()
	data := dump(t, m)[len(snapshotMagic):]
	length, n := binary.Uvarint(data)
	return string(data[n+int(length) : len(data)-16])
}

// requestID makes a UUIDv7 with the given time, the same for the same number.
func requestID(at time.Time, n int) string {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint64(u[8:], uint64(n))
	u[6], u[8] = 0x70, 0x80
	return u.String()
}

func initCommand(key Key, c *statev1.InitInstance) *statev1.Command {
	c.Key = key.Proto()
	return &statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: c}}
}

func stepCommand(key Key, action, to string, c *statev1.Step) *statev1.Command {
	c.Key, c.Action, c.ToState = key.Proto(), action, to
	return &statev1.Command{Kind: &statev1.Command_Step{Step: c}}
}

func deleteCommand(key Key, c *statev1.DeleteInstance) *statev1.Command {
	c.Key = key.Proto()
	return &statev1.Command{Kind: &statev1.Command_DeleteInstance{DeleteInstance: c}}
}

func verdictCommand(ref StepRef, j *typesv1.Judgement) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_RecordVerdict{RecordVerdict: &statev1.RecordVerdict{Step: ref.Proto(), Judgement: j}}}
}

func inline(t testing.TB, m proto.Message) *statev1.Payload {
	t.Helper()
	p, chunks, err := NewPayload(m)
	if err != nil || len(chunks) != 0 {
		t.Fatalf("a payload that should be small has %d chunks: %v", len(chunks), err)
	}
	return p
}

func chunkCommand(c *statev1.StageChunk) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_StageChunk{StageChunk: c}}
}

func installCommand(key SpecKey, p *statev1.Payload, mode typesv1.ModelMode, revision uint64) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
		Spec: key.Proto(), Payload: p, Mode: mode, ModeRevision: revision,
	}}}
}

func extendCommand(key SpecKey, p *statev1.Payload) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ExtendModel{ExtendModel: &statev1.ExtendModel{Spec: key.Proto(), Payload: p}}}
}

func modeCommand(key SpecKey, mode typesv1.ModelMode, revision, modelVersion uint64) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_SetModelMode{SetModelMode: &statev1.SetModelMode{
		Spec: key.Proto(), Mode: mode, ModeRevision: revision, ModelVersion: modelVersion,
	}}}
}

func ackCommand(through uint64) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_AcknowledgeOutbox{AcknowledgeOutbox: &statev1.AcknowledgeOutbox{Through: through}}}
}

func leadCommand(term uint64) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_Lead{Lead: &statev1.Lead{Term: term}}}
}

func reportCommand(shard uint32, items []*statev1.OutboxItem, acks ...*statev1.ModelAcknowledgement) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ReportShard{ReportShard: &statev1.ReportShard{Shard: shard, Items: items, Acknowledgements: acks}}}
}

func mockCommand(key Key, c *statev1.MockInstance) *statev1.Command {
	c.Key = key.Proto()
	return &statev1.Command{Kind: &statev1.Command_MockInstance{MockInstance: c}}
}

func judgeCommand(key SpecKey, t model.Transition, j *typesv1.JointJudgement) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_JudgeDeviation{JudgeDeviation: &statev1.JudgeDeviation{Spec: key.Proto(), Transition: transitionProto(t), Judgement: j}}}
}

func changeModeCommand(key SpecKey, mode typesv1.ModelMode, timeout time.Duration, ifRevision uint64) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ChangeModelMode{ChangeModelMode: &statev1.ChangeModelMode{
		Spec: key.Proto(), Mode: mode, TimeoutNanos: int64(timeout), IfModeRevision: ifRevision,
	}}}
}

// content makes the payload of an installation with a model of version 1.
func content(def *typesv1.Specification, transitions ...model.Transition) *statev1.SpecificationContent {
	c := &statev1.SpecificationContent{Specification: def, Model: &statev1.ModelContent{}}
	for _, t := range transitions {
		c.Model.Version = 1
		c.Model.Transitions = append(c.Model.Transitions, &statev1.VersionedTransition{Transition: transitionProto(t), Version: 1})
	}
	return c
}

// order is a specification that the tests share.
func order() *typesv1.Specification {
	return &typesv1.Specification{Name: "order", InitialState: "new", Transitions: []*typesv1.Transition{
		{From: "new", Action: "pay", To: "paid"}, {From: "paid", Action: "ship", To: "shipped"},
	}}
}

var (
	orderKey = SpecKey{Namespace: "default", Name: "order", Version: 1}
	key1     = Key{Namespace: "default", ID: "k1"}
	key2     = Key{Namespace: "default", ID: "k2"}
	payStep  = model.Transition{From: "new", Action: "pay", To: "paid"}
)

// newOrders returns a shard with the order specification in a mode.
func newOrders(t testing.TB, mode typesv1.ModelMode, transitions ...model.Transition) (*log, *Shard) {
	t.Helper()
	l, s := newShardLog(t)
	l.do(installCommand(orderKey, inline(t, content(order(), transitions...)), mode, 1))
	return l, s
}

func numbered(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, n) }

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sha(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// rawInline wraps a message as it is, which NewPayload would not.
func rawInline(t testing.TB, m proto.Message) *statev1.Payload {
	return &statev1.Payload{Source: &statev1.Payload_Inline{Inline: marshal(t, m)}}
}

func registerCommand(n *statev1.Node) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_RegisterNode{RegisterNode: &statev1.RegisterNode{Node: n}}}
}

func applySpecCommand(name string, p *statev1.Payload) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ApplySpecification{ApplySpecification: &statev1.ApplySpecification{Namespace: "default", Name: name, Payload: p}}}
}

func importCommand(name string, p *statev1.Payload) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ImportModel{ImportModel: &statev1.ImportModel{Namespace: "default", Spec: name, Payload: p}}}
}

// newFormed returns the catalog of a cluster with one node and the order specification.
func newFormed(t testing.TB, shards uint32) (*log, *Catalog) {
	t.Helper()
	l, c := newCatalogLog(t)
	form := &statev1.FormCluster{ClusterId: "c", Shards: shards, Nodes: []*statev1.Node{{Id: "n1"}}}
	const slots = 16384
	for i := range shards {
		form.Placements = append(form.Placements, &statev1.ShardPlacement{Shard: i + 1, Replicas: []string{"n1"}})
		form.Slots = append(form.Slots, &statev1.SlotRange{First: i * slots / shards, Last: (i+1)*slots/shards - 1, Shard: i + 1})
	}
	l.do(&statev1.Command{Kind: &statev1.Command_FormCluster{FormCluster: form}})
	l.do(applySpecCommand("order", inline(t, order())))
	return l, c
}
