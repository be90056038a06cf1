package cluster

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/ring"
)

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
	raw := binary.AppendVarint(c.cluster[:], c.since)
	raw = binary.AppendUvarint(raw, uint64(len(c.at)))
	for _, id := range c.at {
		raw = binary.AppendUvarint(raw, id)
	}
	return api.SealCursor(raw)
}

// parseCursor reads a cursor that a node of the cluster gave out.
func parseCursor(token, clusterID string, shards uint32) (*cursor, error) {
	bad := func(what string) (*cursor, error) { return nil, api.BadCursor(what) }
	body, err := api.OpenCursor(token, 8)
	if err != nil {
		return nil, err
	}
	c := newCursor(clusterID, shards)
	if [8]byte(body[:8]) != c.cluster {
		return bad("is from another cluster")
	}
	body = body[8:]
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
