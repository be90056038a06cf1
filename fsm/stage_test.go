package fsm

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// large is a payload that travels in chunks.
func large(t testing.TB) (*statev1.Payload, []*statev1.StageChunk) {
	t.Helper()
	c := content(order())
	c.Model.Version = 1
	for i := range 4000 {
		c.Model.Transitions = append(c.Model.Transitions, &statev1.VersionedTransition{
			Transition: &typesv1.Transition{From: numbered("state-with-a-long-name-", i), Action: "go", To: numbered("state-with-a-long-name-", i+1)}, Version: 1,
		})
	}
	p, chunks, err := NewPayload(c)
	if err != nil || len(chunks) < 2 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	return p, chunks
}

func (l *log) stage(chunks ...*statev1.StageChunk) {
	l.Helper()
	for _, c := range chunks {
		l.do(chunkCommand(c))
	}
}

func TestUpload(t *testing.T) {
	p, chunks := large(t)
	install := installCommand(orderKey, p, learning, 1)
	incomplete := typesv1.Reason_REASON_UPLOAD_INCOMPLETE
	installed := func(t *testing.T, s *Shard) {
		t.Helper()
		if e, found := s.Evidence(orderKey, 1, 0); !found || len(e.Model) != 4000 || !proto.Equal(e.Definition, order()) {
			t.Fatalf("found=%t with %d transitions of %v", found, len(e.Model), e.Definition)
		}
	}

	t.Run("in any order, each chunk any number of times", func(t *testing.T) {
		l, s := newShardLog(t)
		backwards := slices.Clone(chunks)
		slices.Reverse(backwards)
		l.stage(append(backwards, chunks[0])...)
		l.do(install)
		installed(t, s)
	})
	t.Run("the command again, since its answer was lost", func(t *testing.T) {
		l, s := newShardLog(t)
		l.stage(chunks...)
		l.do(install)
		l.do(install)
		installed(t, s)
	})
	t.Run("with its command in one entry", func(t *testing.T) {
		l, s := newShardLog(t)
		var cmds []*statev1.Command
		for _, c := range chunks {
			cmds = append(cmds, chunkCommand(c))
		}
		for i, res := range l.entry(append(cmds, install)...) {
			if res.Err != nil {
				t.Fatalf("command %d: %v", i, res.Err)
			}
		}
		installed(t, s)
	})
	t.Run("missing chunk", func(t *testing.T) {
		l, s := newShardLog(t)
		l.refused(incomplete, install)
		l.stage(chunks[0])
		l.refused(incomplete, install)
		l.stage(chunks[1:]...)
		l.do(install)
		installed(t, s)
	})
	t.Run("damaged chunk", func(t *testing.T) {
		l, s := newShardLog(t)
		bad := proto.CloneOf(chunks[0])
		bad.Data[100] ^= 1
		l.stage(bad)
		l.stage(chunks...) // the first one counts
		if err := l.refused(incomplete, install); !strings.Contains(err.Message, "damaged") {
			t.Fatalf("got %q", err.Message)
		}
		l.stage(chunks...)
		l.do(install)
		installed(t, s)
	})
	t.Run("another cut of the same payload begins anew", func(t *testing.T) {
		l, s := newShardLog(t)
		l.stage(chunks[0])
		var data []byte
		for _, c := range chunks {
			data = append(data, c.GetData()...)
		}
		pieces := slices.Collect(slices.Chunk(data, 50_000))
		for i, piece := range pieces {
			l.stage(&statev1.StageChunk{UploadId: chunks[0].GetUploadId(), Index: uint32(i), Count: uint32(len(pieces)), Data: piece})
		}
		l.do(install)
		installed(t, s)
	})
	t.Run("expired", func(t *testing.T) {
		l, s := newShardLog(t)
		l.stage(chunks...)
		l.now = l.now.Add(uploadExpiry)
		l.do(leadCommand(1))
		if len(s.stage.uploads) != 1 {
			t.Fatal("gone too early")
		}
		l.now = l.now.Add(time.Nanosecond)
		l.refused(incomplete, install)
		if len(s.stage.uploads) != 0 {
			t.Fatal("still there")
		}
	})
	t.Run("restored in between", func(t *testing.T) {
		l, s := newShardLog(t)
		l.stage(chunks[:2]...)
		if err := s.Restore(bytes.NewReader(dump(t, s))); err != nil {
			t.Fatal(err)
		}
		l.stage(chunks[2:]...)
		l.do(install)
		installed(t, s)
	})
}

