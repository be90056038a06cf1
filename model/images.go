package model

import (
	"slices"

	"github.com/spexio/spex/lts"
)

// maxImages bounds the pairs that findImages looks at. Beyond it images are
// unknown, and explanations make do with less.
const maxImages = 1 << 18

// images says for each reachable state of a model which blocks of the specification
// it may correspond to: those that the specification can be in after some path that
// leads the model there. A state that some path makes impossible in the specification
// may have none.
type images struct {
	of map[lts.State][]lts.Block
	// complete is false when the search was given up.
	complete bool
}

// targets returns where a block can be after the step: where the observations with the
// label lead, and for an internal step also the block itself.
func targets(p *lts.Partition, b lts.Block, label lts.Label) []lts.Block {
	var out []lts.Block
	if label == lts.Tau {
		out = append(out, b)
	}
	for _, o := range p.Signature(b) {
		if o.Label == label {
			out = append(out, o.To)
		}
	}
	return out
}

// findImages follows the model from its initial state together with the blocks of
// the specification. The blocks must be those of a system that holds both.
func findImages(g *lts.LTS, p *lts.Partition, model, specification lts.State) images {
	type pair struct {
		state lts.State
		block lts.Block
	}
	seen := map[pair]bool{}
	im := images{of: map[lts.State][]lts.Block{}, complete: true}
	var todo []pair
	visit := func(x pair) {
		if !seen[x] {
			seen[x] = true
			im.of[x.state] = append(im.of[x.state], x.block)
			todo = append(todo, x)
		}
	}
	visit(pair{model, p.Block(specification)})
	for len(todo) > 0 {
		if len(seen) > maxImages {
			return images{}
		}
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, step := range g.Steps(x.state) {
			for _, block := range targets(p, x.block, step.Label) {
				visit(pair{step.To, block})
			}
		}
	}
	for _, blocks := range im.of {
		slices.Sort(blocks)
	}
	return im
}
