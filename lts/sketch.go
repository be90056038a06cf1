package lts

import "math/bits"

// sketches give each state a key such that equivalent states have equal keys, in a
// few linear rounds. Other states mostly have different ones, but that is not relied
// on: keys only say where refinement starts. That saves most of its work on systems
// whose states differ by what happens within a few steps.
//
// A round is one of signature refinement (Blom and Orzan, Distributed branching
// bisimulation reduction of state spaces, 2003), with a set of 128 bits in place of
// a signature, in which each observation sets a few bits. The union of such sets
// is the bitwise or, so that what a state can do after internal steps costs nothing
// to collect, however long their chain is.
type sketches struct {
	key []uint64
}

// sketchRounds bounds the rounds. They end before when a round does not make half as
// many keys again: a line or a ring needs so many that the refiner is faster.
const sketchRounds = 24

// sketch computes the keys of the components.
func (g *graph) sketch(count int32, rounds int) *sketches {
	byComponent := g.membersByComponent(count)
	key, next := make([]uint64, count), make([]uint64, count)
	divergence := uint64(g.l.maxLabel()+1) * labelFactor
	low, high := make([]uint64, count), make([]uint64, count)
	known := 1
	seen := make([]uint64, 1<<bits.Len(uint(count)/32))
	for range rounds {
		clear(seen)
		for c := range count {
			g.round(c, byComponent, divergence, key, low, high)
			k := mix(mix(key[c]^low[c]) ^ high[c])
			next[c] = k
			seen[(k>>6)&uint64(len(seen)-1)] |= 1 << (k & 63)
		}
		key, next = next, key
		found := 0
		for _, word := range seen {
			found += bits.OnesCount64(word)
		}
		if found == known || found < known+known/2 {
			break
		}
		known = found
	}
	return &sketches{key}
}

// round collects what component c can do, given that it is done for all components
// with smaller numbers, which are those that it reaches by internal steps.
func (g *graph) round(c int32, members memberList, divergence uint64, key, low, high []uint64) {
	var a, b uint64
	if g.divergent != nil && g.divergent[c] {
		a, b = scatter(mix(key[c] ^ divergence))
	}
	for _, s := range members.of(c) {
		for _, step := range g.l.Steps(s) {
			to := step.To
			if g.component != nil {
				to = g.component[to]
				if step.Label == Tau && key[to] == key[c] {
					if to != c {
						a, b = a|low[to], b|high[to]
					}
					continue
				}
			}
			x, y := scatter(mix(key[to] ^ uint64(step.Label)*labelFactor))
			a, b = a|x, b|y
		}
	}
	low[c], high[c] = a, b
}

// labelFactor keeps small labels from meeting small differences of keys.
const labelFactor = 0x9e3779b97f4a7c15

// scatter chooses two bits in each half of a set.
func scatter(h uint64) (low, high uint64) {
	return 1<<(h&63) | 1<<(h>>6&63), 1<<(h>>12&63) | 1<<(h>>18&63)
}

// mix is a bijection that spreads every bit over all (the finalizer of MurmurHash3,
// which is in the public domain).
func mix(x uint64) uint64 {
	x += 0x632be59bd9b4e019
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// memberList holds the states of each component: one each if offsets is nil, else
// those of c are states[offsets[c]:offsets[c+1]].
type memberList struct{ offsets, states []int32 }

func (g *graph) membersByComponent(count int32) memberList {
	m := memberList{states: make([]int32, g.l.States())}
	if g.component == nil {
		for s := range m.states {
			m.states[s] = int32(s)
		}
		return m
	}
	if int(count) == len(m.states) {
		for s, c := range g.component {
			m.states[c] = int32(s)
		}
		return m
	}
	m.offsets = make([]int32, count+1)
	for _, c := range g.component {
		m.offsets[c+1]++
	}
	startOf(m.offsets)
	for s, c := range g.component {
		m.states[m.offsets[c+1]] = int32(s)
		m.offsets[c+1]++
	}
	return m
}

func (m *memberList) of(c int32) []int32 {
	if m.offsets == nil {
		return m.states[c : c+1]
	}
	return m.states[m.offsets[c]:m.offsets[c+1]]
}

// group numbers the states such that those with the same key follow each other, and
// returns the numbers, and how many states there are for each key. Keys come in the
// order of their first states.
func (k *sketches) group() (number, sizes []int32) {
	n := len(k.key)
	class := make([]int32, n)
	// An open hash table of classes by key.
	table := make([]int32, 2<<bits.Len(uint(n)))
	mask := uint64(len(table) - 1)
	var keys []uint64
	for s, key := range k.key {
		i := key & mask
		for table[i] != 0 && keys[table[i]-1] != key {
			i = (i + 1) & mask
		}
		if table[i] == 0 {
			keys = append(keys, key)
			sizes = append(sizes, 0)
			table[i] = int32(len(keys))
		}
		class[s] = table[i] - 1
		sizes[class[s]]++
	}
	next := make([]int32, len(sizes))
	for i := 1; i < len(sizes); i++ {
		next[i] = next[i-1] + sizes[i-1]
	}
	for s, c := range class {
		class[s] = next[c]
		next[c]++
	}
	return class, sizes
}
