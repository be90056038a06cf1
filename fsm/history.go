package fsm

import (
	"slices"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// step is one entry of a history; its sequence number follows from its place.
type step struct {
	// t points into a set of the machine where the model knows the step.
	t         *model.Transition
	time      int64
	eventTime int64
	verdict   typesv1.Verdict
	// judgement is immutable; nil for steps that nobody had to judge.
	judgement *typesv1.Judgement
}

const historyChunk = 64

// history is the kept tail of an instance's steps. Values are immutable to
// their readers: append writes behind the lengths that older values know, and
// only ever to the newest value, and set copies the chunk that it changes.
type history struct {
	// first is the sequence number of the first kept step;
	// first + len() is the one that the next step gets.
	first uint64
	// skip counts the steps at the front that are not kept any more.
	skip int
	// full holds chunks of exactly historyChunk steps, tail what came after them.
	full [][]step
	tail []step
}

func (h history) len() int { return len(h.full)*historyChunk + len(h.tail) - h.skip }

// at returns the step with the sequence number, which must be kept.
func (h history) at(seq uint64) *step {
	i := int(seq-h.first) + h.skip
	if c := i / historyChunk; c < len(h.full) {
		return &h.full[c][i%historyChunk]
	}
	return &h.tail[i-len(h.full)*historyChunk]
}

func (h history) has(seq uint64) bool {
	return seq >= h.first && seq < h.first+uint64(h.len())
}

// append adds a step and drops the oldest ones above the limit.
func (h history) append(s step, limit int) history {
	if len(h.tail) == historyChunk {
		h.full, h.tail = append(h.full, h.tail), nil
	}
	h.tail = append(h.tail, s)
	for h.len() > limit {
		h.first++
		if h.skip++; h.skip == historyChunk && len(h.full) > 0 {
			h.full, h.skip = h.full[1:], 0
		}
	}
	return h
}

// set returns the history with another step at a kept sequence number.
func (h history) set(seq uint64, s step) history {
	i := int(seq-h.first) + h.skip
	c := i / historyChunk
	if c == len(h.full) {
		h.tail = slices.Clone(h.tail)
		h.tail[i-c*historyChunk] = s
		return h
	}
	h.full = slices.Clone(h.full)
	h.full[c] = slices.Clone(h.full[c])
	h.full[c][i%historyChunk] = s
	return h
}
