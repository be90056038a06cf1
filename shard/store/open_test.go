package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// filled makes a directory with both kinds of group in it and closes it.
func filled(t *testing.T) string {
	dir := t.TempDir()
	s, err := Open(dir, opts(t))
	must(t, err)
	for _, k := range kinds {
		g := mustGroup(t, s, k.id)
		setTerm(t, g, 3)
		must(t, g.Logs().StoreLogs(entries(1, 5, 3)))
	}
	must(t, s.Close())
	return dir
}

func TestReopenFindsEverything(t *testing.T) {
	dir := filled(t)
	s := mustOpen(t, dir, opts(t))
	ids, err := s.Groups()
	must(t, err)
	if len(ids) != 2 || ids[0] != 0 || ids[1] != 7 {
		t.Fatalf("groups %v", ids)
	}
	replicas := map[string]bool{}
	for _, k := range kinds {
		g := mustGroup(t, s, k.id)
		wantBounds(t, g.Logs(), 1, 5)
		if term, err := g.Stable().GetUint64(raftTermKey); err != nil || term != 3 {
			t.Fatalf("term %d, %v", term, err)
		}
		if !g.HasState() {
			t.Fatal("no state")
		}
		if again := mustGroup(t, s, k.id); again != g {
			t.Fatal("one group was opened twice")
		}
		replicas[g.ReplicaID()] = true
	}
	if len(replicas) != 2 || replicas[""] {
		t.Fatalf("replica ids %v", replicas)
	}
}

func TestNewGroupHasNoState(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		write := map[string]func(g *Group){
			"term":     func(g *Group) { setTerm(t, g, 1) },
			"vote":     func(g *Group) { must(t, g.Stable().Set([]byte("LastVoteCand"), []byte("n2"))) },
			"entry":    func(g *Group) { must(t, g.Logs().StoreLog(entry(1, 1))) },
			"snapshot": func(g *Group) { writeSnapshot(t, g, 1, 1, "") },
		}
		for name, fn := range write {
			g := mustGroup(t, mustOpen(t, t.TempDir(), opts(t)), id)
			if g.HasState() {
				t.Fatal("a new group has state")
			}
			// raft takes this text, and only this one, for "nothing yet".
			if _, err := g.Stable().GetUint64(raftTermKey); err == nil || err.Error() != "not found" {
				t.Fatalf("term of a new group: %v", err)
			}
			if fn(g); !g.HasState() {
				t.Fatalf("a %s is no state", name)
			}
		}
	})
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, opts(t))
	_, err := Open(dir, opts(t))
	wantRefused(t, err, ErrInUse)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	_, err = Open(link, opts(t))
	wantRefused(t, err, ErrInUse)
	must(t, s.Close())
	must(t, mustOpen(t, link, opts(t)).Close())
}

func TestOthersDirectoryIsRefused(t *testing.T) {
	rows := []struct {
		name, node, cluster string
		want                error
	}{
		{"cluster", "n1", "c2", ErrOtherCluster},
		{"node", "n2", "c1", ErrOtherNode},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			dir := filled(t)
			o := opts(t)
			o.NodeID, o.ClusterID = r.node, r.cluster
			_, err := Open(dir, o)
			wantRefused(t, err, r.want)
			for _, id := range []string{r.node + r.cluster, "n1c1"} {
				if !strings.Contains(err.Error(), `"`+id[:2]+`"`) && !strings.Contains(err.Error(), `"`+id[2:]+`"`) {
					t.Fatalf("the message does not name both sides: %v", err)
				}
			}
			must(t, mustOpen(t, dir, opts(t)).Close()) // the owner still gets in
		})
	}
	if _, err := Open(t.TempDir(), Options{NodeID: "n1"}); err == nil {
		t.Fatal("opened without a cluster id")
	}
}

