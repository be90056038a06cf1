package fsm

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// DedupeWindow is how long, in log time, an identifier's request ids are
	// remembered at least, and how long a tombstone is kept, unless the cluster's
	// settings say otherwise.
	DedupeWindow = 24 * time.Hour
	// MinRemembered request ids of an identifier are remembered however old they are.
	MinRemembered = 64
	// MaxRemembered bounds the memory that one busy identifier takes. A request
	// whose id is not newer than a forgotten one answers OUTCOME_UNKNOWN: the
	// bound can make a very late retry fail, and never makes it apply twice.
	MaxRemembered = 1024
	// maxFastClock is how far the clock of a client may be ahead for its requests
	// to be remembered as long as those of others.
	maxFastClock = 24 * time.Hour
)

type requestKind uint8

const (
	requestInit requestKind = iota + 1
	requestStep
	requestDelete
	requestMock
)

// seen is a request that was applied, with what its first answer said.
type seen struct {
	id      string
	hash    uint64
	at      int64
	kind    requestKind
	ref     uint64 // incarnation
	seq     uint64
	from    string // the state before a step, and the one that an initialisation began in
	verdict typesv1.Verdict
	index   uint64
}

// window remembers the request ids of one identifier, across incarnations. Like
// history, a value is immutable to its readers.
type window struct {
	// entries are in the order of their application.
	entries []seen
	// evictedThrough is the highest time, in milliseconds, that a forgotten
	// request id carried.
	evictedThrough int64
}

// find looks from the newest to the oldest, since retries come soon.
func (w window) find(id string) (seen, bool) {
	for i := len(w.entries) - 1; i >= 0; i-- {
		if w.entries[i].id == id {
			return w.entries[i], true
		}
	}
	return seen{}, false
}

// add remembers a request, and forgets those that are older than keep.
func (w window) add(e seen, now int64, keep time.Duration) window {
	w.entries = append(w.entries, e)
	for {
		n := len(w.entries)
		old := n > MinRemembered && now-w.entries[0].at > int64(keep)
		if !old && n <= MaxRemembered {
			return w
		}
		if ms, ok := requestTime(w.entries[0].id); ok {
			w.evictedThrough = max(w.evictedThrough, ms)
		}
		w.entries = w.entries[1:]
	}
}

// newestID is the highest time that a remembered or forgotten request id
// carries, in nanoseconds.
func (w window) newestID() int64 {
	newest := w.evictedThrough
	for i := range w.entries {
		if ms, ok := requestTime(w.entries[i].id); ok {
			newest = max(newest, ms)
		}
	}
	return min(newest, maxTime/int64(time.Millisecond)) * int64(time.Millisecond)
}

// untimed reports whether the window holds a request whose id carries no time.
func (w window) untimed() bool {
	return slices.ContainsFunc(w.entries, func(e seen) bool {
		_, ok := requestTime(e.id)
		return !ok
	})
}

// setVerdict records what became of a step, so that later answers agree.
func (w window) setVerdict(incarnation, seq uint64, v typesv1.Verdict) window {
	for i := len(w.entries) - 1; i >= 0; i-- {
		if e := w.entries[i]; e.kind != requestDelete && e.ref == incarnation && e.seq == seq {
			w.entries = slices.Clone(w.entries)
			w.entries[i].verdict = v
			return w
		}
	}
	return w
}

// forgotten reports whether a request with this id, which the window does not
// hold, may have been applied and forgotten since.
func (s *Shard) forgotten(w window, id string) bool {
	ms, ok := requestTime(id)
	if !ok {
		return false
	}
	return ms <= w.evictedThrough || s.retention.forgotten > 0 && ms <= s.retention.forgotten/int64(time.Millisecond) ||
		s.now/int64(time.Millisecond)-ms >= s.retention.requestWindow().Milliseconds()
}

// requestTime returns the Unix milliseconds in a UUIDv7.
func requestTime(id string) (int64, bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(u[:8]) >> 16), true
}

// hashBody tells apart two requests with one id. Lengths go in too, so that
// neighbouring fields cannot be shifted into each other.
func hashBody(kind requestKind, fields ...string) uint64 {
	d := xxhash.New()
	var n [8]byte
	n[0] = byte(kind)
	_, _ = d.Write(n[:1])
	for _, f := range fields {
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		_, _ = d.Write(n[:])
		_, _ = d.WriteString(f)
	}
	return d.Sum64()
}
