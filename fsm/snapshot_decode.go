package fsm

import (
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Of most kinds of record a snapshot has a few; of instances, histories and
// windows it has millions, and decoding them by way of messages was the largest
// part of a restart. So these three are read from their bytes. What is rare in
// them, or not written as this build writes it, is left to the generated code,
// record by record: quick reports false then, and has changed nothing.

// Tags of fields as they are written: number and wire type.
const (
	recordInstance = 7<<3 | uint64(protowire.BytesType)
	recordHistory  = 8<<3 | uint64(protowire.BytesType)
	recordWindow   = 9<<3 | uint64(protowire.BytesType)

	bytes1 = 1<<3 | uint64(protowire.BytesType)
	bytes2 = 2<<3 | uint64(protowire.BytesType)
	bytes3 = 3<<3 | uint64(protowire.BytesType)
	number = uint64(protowire.VarintType)
)

// maxShared bounds how many different strings a restore shares among instances.
const maxShared = 4096

// quick restores a record of one of the frequent kinds.
func (b *shardRestore) quick(raw []byte) (done bool, err error) {
	f := fields{data: raw}
	if !b.header || !f.next() || len(f.data) > 0 {
		return false, nil
	}
	switch f.tag {
	case recordInstance:
		rec, ok := b.quickInstance(f.bytes)
		if !ok {
			return false, nil
		}
		if err := b.flush(); err != nil {
			return true, err
		}
		b.rec = rec
		return true, nil
	case recordHistory:
		return b.quickHistory(f.bytes), nil
	case recordWindow:
		return b.quickWindow(f.bytes), nil
	}
	return false, nil
}

func (b *shardRestore) quickInstance(raw []byte) (*record, bool) {
	rec, in, live, ok := &record{}, &instance{}, false, true
	f := fields{data: raw}
	for f.next() {
		switch f.tag {
		case bytes1:
			ok = b.quickKey(f.bytes, &rec.key)
		case 2<<3 | number:
			rec.incarnation = f.value
		case 3<<3 | number:
			live = f.value != 0
		case 4<<3 | number:
			rec.deletedAt = int64(f.value)
		case 5<<3 | uint64(protowire.BytesType):
			ok = b.quickSpec(f.bytes, &rec.spec)
		case 7<<3 | number:
			in.seq = f.value
		case 8<<3 | uint64(protowire.BytesType):
			in.state, ok = b.shared(f.bytes)
		case 9<<3 | number:
			in.createdAt = int64(f.value)
		case 10<<3 | number:
			in.offModel = f.value != 0
		case 11<<3 | number:
			in.awaiting = uint32(f.value)
		case 12<<3 | uint64(protowire.BytesType):
			in.initRequest, ok = text(f.bytes)
		case 13<<3 | number:
			in.initHash = f.value
		case 14<<3 | number:
			rec.window.evictedThrough = int64(f.value)
		case 15<<3 | number:
			in.history.first = f.value
		case 50<<3 | number:
			in.timedOut = f.value
		default: // meta data, a frontier
			return nil, false
		}
		if !ok {
			return nil, false
		}
	}
	if live {
		in.incarnation, in.spec = rec.incarnation, rec.spec
		rec.live = in
	}
	return rec, !f.bad
}

func (b *shardRestore) quickKey(raw []byte, key *Key) (ok bool) {
	f := fields{data: raw}
	for f.next() {
		switch f.tag {
		case bytes1:
			key.Namespace, ok = b.shared(f.bytes)
		case bytes2:
			key.ID, ok = text(f.bytes)
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return !f.bad
}

func (b *shardRestore) quickSpec(raw []byte, key *SpecKey) (ok bool) {
	f := fields{data: raw}
	for f.next() {
		ok = true
		switch f.tag {
		case bytes1:
			key.Namespace, ok = b.shared(f.bytes)
		case bytes2:
			key.Name, ok = b.shared(f.bytes)
		case 3<<3 | number:
			key.Version = f.value
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return !f.bad
}

func (b *shardRestore) quickHistory(raw []byte) bool {
	if b.rec == nil || b.rec.live == nil {
		return false
	}
	in := b.rec.live
	spec := b.Shard.spec(in.spec)
	if spec == nil {
		return false
	}
	b.steps = b.steps[:0]
	f := fields{data: raw, repeated: bytes1}
	for f.next() {
		st, ok := spec.quickStep(f.bytes)
		if f.tag != bytes1 || !ok {
			return false
		}
		b.steps = append(b.steps, st)
	}
	if f.bad {
		return false
	}
	if room := historyChunk - len(in.history.tail); room > 0 {
		in.history.tail = slices.Grow(in.history.tail, min(room, len(b.steps)))
	}
	for _, st := range b.steps {
		in.history = in.history.append(st, in.history.len()+1)
	}
	return true
}

// quickStep reads a step that nobody had to judge.
func (p *specState) quickStep(raw []byte) (st step, ok bool) {
	f := fields{data: raw}
	for f.next() {
		switch f.tag {
		case bytes1:
			if st.t, ok = p.quickTransition(f.bytes); !ok {
				return st, false
			}
		case 2<<3 | number:
			st.time = int64(f.value)
		case 3<<3 | number:
			st.eventTime = int64(f.value)
		case 4<<3 | number:
			st.verdict = typesv1.Verdict(f.value)
		default:
			return st, false
		}
	}
	return st, st.t != nil && !f.bad
}

// quickTransition finds a transition in the model, or among what was learned.
func (p *specState) quickTransition(raw []byte) (*model.Transition, bool) {
	var from, action, to []byte
	f := fields{data: raw}
	for f.next() {
		switch f.tag {
		case bytes1:
			from = f.bytes
		case bytes2:
			action = f.bytes
		case bytes3:
			to = f.bytes
		default:
			return nil, false
		}
	}
	if f.bad {
		return nil, false
	}
	for _, set := range []transitionSet{p.model, p.learned} {
		// Written like this the strings are not allocated.
		if v, ok := set.byTransition[model.Transition{From: string(from), Action: string(action), To: string(to)}]; ok {
			return &v.Transition, true
		}
	}
	return nil, false
}

func (b *shardRestore) quickWindow(raw []byte) bool {
	if b.rec == nil {
		return false
	}
	b.seen = b.seen[:0]
	f := fields{data: raw, repeated: bytes1}
	for f.next() {
		e, ok := b.quickSeen(f.bytes)
		if f.tag != bytes1 || !ok {
			return false
		}
		b.seen = append(b.seen, e)
	}
	if f.bad {
		return false
	}
	b.rec.window.entries = append(slices.Grow(b.rec.window.entries, len(b.seen)), b.seen...)
	return true
}

func (b *shardRestore) quickSeen(raw []byte) (e seen, ok bool) {
	f := fields{data: raw}
	for f.next() {
		ok = true
		switch f.tag {
		case bytes1:
			if in := b.rec.live; in != nil && in.initRequest == string(f.bytes) {
				e.id = in.initRequest
			} else {
				e.id, ok = text(f.bytes)
			}
		case 2<<3 | number:
			e.hash = f.value
		case 3<<3 | number:
			e.at = int64(f.value)
		case 4<<3 | number:
			e.kind = requestKind(f.value)
		case 5<<3 | number:
			e.ref = f.value
		case 6<<3 | number:
			e.seq = f.value
		case 7<<3 | uint64(protowire.BytesType):
			e.from, ok = b.shared(f.bytes)
		case 8<<3 | number:
			e.verdict = typesv1.Verdict(f.value)
		case 9<<3 | number:
			e.index = f.value
		default:
			return e, false
		}
		if !ok {
			return e, false
		}
	}
	return e, !f.bad
}

func text(raw []byte) (string, bool) { return string(raw), utf8.Valid(raw) }

// shared is text for what many instances have in common, such as their states.
func (b *shardRestore) shared(raw []byte) (string, bool) {
	if s, ok := b.strings[string(raw)]; ok {
		return s, true
	}
	s, ok := text(raw)
	if ok && len(b.strings) < maxShared {
		b.strings[s] = s
	}
	return s, ok
}

// fields walks over the fields of a message that was written in the order of
// their numbers, each once but for the one that is repeated, and stops at
// anything else.
type fields struct {
	data     []byte
	repeated uint64
	// tag is the field's, value is set for a number and bytes for the rest.
	tag   uint64
	value uint64
	bytes []byte
	// bad is set when what follows is not a field, or not where it belongs.
	bad bool
}

func (f *fields) next() bool {
	if len(f.data) == 0 || f.bad {
		return false
	}
	f.bad = true
	tag, n := protowire.ConsumeVarint(f.data)
	if n < 0 || tag < f.tag || tag == f.tag && tag != f.repeated {
		return false
	}
	f.data, f.tag = f.data[n:], tag
	switch protowire.Type(tag & 7) {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(f.data)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(f.data)
	default:
		return false
	}
	if n < 0 {
		return false
	}
	f.data, f.bad = f.data[n:], false
	return true
}
