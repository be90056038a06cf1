package fsm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// MaxUploadBytes bounds one payload that travels in chunks. The largest is a
	// specification of 10,000 transitions with a model of 20,000, all of them
	// with three names of 256 bytes: about 24 MB.
	MaxUploadBytes = 32 << 20
	// MaxChunkBytes bounds one chunk, so that an entry with it stays small.
	MaxChunkBytes = 128 << 10

	// maxChunks lets a sender cut a payload finer than NewPayload does.
	maxChunks = 4 * MaxUploadBytes / MaxChunkBytes
	// maxUploads and maxStagedBytes bound all uploads together.
	maxUploads     = 64
	maxStagedBytes = 4 * MaxUploadBytes
	uploadExpiry   = 10 * time.Minute
)

// stage collects the chunks of payloads that are too large for one entry. An
// upload stays for uploadExpiry of log time, so that a command that is proposed
// again, because its answer was lost, finds what it names; complete uploads go
// earlier when others need the room.
type stage struct {
	// uploads maps the SHA-256 of a payload to its chunks.
	uploads map[string]*upload
}

// upload is replaced, not changed, when a chunk arrives: snapshots share it.
type upload struct {
	at     int64
	chunks [][]byte
	size   int
}

func (s *stage) add(c *statev1.StageChunk, now int64) Result {
	id := string(c.GetUploadId())
	switch {
	case len(id) != sha256.Size:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "an upload id is the SHA-256 of the payload, not %d bytes", len(id))
	case c.GetCount() == 0 || c.GetCount() > maxChunks || c.GetIndex() >= c.GetCount():
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "chunk %d of %d is out of range", c.GetIndex(), c.GetCount())
	case len(c.GetData()) == 0:
		// A snapshot could not tell it from one that is missing.
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "chunk %d of %d is empty", c.GetIndex(), c.GetCount())
	case len(c.GetData()) > MaxChunkBytes:
		return refuse(typesv1.Reason_REASON_LIMIT_EXCEEDED, "a chunk of %d bytes is above the limit of %d", len(c.GetData()), MaxChunkBytes)
	}
	old := s.uploads[id]
	next := &upload{at: now, chunks: make([][]byte, c.GetCount())}
	if old != nil && len(old.chunks) == len(next.chunks) {
		copy(next.chunks, old.chunks)
		next.size = old.size
	}
	if next.chunks[c.GetIndex()] == nil {
		next.chunks[c.GetIndex()] = c.GetData()
		next.size += len(c.GetData())
	}
	if next.size > MaxUploadBytes {
		return refuse(typesv1.Reason_REASON_LIMIT_EXCEEDED, "a payload above %d bytes", MaxUploadBytes)
	}
	if !s.makeRoom(id, next.size) {
		return refuse(typesv1.Reason_REASON_QUEUE_FULL, "the uploads under way are at their limits of %d and %d bytes", maxUploads, maxStagedBytes)
	}
	if s.uploads == nil {
		s.uploads = map[string]*upload{}
	}
	s.uploads[id] = next
	return Result{}
}

// makeRoom drops the oldest complete uploads until one with the given id and
// size fits in. If that is not enough it drops none.
func (s *stage) makeRoom(id string, size int) bool {
	var complete []string
	count := 1
	for other, u := range s.uploads {
		if other == id {
			continue
		}
		count++
		size += u.size
		if u.complete() {
			complete = append(complete, other)
		}
	}
	slices.SortFunc(complete, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.uploads[a].at, s.uploads[b].at), strings.Compare(a, b))
	})
	drop := 0
	for ; count > maxUploads || size > maxStagedBytes; drop++ {
		if drop == len(complete) {
			return false
		}
		count--
		size -= s.uploads[complete[drop]].size
	}
	for _, other := range complete[:drop] {
		delete(s.uploads, other)
	}
	return true
}

func (u *upload) complete() bool {
	return !slices.ContainsFunc(u.chunks, func(c []byte) bool { return c == nil })
}

// foresee looks into the payloads that the commands of an entry will load, so
// that the entry can be refused whole if one holds what this build does not know.
func (s *stage) foresee(cmds []*statev1.Command, now int64) error {
	if !slices.ContainsFunc(cmds, func(c *statev1.Command) bool { _, m := payloadOf(c); return m != nil }) {
		return nil
	}
	trial := s.clone()
	trial.expire(now)
	for i, cmd := range cmds {
		if chunk := cmd.GetStageChunk(); chunk != nil {
			trial.add(chunk, now)
		}
		p, m := payloadOf(cmd)
		if m == nil || trial.load(p, m) != nil {
			continue
		}
		if what := unknownIn(m.ProtoReflect()); what != "" {
			return fmt.Errorf("the payload of command %d (%T) has %s that this build does not know: upgrade the node", i, cmd.GetKind(), what)
		}
	}
	return nil
}

