package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

const (
	stableFile = "stable.db"
	logFile    = "log.db" // the catalog's only
)

// Group is the durable storage of one Raft group. Its stores are safe for
// concurrent use as raft uses them: any number of readers, one appender.
type Group struct {
	store *Store
	id    uint32
	dir   string
	gate  *gate

	manifest manifest
	logBolt  *raftboltdb.BoltStore // the catalog's log; nil for shards
	bolt     *raftboltdb.BoltStore
	values   *sealedStable // over bolt
	log      *logStore
	snaps    *snapshotStore

	logs   *guardedLog
	stable *guardedStable
}

// ID returns the id of the group.
func (g *Group) ID() uint32 { return g.id }

// ReplicaID identifies this replica: it is made when the group is created here
// and never used again after the group was removed.
func (g *Group) ReplicaID() string { return g.manifest.Replica }

// Returned reports whether a replica of the group was removed from this node
// before this one was created: what that one had acknowledged, and for whom it had
// voted, is forgotten. The term is not: this one began in it.
func (g *Group) Returned() bool { return g.manifest.Returned }

// Logs returns the log. It is a raft.MonotonicLogStore; the errors that raft
// compares (raft.ErrLogNotFound) come unwrapped. Its writes are on disk when
// they return.
func (g *Group) Logs() raft.LogStore { return g.logs }

// Stable returns the store of the term and the vote.
func (g *Group) Stable() raft.StableStore { return g.stable }

// Snapshots returns the snapshots. List gives the newest recorded one alone:
// falling back to an older one behind a compacted log would lose entries.
func (g *Group) Snapshots() raft.SnapshotStore { return g.snaps }

// HasState reports whether raft has ever written here: a term, a log entry or
// a snapshot; or whether the replica that was here before this one had a term. A
// node with state is never bootstrapped.
func (g *Group) HasState() bool {
	_, last := g.log.bounds()
	if last > 0 || g.snaps.newest() != nil {
		return true
	}
	for _, key := range [][]byte{raftTermKey, []byte("LastVoteTerm"), []byte("LastVoteCand")} {
		val, err := g.stable.Get(key)
		// An error other than "not found" says nothing about emptiness: the
		// careful answer is yes.
		if err == nil && len(val) > 0 || err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return true
		}
	}
	return false
}

// LogBytes returns the bytes (to within 64 KiB) and the number of the log
// entries behind the newest snapshot: what a restart replays, and what the
// loop that takes snapshots by size looks at.
func (g *Group) LogBytes() (bytes, entries uint64) { return g.log.sinceSnapshot() }

// Close closes the group; its raft must have been shut down. Group opens it
// again. It may be called again.
func (g *Group) Close() error {
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.store.groups[g.id] == g {
		delete(g.store.groups, g.id)
	}
	return g.closeStores()
}

// closeStores waits for running calls and closes the group's files.
func (g *Group) closeStores() error {
	if !g.gate.close() {
		return nil
	}
	return g.closeBolt()
}

func (g *Group) closeBolt() error {
	var errs []error
	for _, db := range []*raftboltdb.BoltStore{g.logBolt, g.bolt} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// openGroup opens or creates a group. The caller holds s.mu.
func openGroup(s *Store, id uint32) (_ *Group, err error) {
	g := &Group{store: s, id: id, dir: s.groupDir(id), gate: &gate{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.closeBolt())
		}
	}()
	if err := makeDir(g.dir); err != nil {
		return nil, err
	}
	if err := g.openSides(); err != nil {
		return nil, err
	}
	g.stable = &guardedStable{inner: g.values, group: id, latch: s.latch, gate: g.gate}
	if g.snaps, err = openSnapshots(g); err != nil {
		return nil, err
	}
	if err := g.openLog(); err != nil {
		return nil, err
	}
	g.snaps.log = g.log
	var logs raft.LogStore = g.log
	if s.opts.Middleware != nil {
		logs = s.opts.Middleware(id, logs)
	}
	g.logs = &guardedLog{inner: logs, group: id, latch: s.latch, gate: g.gate}
	return g, nil
}

