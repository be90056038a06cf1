package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// boltLog is a log in a raft-boltdb file of its own: the catalog's. Neither
// raft-boltdb nor bbolt checks the bytes it reads back, so the entry's checksum
// travels behind its extensions.
type boltLog struct {
	group uint32
	db    *raftboltdb.BoltStore
}

const boltSealLen = 1 + 4 // version, crc32c

func (b *boltLog) size(l *raft.Log) int { return entryKeyLen + entrySize(l) }

// seal appends version and checksum to a copy of the extensions.
func (b *boltLog) seal(l *raft.Log) *raft.Log {
	sealed := *l
	sealed.AppendedAt = l.AppendedAt.UTC()
	sealed.Extensions = append(slices.Clip(l.Extensions), entryVersion)
	sealed.Extensions = binary.BigEndian.AppendUint32(sealed.Extensions, b.checksum(l))
	return &sealed
}

func (b *boltLog) checksum(l *raft.Log) uint32 {
	var fixed [4 + 8 + 8 + 1 + 8 + 4 + 4]byte
	be := binary.BigEndian
	be.PutUint32(fixed[0:], b.group)
	be.PutUint64(fixed[4:], l.Index)
	be.PutUint64(fixed[12:], l.Term)
	fixed[20] = byte(l.Type)
	be.PutUint64(fixed[21:], uint64(l.AppendedAt.Unix()))
	be.PutUint32(fixed[29:], uint32(l.AppendedAt.Nanosecond()))
	be.PutUint32(fixed[33:], uint32(len(l.Extensions)))
	sum := crc32.Checksum(fixed[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, l.Extensions)
	return crc32.Update(sum, castagnoli, l.Data)
}

func (b *boltLog) put(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		sealed[i] = b.seal(l)
	}
	return b.db.StoreLogs(sealed)
}

func (b *boltLog) deleteRange(from, to uint64) error { return b.db.DeleteRange(from, to) }

func (b *boltLog) get(index uint64, l *raft.Log) error {
	var got raft.Log
	if err := b.db.GetLog(index, &got); err != nil {
		if err == raft.ErrLogNotFound {
			return err
		}
		return &EntryError{b.group, index, fmt.Errorf("%w: %w", ErrLogDamaged, err)}
	}
	if err := b.unseal(&got); err != nil {
		return &EntryError{b.group, index, fmt.Errorf("%w: %w", ErrLogDamaged, err)}
	}
	*l = got
	return nil
}

func (b *boltLog) unseal(l *raft.Log) error {
	n := len(l.Extensions) - boltSealLen
	if n < 0 {
		return errEntryShort
	}
	seal := l.Extensions[n:]
	l.Extensions = l.Extensions[:n:n]
	if n == 0 {
		l.Extensions = nil
	}
	if seal[0] != entryVersion {
		return fmt.Errorf("%w %d (this release reads %d)", errEntryVersion, seal[0], entryVersion)
	}
	if binary.BigEndian.Uint32(seal[1:]) != b.checksum(l) {
		return errEntryChecksum
	}
	return nil
}

func (b *boltLog) scan(fn func(l *raft.Log) error) error {
	first, err := b.db.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := b.db.LastIndex()
	if err != nil {
		return err
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		err := b.get(i, &l)
		if err == raft.ErrLogNotFound {
			continue // the next one found shows the gap
		}
		if err != nil {
			return err
		}
		if l.Index != i {
			return &EntryError{b.group, i, fmt.Errorf("%w: it says that it is %d", ErrLogDamaged, l.Index)}
		}
		if err := fn(&l); err != nil {
			return err
		}
	}
	return nil
}
