package model

import (
	"sync"

	"github.com/spexio/spex/spec"
)

// Cache keeps checkers and judgements, each kind up to a bound, and forgets first what was not
// used for longest. M names a version of a specification together with a version of its
// model, and P names a pending set for it; both are the caller's, and a key must always stand for
// the same content. It is safe for concurrent use.
type Cache[M, P comparable] struct {
	mu         sync.Mutex // guards the fields below
	checkers   *lru[M, *Checker]
	joints     *lru[jointKey[M, P], *Checker]
	judgements *lru[judgementKey[M, P], Judgement]
	stats      CacheStats
}

type jointKey[M, P comparable] struct {
	model   M
	pending P
}

type judgementKey[M, P comparable] struct {
	jointKey[M, P]
	transition Transition
}

// CacheLimits bound a Cache; a value that is not positive stands for the default.
type CacheLimits struct {
	// Checkers bounds the models that are ready to judge by, 64 by default. One takes about as much
	// memory as its model's text, several times over.
	Checkers int
	// Pending bounds the pending sets that are ready to judge by, 64 by default.
	Pending int
	// Judgements bounds the judgements that are remembered, 10,000 by default.
	Judgements int
}

// CacheStats counts since the Cache was made.
type CacheStats struct {
	// Hits and Misses count judgements that were asked for.
	Hits, Misses uint64
	// Judgements, Checkers and Pending are how many are kept now.
	Judgements, Checkers, Pending int
}

// Versions is what a judgement is made from.
type Versions struct {
	Spec  *spec.Specification
	Model []Transition
	// Pending are the deviations that are taken into account beside the model.
	Pending []Transition
}

// NewCache makes an empty cache.
func NewCache[M, P comparable](l CacheLimits) *Cache[M, P] {
	or := func(v, fallback int) int {
		if v > 0 {
			return v
		}
		return fallback
	}
	return &Cache[M, P]{
		checkers:   newLRU[M, *Checker](or(l.Checkers, 64)),
		joints:     newLRU[jointKey[M, P], *Checker](or(l.Pending, 64)),
		judgements: newLRU[judgementKey[M, P], Judgement](or(l.Judgements, 10_000)),
	}
}

// Judgement looks up a judgement without computing it.
func (c *Cache[M, P]) Judgement(model M, pending P, t Transition) (Judgement, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := c.judgements.get(judgementKey[M, P]{jointKey[M, P]{model, pending}, t})
	if ok {
		c.stats.Hits++
	} else {
		c.stats.Misses++
	}
	return j, ok
}

// Judge gives a judgement, from memory if possible. load is called when something is not
// there that it needs, and may be slow; its error is passed on. Nothing is locked while load runs or
// a judgement is computed, so two callers may compute the same one; it is the same for both.
func (c *Cache[M, P]) Judge(model M, pending P, t Transition, load func() (Versions, error)) (Judgement, error) {
	if j, ok := c.Judgement(model, pending, t); ok {
		return j, nil
	}
	key := jointKey[M, P]{model, pending}
	c.mu.Lock()
	checker, haveChecker := c.checkers.get(model)
	joint, haveJoint := c.joints.get(key)
	c.mu.Unlock()
	if !haveChecker || !haveJoint {
		v, err := load()
		if err != nil {
			return Judgement{}, err
		}
		if !haveChecker {
			checker = c.Keep(model, NewChecker(v.Spec, v.Model))
		}
		if joint = nil; len(v.Pending) > 0 {
			joint = checker.With(v.Pending)
		}
	}
	j := checker.JudgeWith(t, joint)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joints.put(key, joint)
	c.judgements.put(judgementKey[M, P]{key, t}, j)
	return j, nil
}

// Checker looks up a checker.
func (c *Cache[M, P]) Checker(model M) (*Checker, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checkers.get(model)
}

// Keep remembers a checker, unless there is one already, and returns the one that is
// remembered. A caller that has the checker of an earlier version makes the next one
// with Checker.With, which shares what it can.
func (c *Cache[M, P]) Keep(model M, checker *Checker) *Checker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.checkers.get(model); ok {
		return kept
	}
	c.checkers.put(model, checker)
	return checker
}

// Stats counts what the cache has done.
func (c *Cache[M, P]) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Judgements, s.Checkers, s.Pending = len(c.judgements.entries), len(c.checkers.entries), len(c.joints.entries)
	return s
}

// lru is a map of bounded size that forgets what was not used for longest. It is not safe
// for concurrent use.
type lru[K comparable, V any] struct {
	limit   int
	entries map[K]*lruEntry[K, V]
	// ring is the list's head: its next is the entry used last, its prev the one to forget.
	ring lruEntry[K, V]
}

type lruEntry[K comparable, V any] struct {
	prev, next *lruEntry[K, V]
	key        K
	value      V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	l := &lru[K, V]{limit: limit, entries: map[K]*lruEntry[K, V]{}}
	l.ring.prev, l.ring.next = &l.ring, &l.ring
	return l
}

func (e *lruEntry[K, V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (l *lru[K, V]) first(e *lruEntry[K, V]) {
	e.prev, e.next = &l.ring, l.ring.next
	e.prev.next, e.next.prev = e, e
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.entries[k]
	if !ok {
		return v, false
	}
	e.unlink()
	l.first(e)
	return e.value, true
}

func (l *lru[K, V]) put(k K, v V) {
	if e, ok := l.entries[k]; ok {
		e.value = v
		e.unlink()
		l.first(e)
		return
	}
	if len(l.entries) >= l.limit {
		last := l.ring.prev
		last.unlink()
		delete(l.entries, last.key)
	}
	e := &lruEntry[K, V]{key: k, value: v}
	l.entries[k] = e
	l.first(e)
}