// openSides opens the log side and the stable side and makes sure that both
// carry the same manifest, finishing a creation that a crash interrupted.
func (g *Group) openSides() error {
	stablePath := filepath.Join(g.dir, stableFile)
	stableThere, err := exists(stablePath)
	if err != nil {
		return err
	}
	logSide, err := g.openLogSide(stableThere)
	if err != nil {
		return err
	}
	if logSide.Stage == stageRemoving {
		return fmt.Errorf("group %d at %s is half removed: open the store again", g.id, g.dir)
	}
	if err := logSide.checkOwner(g.store.opts, int64(g.id), g.dir); err != nil {
		return err
	}
	g.manifest = logSide.at("")
	switch {
	case stableThere:
		if err := g.openStable(stablePath); err != nil {
			return err
		}
	case logSide.Stage == stageReady:
		return g.refuse(ErrStableLost, stablePath, "it held the term and the vote of this replica", nil, mendRestore)
	default:
		if g.bolt, err = g.createBolt(stablePath, g.manifest); err != nil {
			return err
		}
		if g.values, err = newStableValues(g.bolt, g.store.db, g.id); err != nil {
			return err
		}
	}
	if logSide.Stage != stageReady {
		if err := g.keepPromise(); err != nil {
			return err
		}
		return g.saveLogSide(logSide.at(stageReady))
	}
	return nil
}

// keepPromise begins a replica that returned in the term of the one before it.
func (g *Group) keepPromise() error {
	_, promised, err := g.store.removed(g.id)
	if err != nil || promised == 0 {
		return err
	}
	term, err := g.values.GetUint64(raftTermKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) || term >= promised {
		return err
	}
	return g.store.latch.write("creation", g.id, func() error { return g.values.SetUint64(raftTermKey, promised) })
}

func (g *Group) openStable(path string) (err error) {
	conf, err := readBolt(path)
	if err == nil {
		g.bolt, err = openBolt(path)
	}
	if err != nil {
		return g.refuse(ErrStableDamaged, path, "it cannot be opened", err, mendRestore)
	}
	m, err := decodeManifest(conf[string(stableManifestKey)])
	if err != nil {
		return g.refuse(ErrManifest, path, "the stable store's manifest", err, mendRestore)
	}
	if m == nil {
		return g.refuse(ErrManifest, path, "the stable store has no manifest", nil, mendRestore)
	}
	if err := m.checkOwner(g.store.opts, int64(g.id), path); err != nil {
		return err
	}
	if *m != g.manifest {
		return g.refuse(ErrManifest, path, fmt.Sprintf("stable store of group %d, replica %s, beside the log of group %d, replica %s",
			m.Group, m.Replica, g.manifest.Group, g.manifest.Replica), nil, mendRestore)
	}
	if g.values, err = openStableValues(g.bolt, g.store.db, g.id, conf); err != nil {
		return g.refuse(ErrStableDamaged, path, "it holds the term and the vote of this replica", err, mendRestore)
	}
	return nil
}

