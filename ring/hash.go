package ring

import "github.com/cespare/xxhash/v2"

// distinctHash is xxHash64 made free of collisions among the keys it was asked
// about: a key whose hash is taken gets the next free value. consistent keeps
// members and their virtual nodes in maps by hash, and with a collision a
// member loses its place on the ring, which can end in its "not enough room"
// panic or in a replica set that names one member twice. The answers depend on
// the order of first use, which Place keeps fixed.
type distinctHash struct {
	byKey map[string]uint64
	taken map[uint64]struct{}
	sum   func([]byte) uint64
}

func newDistinctHash() *distinctHash {
	return &distinctHash{
		byKey: make(map[string]uint64),
		taken: make(map[uint64]struct{}),
		sum:   xxhash.Sum64,
	}
}

// Sum64 implements consistent.Hasher.
func (d *distinctHash) Sum64(key []byte) uint64 {
	if h, ok := d.byKey[string(key)]; ok {
		return h
	}
	h := d.sum(key)
	for {
		if _, used := d.taken[h]; !used {
			break
		}
		h++
	}
	d.taken[h] = struct{}{}
	d.byKey[string(key)] = h
	return h
}
