package ring

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Slots is the number of slots that instances are hashed into. It never
// changes: the slot of an instance decides where its history lives.
const Slots = 16384

// SlotOf returns the slot of an instance, 0..Slots-1: the low 14 bits of the
// xxHash64 (seed 0) of the uvarint of the length of the namespace, the bytes of
// the namespace and the bytes of the id. The length keeps ("a", "bc") and
// ("ab", "c") apart. Two instances may share a slot and stay two instances.
func SlotOf(namespace, id string) uint16 {
	var buf [128]byte
	key := binary.AppendUvarint(buf[:0], uint64(len(namespace)))
	key = append(key, namespace...)
	key = append(key, id...)
	return uint16(xxhash.Sum64(key) % Slots)
}

// SlotTable says which shard serves each slot. It is immutable, and its zero
// value serves nothing.
type SlotTable struct {
	shards []uint32
}

// NewSlotTable spreads the slots over shards 1..shards in contiguous ranges
// whose lengths differ by one at most. A number outside 1..MaxShards is an error
// that wraps ErrArgument.
func NewSlotTable(shards int) (SlotTable, error) {
	if shards < 1 || shards > MaxShards {
		return SlotTable{}, fmt.Errorf("%w: %d shards: want 1 to %d", ErrArgument, shards, MaxShards)
	}
	t := SlotTable{shards: make([]uint32, Slots)}
	for s := range t.shards {
		t.shards[s] = uint32(s*shards/Slots) + 1
	}
	return t, nil
}

// SlotTableOf makes a table from the shard of each slot. The slice must have
// length Slots and hold shard ids from 1; it is copied.
func SlotTableOf(shards []uint32) (SlotTable, error) {
	if len(shards) != Slots {
		return SlotTable{}, fmt.Errorf("%w: a slot table of %d slots: want %d", ErrArgument, len(shards), Slots)
	}
	for slot, shard := range shards {
		if shard == 0 {
			return SlotTable{}, fmt.Errorf("%w: slot %d has no shard", ErrArgument, slot)
		}
	}
	return SlotTable{shards: append([]uint32(nil), shards...)}, nil
}

// Shard returns the shard of a slot, and 0 if the table has no such slot.
func (t SlotTable) Shard(slot uint16) uint32 {
	if int(slot) >= len(t.shards) {
		return 0
	}
	return t.shards[slot]
}

// ShardOf returns the shard that serves an instance, and 0 for the zero table.
func (t SlotTable) ShardOf(namespace, id string) uint32 {
	return t.Shard(SlotOf(namespace, id))
}

// SlotRange is a run of consecutive slots, both ends included, of one shard.
type SlotRange struct {
	First, Last uint16
	Shard       uint32
}

// Ranges returns the table as the fewest runs, in order of slot.
func (t SlotTable) Ranges() []SlotRange {
	var out []SlotRange
	for slot, shard := range t.shards {
		if n := len(out); n > 0 && out[n-1].Shard == shard {
			out[n-1].Last = uint16(slot)
			continue
		}
		out = append(out, SlotRange{First: uint16(slot), Last: uint16(slot), Shard: shard})
	}
	return out
}