// A part that is taken away or exchanged is missed, whoever's part it is.
func TestLostPartsAreRefused(t *testing.T) {
	move := func(dir string, from, to string) error {
		return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
	}
	rows := []struct {
		name  string
		group uint32
		spoil func(dir, foreign string) error
		want  error
	}{
		{"stable store of a shard", 7, func(dir, _ string) error {
			return os.Remove(filepath.Join(dir, "groups/0007/stable.db"))
		}, ErrStableLost},
		{"whole directory of a shard", 7, func(dir, _ string) error {
			return os.RemoveAll(filepath.Join(dir, "groups/0007"))
		}, ErrStableLost},
		{"stable store of the catalog", 0, func(dir, _ string) error {
			return os.Remove(filepath.Join(dir, "groups/0000/stable.db"))
		}, ErrStableLost},
		{"log of the catalog", 0, func(dir, _ string) error {
			return os.Remove(filepath.Join(dir, "groups/0000/log.db"))
		}, ErrLogLost},
		{"torn stable store", 7, func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "groups/0007/stable.db"), []byte("torn"), 0o600)
		}, ErrStableDamaged},
		{"torn log of the catalog", 0, func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "groups/0000/log.db"), []byte("torn"), 0o600)
		}, ErrLogDamaged},
		{"stable store of another group", 7, func(dir, _ string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "groups/0007/stable.db")),
				move(dir, "groups/0000/stable.db", "groups/0007/stable.db"))
		}, ErrManifest},
		{"stable store of another replica", 7, func(dir, foreign string) error {
			return os.Rename(filepath.Join(foreign, "groups/0007/stable.db"), filepath.Join(dir, "groups/0007/stable.db"))
		}, ErrManifest},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			dir := filled(t)
			must(t, r.spoil(dir, filled(t)))
			s := mustOpen(t, dir, opts(t))
			for range 2 { // a refusal does not mend it by writing something
				_, err := s.Group(r.group)
				wantRefused(t, err, r.want)
			}
			for _, k := range kinds {
				if k.id != r.group && r.want != ErrManifest {
					mustGroup(t, s, k.id) // the others are not touched
				}
			}
		})
	}
}

func TestLostPebbleIsRefused(t *testing.T) {
	for _, empty := range []bool{false, true} {
		dir := filled(t)
		must(t, os.RemoveAll(filepath.Join(dir, "log")))
		if empty { // as a mount point without its disk
			must(t, os.Mkdir(filepath.Join(dir, "log"), 0o700))
		}
		for range 2 {
			_, err := Open(dir, opts(t))
			wantRefused(t, err, ErrLogLost)
		}
		if names, _ := os.ReadDir(filepath.Join(dir, "log")); len(names) != 0 {
			t.Fatalf("the refusal wrote %v", names)
		}
	}
}

// A Pebble store of the right owner without this group in it: an older copy.
func TestStableStoreWithoutItsLogIsRefused(t *testing.T) {
	dir := filled(t)
	s := mustOpen(t, dir, opts(t))
	must(t, s.db.Delete(manifestKey(7), pebble.Sync))
	_, err := s.Group(7)
	wantRefused(t, err, ErrLogLost)
}

func TestStateThatDoesNotFitIsRefused(t *testing.T) {
	rows := []struct {
		name  string
		spoil func(t *testing.T, g *Group)
		want  error
	}{
		{"log above the term", func(t *testing.T, g *Group) {
			must(t, g.Logs().StoreLog(entry(6, 4)))
		}, ErrTermBehind},
		{"snapshot above the term", func(t *testing.T, g *Group) {
			writeSnapshot(t, g, 3, 4, "")
		}, ErrTermBehind},
		{"log begins behind nothing", func(t *testing.T, g *Group) {
			must(t, g.Logs().DeleteRange(1, 2))
		}, ErrLogGap},
		{"log begins behind the snapshot's end", func(t *testing.T, g *Group) {
			writeSnapshot(t, g, 3, 3, "")
			must(t, g.Logs().DeleteRange(1, 4))
		}, ErrLogGap},
		{"terms that fall", func(t *testing.T, g *Group) {
			must(t, g.Logs().StoreLog(entry(6, 2)))
		}, ErrLogDamaged},
		{"unreadable record of the snapshot", func(t *testing.T, g *Group) {
			must(t, g.Stable().Set(stableSnapshotKey, []byte("{")))
		}, ErrSnapshotDamaged},
		{"manifest of the future", func(t *testing.T, g *Group) {
			m := g.manifest
			m.Format++
			must(t, g.bolt.Set(stableManifestKey, m.encode()))
		}, ErrFormat},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, id uint32) {
				s := mustOpen(t, filled(t), opts(t))
				g := mustGroup(t, s, id)
				r.spoil(t, g)
				must(t, g.Close())
				_, err := s.Group(id)
				wantRefused(t, err, r.want)
			})
		})
	}
}