func TestUploadRefusals(t *testing.T) {
	id := make([]byte, sha256.Size)
	invalid, above := typesv1.Reason_REASON_INVALID_ARGUMENT, typesv1.Reason_REASON_LIMIT_EXCEEDED
	l, s := newShardLog(t)
	for name, c := range map[string]struct {
		chunk  *statev1.StageChunk
		reason typesv1.Reason
	}{
		"id":            {&statev1.StageChunk{UploadId: id[:31], Count: 1, Data: id}, invalid},
		"no chunks":     {&statev1.StageChunk{UploadId: id, Data: id}, invalid},
		"too many":      {&statev1.StageChunk{UploadId: id, Count: maxChunks + 1, Data: id}, invalid},
		"beyond":        {&statev1.StageChunk{UploadId: id, Count: 2, Index: 2, Data: id}, invalid},
		"empty":         {&statev1.StageChunk{UploadId: id, Count: 2}, invalid},
		"chunk's limit": {&statev1.StageChunk{UploadId: id, Count: 2, Data: make([]byte, MaxChunkBytes+1)}, above},
	} {
		t.Run(name, func(t *testing.T) { l.refused(c.reason, chunkCommand(c.chunk)) })
	}
	chunk := make([]byte, MaxChunkBytes)
	for i := range MaxUploadBytes / MaxChunkBytes {
		l.stage(&statev1.StageChunk{UploadId: id, Count: maxChunks, Index: uint32(i), Data: chunk})
	}
	size := s.stage.uploads[string(id)].size
	l.refused(above, chunkCommand(&statev1.StageChunk{UploadId: id, Count: maxChunks, Index: maxChunks - 1, Data: id}))
	if u := s.stage.uploads[string(id)]; u == nil || u.size != size || size != MaxUploadBytes {
		t.Errorf("the refused chunk changed the upload of %d bytes: %+v", size, u)
	}

	l.refused(invalid, installCommand(orderKey, nil, learning, 1))
	l.refused(invalid, installCommand(orderKey, &statev1.Payload{Source: &statev1.Payload_Inline{Inline: []byte{0xff}}}, learning, 1))
}

func TestUploadsMakeRoom(t *testing.T) {
	upload := func(i, count, index int) *statev1.StageChunk {
		id := sha256.Sum256([]byte{byte(i)})
		return &statev1.StageChunk{UploadId: id[:], Count: uint32(count), Index: uint32(index), Data: []byte{1}}
	}
	l, s := newShardLog(t)
	have := func(i int) bool { return s.stage.uploads[string(upload(i, 1, 0).GetUploadId())] != nil }
	for i := range maxUploads {
		l.now = l.now.Add(time.Second)
		l.stage(upload(i, 1+i%2, 0)) // every other one is complete
	}
	l.stage(upload(100, 2, 0))
	if have(0) || !have(1) || !have(2) || len(s.stage.uploads) != maxUploads {
		t.Fatalf("not the oldest complete upload has gone, of now %d", len(s.stage.uploads))
	}
	for i := range maxUploads/2 - 1 {
		l.stage(upload(101+i, 2, 0))
	}
	before := body(t, s)
	l.refused(typesv1.Reason_REASON_QUEUE_FULL, chunkCommand(upload(99, 1, 0)))
	if body(t, s) != before {
		t.Error("the refused upload changed the others")
	}
	l.stage(upload(1, 2, 1)) // one that is there goes on
}

func TestUploadsMakeRoomInBytes(t *testing.T) {
	const whole = MaxUploadBytes / MaxChunkBytes
	l, s := newShardLog(t)
	data := make([]byte, MaxChunkBytes)
	fill := func(i, count int) (last Result) {
		id := sha256.Sum256([]byte{byte(i)})
		for k := range whole {
			if last = l.entry(chunkCommand(&statev1.StageChunk{UploadId: id[:], Count: uint32(count), Index: uint32(k), Data: data}))[0]; last.Err != nil {
				return last
			}
		}
		return last
	}
	first := sha256.Sum256([]byte{1})
	for i, count := range []int{whole, whole + 1, whole + 1, whole + 1, whole + 1} {
		if res := fill(1+i, count); res.Err != nil {
			t.Fatalf("upload %d: %v", i, res.Err)
		}
	}
	if s.stage.uploads[string(first[:])] != nil || len(s.stage.uploads) != 4 {
		t.Fatalf("the complete one has not made room: %d uploads", len(s.stage.uploads))
	}
	if res := fill(9, whole); ReasonOf(asErr(res)) != typesv1.Reason_REASON_QUEUE_FULL {
		t.Fatalf("got %+v", res)
	}
}

// The largest specification with the largest model has to find room in an upload.
func TestLargestPayloadFits(t *testing.T) {
	name := func(i int) string {
		n := numbered("s", i)
		return n + strings.Repeat("x", spec.MaxNameBytes-len(n))
	}
	c := content(order())
	for i := range spec.MaxTransitions {
		c.Specification.Transitions = append(c.Specification.Transitions, &typesv1.Transition{From: name(i), Action: name(i), To: name(i + 1)})
	}
	for i := range spec.MaxModelTransitions {
		c.Model.Transitions = append(c.Model.Transitions, &statev1.VersionedTransition{Transition: &typesv1.Transition{From: name(i), Action: name(i), To: name(i + 1)}, Version: uint64(i)})
	}
	if _, chunks, err := NewPayload(c); err != nil || len(chunks) > maxChunks {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
}

func TestPayloadLeavesOutWhatIsUnknown(t *testing.T) {
	unknown := []byte{0xf8, 0x3f, 1} // field 1023
	def := order()
	def.ProtoReflect().SetUnknown(unknown)
	def.Transitions[0].ProtoReflect().SetUnknown(unknown)
	l, s := newShardLog(t)
	l.do(installCommand(orderKey, inline(t, content(def, model.Init("new"))), learning, 1))
	if e, _ := s.Evidence(orderKey, 1, 0); !proto.Equal(e.Definition, order()) {
		t.Fatalf("got %v", e.Definition)
	}
	def.OnMissingModel = 77
	if _, _, err := NewPayload(def); ReasonOf(err) != typesv1.Reason_REASON_INVALID_ARGUMENT {
		t.Fatalf("got %v", err)
	}
	if _, _, err := NewPayload(&typesv1.Specification{Name: strings.Repeat("a", MaxUploadBytes+1)}); ReasonOf(err) != typesv1.Reason_REASON_LIMIT_EXCEEDED {
		t.Fatalf("got %v", err)
	}
}
