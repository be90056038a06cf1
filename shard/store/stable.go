package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// sealedStable keeps a group's few small values (term, vote, record of the
// newest snapshot) in its bolt file, which checks none of the bytes that it
// reads. So every value is sealed: with a checksum over key and value, and
// with a number that grows by one with every write. The node's Pebble store
// notes the number of each key too. A value that was damaged, lost, or taken
// from an older copy of the file is found when the group is opened; a vote that
// is forgotten could be given twice. After that the values are read from memory.
//
// The note is not synced: it becomes durable with the next append of any group,
// and until then a loss is not seen that far. It is never ahead of the value.
type sealedStable struct {
	db    *raftboltdb.BoltStore
	notes *pebbleDB
	group uint32

	mu     sync.RWMutex // guards the fields below, and serialises writes
	number uint64
	values map[string][]byte
}

// A sealed value is version u8 | number u64 | value | crc32c u32, big endian.
const (
	sealVersion = 1
	sealFixed   = 1 + 8 + 4
)

func sealValue(key string, number uint64, val []byte) []byte {
	b := make([]byte, 0, sealFixed+len(val))
	b = append(b, sealVersion)
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, val...)
	return binary.BigEndian.AppendUint32(b, sealSum(key, b))
}

func sealSum(key string, body []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, body)
}

func unsealValue(key string, b []byte) (number uint64, val []byte, err error) {
	if len(b) < sealFixed {
		return 0, nil, fmt.Errorf("the value of %q is shorter than a value can be", key)
	}
	body := b[:len(b)-4]
	if binary.BigEndian.Uint32(b[len(body):]) != sealSum(key, body) {
		return 0, nil, fmt.Errorf("the checksum of %q does not match", key)
	}
	if body[0] != sealVersion {
		return 0, nil, fmt.Errorf("%w: version %d of %q, this release reads %d", ErrFormat, body[0], key, sealVersion)
	}
	return binary.BigEndian.Uint64(body[1:]), body[9:], nil
}

// noteKey is where the number of a group's value is noted.
func noteKey(group uint32, key string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{keyNote}, group), key...)
}

// noteEnd is the first key behind all notes of a group.
func noteEnd(group uint32) []byte {
	if group == ^uint32(0) {
		return []byte{keyNote + 1}
	}
	return noteKey(group+1, "")
}

// newStableValues is for a group that never had any. A shard of the same id that
// was removed has left nothing in the notes: they go with its manifest, at once. The
// catalog's manifest is not in Pebble, so its notes may be left, and go first.
func newStableValues(db *raftboltdb.BoltStore, notes *pebbleDB, group uint32) (_ *sealedStable, err error) {
	if group == CatalogGroup {
		err = notes.commit(func(b *pebble.Batch) error { return b.DeleteRange(noteKey(group, ""), noteEnd(group), nil) })
	}
	return &sealedStable{db: db, notes: notes, group: group, values: map[string][]byte{}}, err
}

// openStableValues reads the values that readBolt found, and checks them
// against the notes.
func openStableValues(db *raftboltdb.BoltStore, notes *pebbleDB, group uint32, conf map[string][]byte) (*sealedStable, error) {
	s := &sealedStable{db: db, notes: notes, group: group, values: map[string][]byte{}}
	numbers := map[string]uint64{}
	for key, raw := range conf {
		if key == string(stableManifestKey) {
			continue
		}
		number, val, err := unsealValue(key, raw)
		if err != nil {
			return nil, err
		}
		s.values[key], numbers[key] = val, number
		s.number = max(s.number, number)
	}
	err := s.eachNote(func(key string, noted uint64) error {
		if numbers[key] < noted {
			return fmt.Errorf("write %d of %q is gone, the file has %d: it is older than the rest of the replica", noted, key, numbers[key])
		}
		return nil
	})
	return s, err
}

func (s *sealedStable) eachNote(fn func(key string, number uint64) error) (err error) {
	it, err := s.notes.NewIter(&pebble.IterOptions{LowerBound: noteKey(s.group, ""), UpperBound: noteEnd(s.group)})
	if err != nil {
		return s.notes.named(err)
	}
	defer func() { err = errors.Join(err, s.notes.named(it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return s.notes.named(err)
		}
		if len(val) != 8 {
			return fmt.Errorf("%w: the note under %x", ErrManifest, it.Key())
		}
		if err := fn(string(it.Key()[5:]), binary.BigEndian.Uint64(val)); err != nil {
			return err
		}
	}
	return s.notes.named(it.Error())
}

// Set stores a value durably.
func (s *sealedStable) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := string(key)
	number := s.number + 1
	if err := s.db.Set(key, sealValue(k, number, val)); err != nil {
		return err
	}
	s.number = number
	s.values[k] = append([]byte{}, val...)
	return s.notes.note(noteKey(s.group, k), binary.BigEndian.AppendUint64(nil, number))
}

// SetUint64 stores a number durably.
func (s *sealedStable) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// Get returns raft-boltdb's error, whose text raft compares, for what was never set.
func (s *sealedStable) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	val, ok := s.values[string(key)]
	if !ok {
		return nil, raftboltdb.ErrKeyNotFound
	}
	return append([]byte{}, val...), nil
}

// GetUint64 is Get for a number.
func (s *sealedStable) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("%q is not a number: %x", key, val)
	}
	return binary.BigEndian.Uint64(val), nil
}