// An installed snapshot is recorded before raft empties the log; whatever a
// crash in between leaves, the next open has what raft would have.
func TestInstallIsFinishedOnOpen(t *testing.T) {
	rows := []struct {
		name        string
		index, term uint64
		first, last uint64 // of the log afterwards
	}{
		{"log ends before the snapshot", 100, 3, 0, 0},
		{"log conflicts at the snapshot's end", 4, 2, 0, 0},
		{"log agrees with the snapshot", 4, 3, 1, 5},
		{"log ends with the snapshot", 5, 3, 1, 5},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, id uint32) {
				s := mustOpen(t, filled(t), opts(t))
				g := mustGroup(t, s, id)
				writeSnapshot(t, g, r.index, r.term, "state")
				must(t, g.Close())
				g = mustGroup(t, s, id)
				wantBounds(t, g.Logs(), r.first, r.last)
				next := max(r.index, r.last) + 1
				must(t, g.Logs().StoreLog(entry(next, 3)))
			})
		})
	}
}

// A crash at each step of a creation, and at each step of a removal.
func TestCreationAndRemovalSurviveACrash(t *testing.T) {
	rows := []struct {
		name string
		undo func(t *testing.T, g *Group) // from a fresh, closed group back to the step
	}{
		{"only the log side has its manifest", func(t *testing.T, g *Group) {
			must(t, os.Remove(filepath.Join(g.dir, stableFile)))
		}},
		{"a torn temporary stable store", func(t *testing.T, g *Group) {
			must(t, os.Remove(filepath.Join(g.dir, stableFile)))
			must(t, os.WriteFile(filepath.Join(g.dir, stableFile+tmpSuffix), []byte("torn"), 0o600))
		}},
		{"both have it, ready was not written", func(*testing.T, *Group) {}},
	}
	for _, r := range rows {
		t.Run("creating: "+r.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, id uint32) {
				s := mustOpen(t, t.TempDir(), opts(t))
				g := mustGroup(t, s, id)
				must(t, g.saveLogSide(g.manifest.at(stageCreating)))
				must(t, g.Close())
				r.undo(t, g)
				again := mustGroup(t, s, id)
				if again.ReplicaID() != g.ReplicaID() {
					t.Fatal("the creation was begun anew, not finished")
				}
				setTerm(t, again, 1)
				must(t, again.Close())
				must(t, os.Remove(filepath.Join(g.dir, stableFile)))
				_, err := s.Group(id)
				wantRefused(t, err, ErrStableLost) // from now on it is a loss
			})
		})
	}
	t.Run("removing: after the first step", func(t *testing.T) {
		dir := filled(t)
		s := mustOpen(t, dir, opts(t))
		g := mustGroup(t, s, 7)
		must(t, g.saveLogSide(g.manifest.at(stageRemoving)))
		must(t, s.Close())
		wantRemoved(t, mustOpen(t, dir, opts(t)), 7)
	})
	t.Run("removing: after the rename", func(t *testing.T) {
		eachKind(t, func(t *testing.T, id uint32) {
			dir := filled(t)
			s := mustOpen(t, dir, opts(t))
			g := mustGroup(t, s, id)
			if id != CatalogGroup {
				must(t, g.saveLogSide(g.manifest.at(stageRemoving)))
			}
			must(t, s.remember(id, 0))
			must(t, s.Close())
			must(t, os.Rename(g.dir, g.dir+removingSuffix))
			wantRemoved(t, mustOpen(t, dir, opts(t)), id)
		})
	})
}

func TestRemove(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, filled(t), opts(t))
		g := mustGroup(t, s, id)
		if g.Returned() {
			t.Error("the first replica says that there was one before")
		}
		must(t, g.Remove())
		wantRemoved(t, s, id)
		if err := g.Remove(); !errors.Is(err, ErrClosed) {
			t.Fatalf("removing twice: %v", err)
		}
	})
}

