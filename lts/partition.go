package lts

import "sync"

// Block is the index of an equivalence class of a Partition.
type Block = int32

// Observation is an element of a signature: from the states of a block, after
// internal steps inside the block, the action Label can lead into block To. It is a
// step of the quotient.
type Observation = Step

func unpack(v uint64) Observation { return Observation{Label: Label(v >> 32), To: Block(uint32(v))} }

// Partition holds the classes of an equivalence of the states of one LTS, of all
// states whether they are reachable or not (see Classes). Blocks are numbered in the
// order of their first states. The quotient (blocks as states, observations as
// transitions) is the smallest system that is equivalent; see Quotient.
//
// Signatures are made when the first of them is asked for, in linear time. A
// Partition keeps its LTS for that.
type Partition struct {
	block  []Block // of each state
	blocks int

	l *LTS
	// internalIsInert: internal steps inside a block are not observed.
	internalIsInert bool
	// speaks[s] says that the signature of the block of s is made from the steps of
	// s. One state with all its component would do for a block, but it has to be
	// a bottom state, which has no internal steps inside its block to follow: in a
	// stable partition it can do by itself all that its block can do. So signatures
	// take no more memory than the system, however long its internal chains.
	speaks []bool
	// diverges[b]: states of b can take internal steps for ever inside it. Nil
	// where the equivalence does not look at that.
	diverges []bool

	once     sync.Once
	quotient LTS // blocks as states, signatures as steps; initial is that of l
}

// Blocks is the number of classes.
func (p *Partition) Blocks() int { return p.blocks }

// Block is the class of a state.
func (p *Partition) Block(s State) Block { return p.block[s] }

// Same reports whether two states are equivalent.
func (p *Partition) Same(a, b State) bool { return p.block[a] == p.block[b] }

// Signature returns what the states of a block can do, sorted by label and block,
// without duplicates. Internal steps inside the block are not part of it, unless
// the classes are those of strong bisimilarity. For weak bisimilarity it is what its
// states can do by single steps. The slice must not be changed.
func (p *Partition) Signature(b Block) []Observation {
	p.once.Do(p.observe)
	return p.quotient.Steps(b)
}

// Observes reports whether an observation is in the signature of a block.
func (p *Partition) Observes(b Block, o Observation) bool {
	sig, key := p.Signature(b), o.pack()
	low, high := 0, len(sig)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if sig[middle].pack() < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low < len(sig) && sig[low] == o
}

// Diverges reports whether the states of a block can take internal steps for ever
// without leaving it. It is always false for an equivalence that does not tell.
func (p *Partition) Diverges(b Block) bool { return p.diverges != nil && p.diverges[b] }

// newPartition numbers the blocks of a partition anew. speaks may be nil for all states.
func newPartition(l *LTS, block []Block, blocks int, internalIsInert bool, speaks []bool) *Partition {
	number := make([]Block, blocks)
	next := Block(0)
	for s, b := range block {
		if number[b] == 0 {
			next++
			number[b] = next
		}
		block[s] = number[b] - 1
	}
	return &Partition{l: l, block: block, blocks: blocks, internalIsInert: internalIsInert, speaks: speaks}
}

// observe makes the signatures.
func (p *Partition) observe() {
	offsets, total := make([]int32, p.blocks+1), 0
	p.eachObservation(func(b Block, _ Observation) {
		offsets[b+1]++
		total++
	})
	startOf(offsets)
	steps := make([]Step, total)
	p.eachObservation(func(b Block, o Observation) {
		steps[offsets[b+1]] = o
		offsets[b+1]++
	})
	p.quotient = LTS{initial: p.block[p.l.initial], offsets: offsets, steps: normalize(offsets, steps)}
}

func (p *Partition) eachObservation(visit func(Block, Observation)) {
	for s, b := range p.block {
		if p.speaks != nil && !p.speaks[s] {
			continue
		}
		for _, step := range p.l.Steps(State(s)) {
			if to := p.block[step.To]; step.Label != Tau || to != b || !p.internalIsInert {
				visit(b, Observation{step.Label, to})
			}
		}
	}
}