// payloadOf returns the payload of a command and an empty message of the kind
// that it holds, and nil for commands without a payload.
func payloadOf(cmd *statev1.Command) (*statev1.Payload, proto.Message) {
	switch kind := cmd.GetKind().(type) {
	case *statev1.Command_InstallSpecification:
		return kind.InstallSpecification.GetPayload(), &statev1.SpecificationContent{}
	case *statev1.Command_ExtendModel:
		return kind.ExtendModel.GetPayload(), &statev1.ModelContent{}
	case *statev1.Command_ApplySpecification:
		return kind.ApplySpecification.GetPayload(), &typesv1.Specification{}
	case *statev1.Command_ImportModel:
		return kind.ImportModel.GetPayload(), &statev1.ModelImport{}
	}
	return nil, nil
}

// load decodes a payload into m. An upload that is damaged is forgotten, so that
// its sender can begin anew.
func (s *stage) load(p *statev1.Payload, m proto.Message) *Error {
	var data []byte
	switch source := p.GetSource().(type) {
	case *statev1.Payload_Inline:
		data = source.Inline
	case *statev1.Payload_UploadId:
		u := s.uploads[string(source.UploadId)]
		if u == nil || !u.complete() {
			return Errorf(typesv1.Reason_REASON_UPLOAD_INCOMPLETE, "the upload %x is not complete", source.UploadId)
		}
		data = bytes.Join(u.chunks, nil)
		if sum := sha256.Sum256(data); !bytes.Equal(sum[:], source.UploadId) {
			delete(s.uploads, string(source.UploadId))
			return Errorf(typesv1.Reason_REASON_UPLOAD_INCOMPLETE, "the upload %x is damaged: its bytes have the SHA-256 %x", source.UploadId, sum)
		}
	default:
		return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the command has no payload")
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the payload is not a %s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

func (s *stage) expire(now int64) {
	for id, u := range s.uploads {
		if now-u.at > int64(uploadExpiry) {
			delete(s.uploads, id)
		}
	}
}

func (s *stage) clone() stage { return stage{uploads: maps.Clone(s.uploads)} }

// records gives the chunks of all uploads in a fixed order.
func (s *stage) records(emit func(*statev1.Record) error) error {
	for _, id := range slices.Sorted(maps.Keys(s.uploads)) {
		u := s.uploads[id]
		for i, chunk := range u.chunks {
			if chunk == nil {
				continue
			}
			rec := &statev1.StageRecord{UploadId: []byte(id), TimeUnixNano: u.at, Count: uint32(len(u.chunks)), Index: uint32(i), Data: chunk}
			if err := emit(&statev1.Record{Kind: &statev1.Record_Stage{Stage: rec}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stage) restore(r *statev1.StageRecord) error {
	chunk := &statev1.StageChunk{UploadId: r.GetUploadId(), Count: r.GetCount(), Index: r.GetIndex(), Data: r.GetData()}
	if res := s.add(chunk, r.GetTimeUnixNano()); res.Err != nil {
		return fmt.Errorf("stage record: %w", res.Err)
	}
	return nil
}

// NewPayload wraps a message for a command: in place if it is small, else as
// an upload whose chunks must be applied, in any order, before the command. What
// this build does not know of the message is left out: a machine refuses it.
func NewPayload(m proto.Message) (*statev1.Payload, []*statev1.StageChunk, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("encode payload: %w", err)
	}
	if unknownIn(m.ProtoReflect()) != "" {
		known := m.ProtoReflect().New().Interface()
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, known); err != nil {
			return nil, nil, fmt.Errorf("encode payload: %w", err)
		}
		if what := unknownIn(known.ProtoReflect()); what != "" {
			return nil, nil, Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the payload has %s that this build does not know", what)
		}
		if data, err = (proto.MarshalOptions{Deterministic: true}).Marshal(known); err != nil {
			return nil, nil, fmt.Errorf("encode payload: %w", err)
		}
	}
	if len(data) > MaxUploadBytes {
		return nil, nil, Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED, "a payload of %d bytes is above the limit of %d", len(data), MaxUploadBytes)
	}
	if len(data) <= MaxChunkBytes/4 {
		return &statev1.Payload{Source: &statev1.Payload_Inline{Inline: data}}, nil, nil
	}
	id := sha256.Sum256(data)
	var chunks []*statev1.StageChunk
	pieces := slices.Collect(slices.Chunk(data, MaxChunkBytes))
	for i, piece := range pieces {
		chunks = append(chunks, &statev1.StageChunk{UploadId: id[:], Index: uint32(i), Count: uint32(len(pieces)), Data: piece})
	}
	return &statev1.Payload{Source: &statev1.Payload_UploadId{UploadId: id[:]}}, chunks, nil
}
