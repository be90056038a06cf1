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
// that is created again under the same id remembers neither log nor vote, but
// Returned, and the term.
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
	if err := s.remember(g.id, 0); err != nil {
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
//
// A replica that is created again begins in the term of this one, or in the given
// one if that is later: the latest that the caller knows of, 0 for none. It is all
// that is left when this replica's own term cannot be read.
func (s *Store) Remove(id uint32, term uint64) error {
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
	if err := s.remember(id, term); err != nil {
		return err
	}
	err = s.latch.write("manifest", id, func() error { return s.db.set(manifestKey(id), m.at(stageRemoving).encode()) })
	if err != nil {
		return err
	}
	failpoint.Hit("store/group-removing")
	return s.finishRemoval(id)
}

// remember keeps for a replica that may be created here again that there was one
// before, and its term: whoever had promised not to follow a leader of an earlier
// one must not, or what it acknowledges to that leader is lost. It comes first of
// all in a removal; nothing reads it as long as the replica is there.
func (s *Store) remember(id uint32, floor uint64) error {
	_, before, err := s.removed(id)
	if err != nil {
		return err
	}
	own, err := s.termOnDisk(id)
	if err != nil {
		s.opts.Logger.Warn("the term of a replica that is removed cannot be read", "group", id, "instead", max(before, floor), "error", err)
	}
	return s.db.set(removedKey(id), binary.BigEndian.AppendUint64(nil, max(before, own, floor)))
}

// removed tells whether a replica of the group was removed here, and what term the
// next one begins in.
func (s *Store) removed(id uint32) (was bool, term uint64, err error) {
	raw, err := s.db.getCopy(removedKey(id))
	switch {
	case err != nil || raw == nil:
		return false, 0, err
	case len(raw) == 0: // by a release that did not keep the term
		return true, 0, nil
	case len(raw) != 8:
		return false, 0, fmt.Errorf("%w: the term of the removed replica of group %d: %x", ErrManifest, id, raw)
	}
	return true, binary.BigEndian.Uint64(raw), nil
}

// termOnDisk reads the term of a group that is not open, 0 if it has none.
func (s *Store) termOnDisk(id uint32) (uint64, error) {
	conf, err := readBolt(filepath.Join(s.groupDir(id), stableFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	raw := conf[string(raftTermKey)]
	if err != nil || raw == nil {
		return 0, err
	}
	_, val, err := unsealValue(string(raftTermKey), raw)
	if err == nil && len(val) != 8 {
		err = fmt.Errorf("the current term is not a number: %x", val)
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(val), nil
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
	s.marks.forget(id)
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
		if err := s.remember(id, 0); err != nil {
			return err
		}
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
