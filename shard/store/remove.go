package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/spexio/spex/internal/failpoint"
)

// removingSuffix marks the directory of a group on its way out.
const removingSuffix = ".removing"

// Remove closes the group and deletes everything of it. Once it has begun, a
// crash does not bring the group back: the next Open finishes it. Its raft
// must have been shut down, and this replica must no longer be a voter: one
// that is created again under the same id remembers neither log nor vote, but for
// Returned.
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

// Remove deletes everything of a shard that is not open, also of one that Group
// refuses; like Group.Remove it survives a crash. A shard that is not here is no
// error; the catalog's group and one that is open are.
func (s *Store) Remove(id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case id == CatalogGroup:
		return errors.New("the catalog's group cannot be removed")
	case s.groups[id] != nil:
		return fmt.Errorf("group %d is open", id)
	}
	raw, err := s.db.getCopy(manifestKey(id))
	if err != nil {
		return err
	}
	m, err := decodeManifest(raw)
	if err != nil || m == nil {
		// What is left is refused anyhow; it needs an owner that can be read.
		m = &manifest{Format: manifestFormat, Cluster: s.opts.ClusterID, Node: s.opts.NodeID, Group: id}
	}
	err = s.latch.write("manifest", id, func() error { return s.db.set(manifestKey(id), m.at(stageRemoving).encode()) })
	if err != nil {
		return err
	}
	failpoint.Hit("store/group-removing")
	return s.finishRemoval(id)
}

// finishRemoval takes the directory out of sight before it deletes in it, so
// that what is left after a crash is never taken for a group, and forgets the
// group in Pebble last.
func (s *Store) finishRemoval(id uint32) error {
	// First of all, as the rename is the end of the catalog's group.
	if err := s.db.set(removedKey(id), nil); err != nil {
		return err
	}
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
	return s.db.commit(func(b *pebble.Batch) error {
		if err := b.DeleteRange(entryKey(nil, id, 0), entryEnd(id), nil); err != nil {
			return err
		}
		if err := b.DeleteRange(noteKey(id, ""), noteEnd(id), nil); err != nil {
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