// The term of a removed replica, or a later one that the caller knows, is where the
// next one begins, whatever happens on the way.
func TestTheTermOutlivesItsReplica(t *testing.T) {
	const id = 7
	spoil := func(t *testing.T, dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "groups/0007/stable.db"), []byte("spoilt"), 0o600))
	}
	for name, tc := range map[string]struct {
		own, caller, want uint64
		then              func(t *testing.T, dir string) // before it is removed
	}{
		"its own":                      {5, 0, 5, nil},
		"its own is the later":         {5, 4, 5, nil},
		"the caller's is the later":    {5, 6, 6, nil},
		"it never had one":             {0, 0, 0, nil},
		"its own cannot be read":       {5, 4, 4, spoil},
		"it is lost with all the rest": {5, 4, 4, func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "groups/0007"))) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, opts(t))
			g := mustGroup(t, s, id)
			if tc.own > 0 {
				setTerm(t, g, tc.own)
			}
			must(t, g.Close())
			if tc.then != nil {
				tc.then(t, dir)
			}
			must(t, s.Remove(id, tc.caller))
			must(t, s.Close())
			s = mustOpen(t, dir, opts(t))
			for round := range 3 {
				g = mustGroup(t, s, id)
				term, err := g.Stable().GetUint64(raftTermKey)
				if term != tc.want || (err == nil) != (term > 0) {
					t.Fatalf("replica %d begins in term %d, %v; want %d", round, term, err, tc.want)
				}
				if g.HasState() != (term > 0) || !g.Returned() {
					t.Errorf("state: %t, returned: %t", g.HasState(), g.Returned())
				}
				must(t, g.Close())
				if round == 0 { // a crash before it was written that the replica is ready
					must(t, g.saveLogSide(g.manifest.at(stageCreating)))
					must(t, os.Remove(filepath.Join(g.dir, stableFile)))
					continue
				}
				must(t, s.Remove(id, 0))
			}
		})
	}
	t.Run("removed by an older release", func(t *testing.T) {
		s := mustOpen(t, t.TempDir(), opts(t))
		must(t, s.db.set(removedKey(id), nil))
		if g := mustGroup(t, s, id); !g.Returned() || g.HasState() {
			t.Errorf("returned: %t, state: %t", g.Returned(), g.HasState())
		}
	})
}

// wantRemoved checks that a group is gone, that the other one is not, and
// that a group can be made again in its place.
func wantRemoved(t *testing.T, s *Store, id uint32) {
	t.Helper()
	ids, err := s.Groups()
	must(t, err)
	if len(ids) != 1 || ids[0] == id {
		t.Fatalf("groups: %v", ids)
	}
	names, err := os.ReadDir(s.groupsDir())
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("directories: %v", names)
	}
	g := mustGroup(t, s, id)
	if !g.Returned() {
		t.Error("the new replica does not know that there was one before")
	}
	must(t, g.Close())
	if g = mustGroup(t, s, id); !g.Returned() {
		t.Error("opened again, the new replica does not know that there was one before")
	}
	if term, err := g.Stable().GetUint64(raftTermKey); err != nil || term != 3 || !g.HasState() {
		t.Errorf("the new replica begins in term %d, %v; the one before had 3", term, err)
	}
	for _, key := range []string{"LastVoteTerm", "LastVoteCand"} {
		if val, err := g.Stable().Get([]byte(key)); err == nil {
			t.Errorf("the new replica has %s %q", key, val)
		}
	}
	if g.snaps.newest() != nil {
		t.Error("the new replica has a snapshot")
	}
	wantBounds(t, g.Logs(), 0, 0)
	wantBounds(t, mustGroup(t, s, ids[0]).Logs(), 1, 5)
}

func TestUseAfterClose(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, t.TempDir(), opts(t))
		g := mustGroup(t, s, id)
		sink := newSink(t, g, 1, 1)
		must(t, s.Close())
		_, errFirst := g.Logs().FirstIndex()
		_, errTerm := g.Stable().GetUint64(raftTermKey)
		_, errList := g.Snapshots().List()
		_, errGroup := s.Group(id)
		_, errGroups := s.Groups()
		for n, err := range []error{errFirst, errTerm, errList, errGroup, errGroups, sink.Close(),
			g.Logs().StoreLog(entry(1, 1)), g.Logs().GetLog(1, new(raft.Log)), g.Logs().DeleteRange(1, 1),
			g.Stable().Set([]byte("k"), nil)} {
			if !errors.Is(err, ErrClosed) { // and not fatal: opts would fail the test
				t.Errorf("call %d: %v", n, err)
			}
		}
		must(t, errors.Join(s.Close(), g.Close()))
	})
}

// A stable store that is put back from an older copy has forgotten a vote.
func TestAnOlderStableStoreIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		dir := filled(t)
		s := mustOpen(t, dir, opts(t))
		path := filepath.Join(s.groupDir(id), stableFile)
		old, err := os.ReadFile(path)
		must(t, err)
		g := mustGroup(t, s, id)
		must(t, g.Stable().Set([]byte("LastVoteCand"), []byte("n2")))
		must(t, g.Close())
		must(t, os.WriteFile(path, old, 0o600))
		_, err = s.Group(id)
		wantRefused(t, err, ErrStableDamaged)
		if !strings.Contains(err.Error(), "LastVoteCand") {
			t.Fatalf("the error does not say what is missing: %v", err)
		}
	})
}
