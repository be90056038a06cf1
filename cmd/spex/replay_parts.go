package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync"

	"github.com/google/uuid"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// replayRequestID derives the request id of one step of a replay, so that a
// second run asks for the same. position is the sequence number of the step.
//
// It is a UUID of version 8, not 7: it says nothing about when it was made, and
// the cluster therefore takes it only together with expected_seq.
func replayRequestID(namespace, spec, instance string, position uint64) string {
	h := sha256.New()
	for _, part := range []string{"spex replay 1", namespace, spec, instance} {
		// Lengths keep ("a", "bc") and ("ab", "c") apart.
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Write(binary.AppendUvarint(nil, position))
	var id uuid.UUID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id.String()
}

// pendingSteps keeps recorded steps whose verdict is pending. It is safe for
// concurrent use.
type pendingSteps struct {
	// mu guards the fields below.
	mu    sync.Mutex
	steps []*spexv1.TransitionRequest
	// forgotten counts steps beyond maxPending, and those that cannot be asked for.
	forgotten int64
}

func (p *pendingSteps) add(steps ...*spexv1.TransitionRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range steps {
		if len(p.steps) == maxPending {
			p.forgotten++
			continue
		}
		p.steps = append(p.steps, s)
	}
}

func (p *pendingSteps) addForgotten() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten++
}

func (p *pendingSteps) take() []*spexv1.TransitionRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := p.steps
	p.steps = nil
	return steps
}

func (p *pendingSteps) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.steps)) + p.forgotten
}

// problemList keeps the first few problems. It is safe for concurrent use.
type problemList struct {
	// mu guards the fields below.
	mu    sync.Mutex
	texts []string
	count int
}

func (l *problemList) add(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if len(l.texts) < maxProblems {
		l.texts = append(l.texts, text)
	}
}

func (l *problemList) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.texts...)
}

// hidden counts the problems that list does not have.
func (l *problemList) hidden() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count - len(l.texts)
}

// round3 rounds to three decimals, which is what measurements are worth.
func round3(x float64) float64 { return math.Round(x*1000) / 1000 }
