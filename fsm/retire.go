package fsm

import (
	"slices"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Versions of specifications are retired in two steps. The catalog marks one as
// retiring, for good. Each shard drops it once nothing there refers to it, and
// says so; a shard that never had it notes that too, so that nobody brings it
// there any more. When all have dropped it, the catalog forgets it.

// DropResult is the answer to DropSpecification.
type DropResult struct {
	// Dropped is false while something on the shard refers to the version.
	Dropped bool
}

// put stores a record; what refers to each version of a specification is counted.
func (s *Shard) put(r *record) {
	old, replaced := s.records.Set(r)
	s.count(r, old, replaced)
}

// count counts a record that came, perhaps in the place of another.
func (s *Shard) count(r, old *record, replaced bool) {
	if replaced && old.spec == r.spec {
		return
	}
	if replaced {
		s.refer(old.spec, -1)
	}
	s.refer(r.spec, 1)
}

// remove forgets a record.
func (s *Shard) remove(r *record) {
	if old, ok := s.records.Delete(r); ok {
		s.refer(old.spec, -1)
	}
}

func (s *Shard) refer(key SpecKey, n int) {
	if p := s.spec(key); p != nil { // a tombstone of nothing is of no specification
		p.uses += n
	}
}

// referred reports whether the shard needs a version: instances and tombstones
// are of it, steps await a verdict by it, or the catalog has not taken all that
// was learned or found by it.
func (s *Shard) referred(p *specState) bool {
	if p.uses > 0 {
		return true
	}
	needed := false
	s.awaiting.Scan(func(w *awaitingStep) bool {
		needed = w.spec == p.key
		return !needed
	})
	if needed {
		return true
	}
	s.outbox.Scan(func(item *statev1.OutboxItem) bool {
		needed = SpecKeyOf(item.GetSpec()) == p.key
		return !needed
	})
	return needed
}

// applyDrop lets go of a version that the catalog is retiring. The notes of
// earlier ones go too, once any request that could name them is too old.
func (s *Shard) applyDrop(c *statev1.DropSpecification) Result {
	key := SpecKeyOf(c.GetSpec())
	if key.Version == 0 {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "no version of %q is named", key.Name)
	}
	p := s.spec(key)
	if p != nil && (p.dropped() || s.referred(p)) {
		return Result{Value: &DropResult{Dropped: p.dropped()}}
	}
	note := newSpecState(key)
	if p != nil {
		note.mode, note.modeRevision = p.mode, p.modeRevision
	}
	note.droppedAt = max(s.now, 1)
	s.specs[key] = note
	for _, old := range s.sortedSpecs() {
		if old.dropped() && old.droppedAt+int64(s.retention.requestWindow()) <= s.now {
			delete(s.specs, old.key)
		}
	}
	return Result{Value: &DropResult{Dropped: true}}
}

func (p *specState) dropped() bool { return p.droppedAt != 0 }

// retired refuses to work with a version that was dropped.
func (p *specState) retired() (Result, bool) {
	if p == nil || !p.dropped() {
		return Result{}, false
	}
	return refuse(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "version %d of the specification %q is retired: use a newer one", p.key.Version, p.key.Name), true
}

// specForNew finds the specification of an instance that is to begin. It is asked
// after the requests that were applied before: those get their first answers,
// whatever has become of the version since.
func (s *Shard) specForNew(key SpecKey, refused string) (*specState, *Error) {
	if refused != "" {
		return nil, Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "%s", refused)
	}
	p := s.spec(key)
	if res, gone := p.retired(); gone {
		return nil, res.Err
	}
	if p == nil || p.definition == nil {
		return nil, Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED, "version %d of the specification %q is not installed on this shard", key.Version, key.Name)
	}
	return p, nil
}

// Droppable reports whether nothing on the shard refers to a version, known or
// not, and it was not dropped yet.
func (s *Shard) Droppable(key SpecKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.spec(key)
	return p == nil || !p.dropped() && !s.referred(p)
}

// ---- catalog ----

// keeps is how many versions of a specification the catalog keeps: of one that
// was deleted, only the last.
func (c *Catalog) keeps(namespace, name string) uint64 {
	if v := c.latest(namespace, name); v != nil && v.deleted {
		return 1
	}
	return c.settings.WithDefaults().SpecVersions
}

// newer counts the versions of a specification above one, up to limit.
func (c *Catalog) newer(key SpecKey, limit uint64) uint64 {
	var n uint64
	c.specs.Descend(&specVersion{key: SpecKey{key.Namespace, key.Name, ^uint64(0)}}, func(v *specVersion) bool {
		if v.key.Namespace != key.Namespace || v.key.Name != key.Name || v.key.Version <= key.Version || n == limit {
			return false
		}
		n++
		return true
	})
	return n
}

// Retirable lists up to limit versions that are beyond the setting and not yet
// being retired, oldest first. Whoever leads the catalog proposes
// RetireSpecification for them.
func (c *Catalog) Retirable(limit int) []SpecKey {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []SpecKey
	var name SpecKey // without a version
	var count, keep uint64
	c.specs.Reverse(func(v *specVersion) bool {
		if this := (SpecKey{Namespace: v.key.Namespace, Name: v.key.Name}); this != name {
			name, count, keep = this, 0, c.keeps(this.Namespace, this.Name)
		}
		if count++; count <= keep {
			return true
		}
		if m, ok := c.models.Get(&catalogModel{key: v.key}); ok && m.mayRetire() {
			list = append(list, v.key)
		}
		return true
	})
	slices.Reverse(list)
	return list[:min(len(list), limit)]
}

func (m *catalogModel) mayRetire() bool {
	return !m.retiring && m.mode != typesv1.ModelMode_MODEL_MODE_SEALING
}

// applyRetire begins to retire a version.
func (c *Catalog) applyRetire(r *statev1.RetireSpecification) Result {
	key := SpecKeyOf(r.GetSpec())
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return c.done(0, false) // all shards have dropped it meanwhile
	}
	if keep := c.keeps(key.Namespace, key.Name); !m.mayRetire() || c.newer(key, keep) < keep {
		return c.done(key.Version, false)
	}
	m.retiring = true
	return c.done(key.Version, true)
}

// droppedBy notes that a shard has dropped a version, and forgets the version
// when all have.
func (c *Catalog) droppedBy(key SpecKey, shard uint32) bool {
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok || !m.retiring || shard == 0 || shard > c.shards {
		return false
	}
	at, found := slices.BinarySearch(m.droppedBy, shard)
	if found {
		return false
	}
	m.droppedBy = slices.Insert(slices.Clone(m.droppedBy), at, shard)
	if len(m.droppedBy) == int(c.shards) {
		c.models.Delete(m)
		c.specs.Delete(&specVersion{key: key})
	}
	return true
}

// Settings returns the cluster's settings; see Settings.WithDefaults.
func (c *Catalog) Settings() Settings {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.settings
}
