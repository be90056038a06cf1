package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// entryVersion is the first byte of every stored log entry.
const entryVersion = 1

// Layout of a value (integers big endian):
//
//	version u8 | type u8 | index u64 | term u64 | appended at: seconds i64, nanoseconds u32 |
//	extensions length u32 | extensions | data | crc32c u32
//
// The checksum covers the key as well as the value, so an intact value under
// the wrong key is as damaged as a flipped byte.
const (
	entryFixed = 1 + 1 + 8 + 8 + 8 + 4 + 4
	entrySum   = 4
	// noTime marks a zero AppendedAt in the nanoseconds field.
	noTime = math.MaxUint32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errEntryShort    = errors.New("value is shorter than an entry can be")
	errEntryVersion  = errors.New("unknown entry version")
	errEntryChecksum = errors.New("checksum does not match")
)

// entrySize is the number of bytes that encodeEntry writes for l.
func entrySize(l *raft.Log) int {
	return entryFixed + len(l.Extensions) + len(l.Data) + entrySum
}

// encodeEntry writes l into dst, which has exactly entrySize(l) bytes.
func encodeEntry(dst, key []byte, l *raft.Log) {
	dst[0], dst[1] = entryVersion, byte(l.Type)
	be := binary.BigEndian
	be.PutUint64(dst[2:], l.Index)
	be.PutUint64(dst[10:], l.Term)
	if l.AppendedAt.IsZero() {
		be.PutUint64(dst[18:], 0)
		be.PutUint32(dst[26:], noTime)
	} else {
		be.PutUint64(dst[18:], uint64(l.AppendedAt.Unix()))
		be.PutUint32(dst[26:], uint32(l.AppendedAt.Nanosecond()))
	}
	be.PutUint32(dst[30:], uint32(len(l.Extensions)))
	n := entryFixed
	n += copy(dst[n:], l.Extensions)
	n += copy(dst[n:], l.Data)
	be.PutUint32(dst[n:], entryChecksum(key, dst[:n]))
}

func entryChecksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// decodeEntry reads what encodeEntry wrote under key into l. It copies: v may
// be reused afterwards. AppendedAt comes back in UTC; nil and empty Data or
// Extensions are one and the same to raft and come back as nil.
func decodeEntry(key, v []byte, l *raft.Log) error {
	if len(v) < entryFixed+entrySum {
		return errEntryShort
	}
	be := binary.BigEndian
	body := v[:len(v)-entrySum]
	if be.Uint32(v[len(body):]) != entryChecksum(key, body) {
		return errEntryChecksum
	}
	if v[0] != entryVersion {
		return fmt.Errorf("%w %d (this release reads %d)", errEntryVersion, v[0], entryVersion)
	}
	ext := uint64(be.Uint32(v[30:]))
	if ext > uint64(len(body)-entryFixed) {
		return errEntryShort
	}
	*l = raft.Log{
		Type:  raft.LogType(v[1]),
		Index: be.Uint64(v[2:]),
		Term:  be.Uint64(v[10:]),
	}
	if nanos := be.Uint32(v[26:]); nanos != noTime {
		l.AppendedAt = time.Unix(int64(be.Uint64(v[18:])), int64(nanos)).UTC()
	}
	tail := append([]byte(nil), body[entryFixed:]...)
	if ext > 0 {
		l.Extensions = tail[:ext:ext]
	}
	if int(ext) < len(tail) {
		l.Data = tail[ext:]
	}
	return nil
}
