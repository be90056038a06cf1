package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// Keys of the shared Pebble store: one byte of kind, then the group, then the
// index, big endian so that Pebble's order is ours.
const (
	keyStore    = 's' // the manifest of the store itself
	keyManifest = 'm' // + group: the manifest of a group
	keyEntry    = 'l' // + group + index: a log entry
	keyNote     = 'n' // + group + key: the number of a value in the group's stable store
	keyRemoved  = 'r' // + group: the term of the replica of the group that was removed here
)

func manifestKey(group uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{keyManifest}, group)
}

func removedKey(group uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{keyRemoved}, group)
}

const entryKeyLen = 1 + 4 + 8

func entryKey(dst []byte, group uint32, index uint64) []byte {
	dst = append(dst, keyEntry)
	dst = binary.BigEndian.AppendUint32(dst, group)
	return binary.BigEndian.AppendUint64(dst, index)
}

// entryEnd is the first key behind all entries of a group.
func entryEnd(group uint32) []byte {
	k := entryKey(nil, group, ^uint64(0))
	return append(k, 0)
}

// pebbleLog is one group's part of the shared Pebble store.
type pebbleLog struct {
	db    *pebbleDB
	group uint32
}

func (p *pebbleLog) size(l *raft.Log) int { return entryKeyLen + entrySize(l) }

// put commits one batch with a sync. Batches that other groups commit at the
// same time share the fsync.
func (p *pebbleLog) put(logs []*raft.Log) error {
	return p.db.commit(func(b *pebble.Batch) error {
		var key [entryKeyLen]byte
		for _, l := range logs {
			k := entryKey(key[:0], p.group, l.Index)
			op := b.SetDeferred(entryKeyLen, entrySize(l))
			copy(op.Key, k)
			encodeEntry(op.Value, k, l)
			if err := op.Finish(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *pebbleLog) deleteRange(from, to uint64) error {
	end := entryEnd(p.group)
	if to < ^uint64(0) {
		end = entryKey(nil, p.group, to+1)
	}
	return p.db.commit(func(b *pebble.Batch) error {
		return b.DeleteRange(entryKey(nil, p.group, from), end, nil)
	})
}

func (p *pebbleLog) get(index uint64, l *raft.Log) error {
	var buf [entryKeyLen]byte
	key := entryKey(buf[:0], p.group, index)
	v, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return &EntryError{p.group, index, err}
	}
	defer closer.Close()
	if err := decodeEntry(key, v, l); err != nil {
		return &EntryError{p.group, index, fmt.Errorf("%w: %w", ErrLogDamaged, err)}
	}
	return nil
}

func (p *pebbleLog) scan(fn func(l *raft.Log) error) (err error) {
	it, err := p.db.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(nil, p.group, 0),
		UpperBound: entryEnd(p.group),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		if len(key) != entryKeyLen {
			return fmt.Errorf("%w: unknown key %x", ErrLogDamaged, key)
		}
		index := binary.BigEndian.Uint64(key[5:])
		v, err := it.ValueAndErr()
		if err != nil {
			return &EntryError{p.group, index, err}
		}
		var l raft.Log
		if err := decodeEntry(key, v, &l); err != nil {
			return &EntryError{p.group, index, fmt.Errorf("%w: %w", ErrLogDamaged, err)}
		}
		if l.Index != index {
			return &EntryError{p.group, index, fmt.Errorf("%w: it says that it is %d", ErrLogDamaged, l.Index)}
		}
		if err := fn(&l); err != nil {
			return err
		}
	}
	return it.Error()
}
