package cluster

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
)

// cursorVersion is the first byte of every cursor. A release reads the versions
// up to its own.
const cursorVersion = 1

var cursorSums = crc32.MakeTable(crc32.Castagnoli)

// cursor says how far a watch has come in every group. It is opaque to clients,
// and bound to its cluster: the ids of another one mean other reports.
type cursor struct {
	cluster [8]byte
	// since leaves out reports from before it, in Unix nanoseconds; 0 leaves out
	// nothing. A watch from now on needs it for shards that do not answer when
	// it begins.
	since int64
	// at holds by group, the catalog being 0, the id of the last report that was
	// looked at. Shards beyond it, of which there may be more one day, begin at 0.
	at []uint64
}

func newCursor(clusterID string, shards uint32) *cursor {
	return &cursor{cluster: clusterTag(clusterID), at: make([]uint64, shards+1)}
}

func clusterTag(id string) (tag [8]byte) {
	sum := sha256.Sum256([]byte(id))
	copy(tag[:], sum[:])
	return tag
}

// String gives the cursor the form in which clients keep it.
func (c *cursor) String() string {
	raw := append([]byte{cursorVersion}, c.cluster[:]...)
	raw = binary.AppendVarint(raw, c.since)
	raw = binary.AppendUvarint(raw, uint64(len(c.at)))
	for _, id := range c.at {
		raw = binary.AppendUvarint(raw, id)
	}
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, cursorSums))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor reads a cursor that a node of the cluster gave out.
func parseCursor(token, clusterID string, shards uint32) (*cursor, error) {
	bad := func(what string) (*cursor, error) {
		return nil, fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the cursor %s: give the whole cursor of an earlier response, or none and say where to begin", what)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < 1+8+4 {
		return bad("is not one that a watch gave out")
	}
	if raw[0] != cursorVersion {
		return bad("is of a version that this release does not know")
	}
	body, sum := raw[:len(raw)-4], binary.BigEndian.Uint32(raw[len(raw)-4:])
	if crc32.Checksum(body, cursorSums) != sum {
		return bad("is damaged")
	}
	c := newCursor(clusterID, shards)
	if [8]byte(body[1:9]) != c.cluster {
		return bad("is from another cluster")
	}
	body = body[9:]
	var n int
	if c.since, n = binary.Varint(body); n <= 0 {
		return bad("is damaged")
	}
	body = body[n:]
	count, n := binary.Uvarint(body)
	if n <= 0 || count > ring.MaxShards+1 || count > uint64(shards)+1 {
		return bad("names more shards than there are")
	}
	body = body[n:]
	for i := range count {
		if c.at[i], n = binary.Uvarint(body); n <= 0 {
			return bad("is damaged")
		}
		body = body[n:]
	}
	if len(body) > 0 {
		return bad("is damaged")
	}
	return c, nil
}