// openLogSide returns the manifest on the log side, writing it if neither side
// has one yet.
func (g *Group) openLogSide(stableThere bool) (*manifest, error) {
	fresh := manifest{Format: manifestFormat, Cluster: g.store.opts.ClusterID, Node: g.store.opts.NodeID,
		Group: g.id, Replica: uuid.NewString(), Stage: stageCreating}
	path := g.store.logDir()
	var raw []byte
	var err error
	if fresh.Returned, _, err = g.store.removed(g.id); err != nil {
		return nil, err
	}
	if g.id == CatalogGroup {
		path = filepath.Join(g.dir, logFile)
		raw, err = g.openCatalogLog(path, stableThere, fresh)
	} else {
		raw, err = g.store.db.getCopy(manifestKey(g.id))
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(raw)
	if err != nil {
		return nil, g.refuse(ErrManifest, path, "the log's manifest", err, mendRestore)
	}
	switch {
	case m == nil && stableThere:
		return nil, g.refuse(ErrLogLost, path, "the stable store is there, the log and its manifest are not", nil, mendRestore)
	case m == nil && g.id == CatalogGroup:
		return nil, g.refuse(ErrManifest, path, "the log has no manifest", nil, mendRestore)
	case m == nil:
		return &fresh, g.saveLogSide(fresh)
	case m.Group != g.id:
		return nil, g.refuse(ErrManifest, path, fmt.Sprintf("it is the log of group %d", m.Group), nil, mendRestore)
	}
	return m, nil
}

// openCatalogLog opens the catalog's log, creating it when there is no sign
// that it ever existed, and returns the bytes of its manifest.
func (g *Group) openCatalogLog(path string, stableThere bool, fresh manifest) (raw []byte, err error) {
	there, err := exists(path)
	if err != nil {
		return nil, err
	}
	switch {
	case there:
		if _, err = readBolt(path); err == nil {
			g.logBolt, err = openBolt(path)
		}
		if err != nil {
			return nil, g.refuse(ErrLogDamaged, path, "it cannot be opened", err, mendRestore)
		}
	case stableThere:
		return nil, nil
	default:
		if g.logBolt, err = g.createBolt(path, fresh); err != nil {
			return nil, err
		}
	}
	return boltGet(g.logBolt, stableManifestKey)
}

func (g *Group) saveLogSide(m manifest) error {
	return g.store.latch.write("manifest", g.id, func() error {
		if g.id == CatalogGroup {
			return g.logBolt.Set(stableManifestKey, m.encode())
		}
		return g.store.db.set(manifestKey(g.id), m.encode())
	})
}

func (g *Group) createBolt(path string, m manifest) (db *raftboltdb.BoltStore, err error) {
	err = g.store.latch.write("creation", g.id, func() error {
		db, err = createBolt(path, stableManifestKey, m.encode())
		return err
	})
	return db, err
}

func (g *Group) refuse(reason error, path, problem string, cause error, mend string) error {
	return &RefusedError{Reason: reason, Group: int64(g.id), Path: path, Problem: problem, Cause: cause, Mend: mend}
}

// openLog reads the log and checks it against the term and the snapshot.
func (g *Group) openLog() error {
	var be logBackend = &pebbleLog{db: g.store.db, group: g.id}
	path := g.store.logDir()
	if g.id == CatalogGroup {
		be = &boltLog{group: g.id, db: g.logBolt}
		path = filepath.Join(g.dir, logFile)
	}
	var floor uint64
	snap := g.snaps.newest()
	if snap != nil {
		floor = snap.Index
	}
	log, err := newLogStore(g.id, be, floor, g.store.marks)
	if err != nil {
		return g.refuse(ErrLogDamaged, path, "the log cannot be read through", err, mendReplica)
	}
	g.log = log
	if err := g.checkTerms(path, snap); err != nil {
		return err
	}
	if first, _ := log.bounds(); first > floor+1 {
		return g.refuse(ErrLogGap, path, fmt.Sprintf("the log begins at %d, the newest snapshot ends at %d", first, floor), nil, mendRestore)
	}
	if err := g.checkMark(path, floor); err != nil {
		return err
	}
	if err := g.finishInstall(snap); err != nil {
		return err
	}
	g.store.marks.follow(g.id, g.manifest.Replica, log)
	return g.snaps.reap()
}

// checkMark finds a log whose end was cut off.
func (g *Group) checkMark(path string, floor uint64) error {
	_, last := g.log.bounds()
	end, mark := max(last, floor), g.store.marks.of(g.id, g.manifest.Replica)
	if end >= mark {
		return nil
	}
	return g.refuse(ErrLogCut, path, fmt.Sprintf("it ends at %d, and entry %d was on disk (%s): at least %d entries are missing",
		end, mark, g.store.marks.path, mark-end), nil, mendReplica)
}

func (g *Group) checkTerms(path string, snap *snapshotRecord) error {
	term, err := g.stable.GetUint64(raftTermKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return g.refuse(ErrStableLost, filepath.Join(g.dir, stableFile), "the current term cannot be read", err, mendRestore)
	}
	const why = "the stable store is older than the rest of the replica, so a vote may be forgotten"
	if _, last := g.log.bounds(); last > 0 {
		var l raft.Log
		if err := g.log.GetLog(last, &l); err != nil {
			return err
		}
		if l.Term > term {
			return g.refuse(ErrTermBehind, path, fmt.Sprintf("entry %d has term %d, the current term is %d: %s", last, l.Term, term, why), nil, mendRestore)
		}
	}
	if snap != nil && snap.Term > term {
		return g.refuse(ErrTermBehind, g.snaps.path(snap.ID), fmt.Sprintf("the snapshot has term %d, the current term is %d: %s", snap.Term, term, why), nil, mendRestore)
	}
	return nil
}

// finishInstall empties a log that a snapshot from the leader has overtaken:
// raft records the snapshot, restores it and then removes the log, and a crash
// in between leaves the old one. Its entries are either in the snapshot or, if
// it has another entry where the snapshot ends, were never committed.
func (g *Group) finishInstall(snap *snapshotRecord) error {
	first, last := g.log.bounds()
	if snap == nil || first == 0 || first > snap.Index {
		return nil
	}
	if last >= snap.Index {
		var l raft.Log
		if err := g.log.GetLog(snap.Index, &l); err != nil {
			return err
		}
		if l.Term == snap.Term {
			return nil
		}
	}
	g.store.opts.Logger.Warn("emptying a log that an installed snapshot overtook",
		"group", g.id, "first", first, "last", last, "snapshot", snap.Index)
	return g.store.latch.write("DeleteRange", g.id, func() error { return g.log.DeleteRange(first, last) })
}
