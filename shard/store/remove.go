package store

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// removingSuffix marks the directory of a group on its way out.
const removingSuffix = ".removing"

// Remove closes the group and deletes everything of it. Once it has begun, a
// crash does not bring the group back: the next Open finishes it. Its raft
// must have been shut down, and this replica must no longer be a voter: one
// that is created again under the same id remembers neither log nor vote.
func (g *Group) Remove() error {
	s := g.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[g.id] != g {
		return ErrClosed
	}
	delete(s.groups, g.id)
	if err := g.closeStores(); err != nil {
		return err
	}
	if g.id != CatalogGroup {
		// From here on the group counts as removed, whatever is left of it. The
		// catalog's log is closed by now; for it the rename is that moment.
		if err := g.saveLogSide(g.manifest.at(stageRemoving)); err != nil {
			return err
		}
	}
	return s.finishRemoval(g.id)
}

// finishRemoval takes the directory out of sight before it deletes in it, so
// that what is left after a crash is never taken for a group, and forgets the
// group in Pebble last.
func (s *Store) finishRemoval(id uint32) error {
	dir := s.groupDir(id)
	gone := dir + removingSuffix
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncDir(s.groupsDir()); err != nil {
		return err
	}
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if id == CatalogGroup {
		return nil
	}
	return s.db.commit(func(b *pebble.Batch) error {
		if err := b.DeleteRange(entryKey(nil, id, 0), entryEnd(id), nil); err != nil {
			return err
		}
		return b.Delete(manifestKey(id), nil)
	})
}

// finishRemovals completes what a crash interrupted.
func (s *Store) finishRemovals() error {
	var ids []uint32
	err := s.eachManifest(func(id uint32, m manifest) error {
		if m.Stage == stageRemoving {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.finishRemoval(id); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.groupsDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isRemoving(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.groupsDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func groupOfManifestKey(key []byte) (uint32, bool) {
	if len(key) != 5 || key[0] != keyManifest {
		return 0, false
	}
	return binary.BigEndian.Uint32(key[1:]), true
}
