package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/internal/hclogslog"
)

// What raft.FileSnapshotStore makes of the group's directory.
const (
	snapDir       = "snapshots"
	snapMetaFile  = "meta.json"
	snapStateFile = "state.bin"
	// snapRetain is 2 because the file store deletes old snapshots when a new
	// one gets its name, which is before we have recorded the new one.
	snapRetain = 2
	// snapSyncBytes is how much of a snapshot is synced at a time.
	snapSyncBytes = 1 << 20
)

// snapshotRecord names, in the stable store, the snapshot that the replica
// stands on. It is written after the snapshot is whole on disk and before raft
// may compact the log behind it.
type snapshotRecord struct {
	ID      string `json:"id"`
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Payload int64  `json:"payload"`  // bytes that the FSM wrote
	MetaSum uint64 `json:"meta_sum"` // xxhash64 of meta.json
	Sum     []byte `json:"sum"`      // the trailer
}

// snapshotStore is a raft.SnapshotStore over raft's file store. It frames and
// checks every snapshot and serves the newest recorded one alone.
type snapshotStore struct {
	g     *Group
	inner *raft.FileSnapshotStore
	log   *logStore // set before the store is handed out

	closeMu sync.Mutex // serialises the closing of sinks: name, then record
	mu      sync.Mutex // guards rec
	rec     *snapshotRecord
}

// openSnapshots opens the snapshots of a group and checks the recorded one
// from its first byte to its last.
func openSnapshots(g *Group) (*snapshotStore, error) {
	if err := makeDir(filepath.Join(g.dir, snapDir)); err != nil {
		return nil, err
	}
	logger := hclogslog.New(g.store.opts.Logger.With("group", g.id))
	inner, err := raft.NewFileSnapshotStoreWithLogger(g.dir, snapRetain, logger.Named("snapshots"))
	if err != nil {
		return nil, err
	}
	s := &snapshotStore{g: g, inner: inner}
	raw, err := g.values.Get(stableSnapshotKey)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var rec snapshotRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, s.refuse(filepath.Join(g.dir, stableFile), "the record of the newest snapshot is not readable", err)
	}
	if err := s.verify(&rec); err != nil {
		return nil, s.refuse(s.path(rec.ID), fmt.Sprintf("the newest snapshot, up to index %d", rec.Index), err)
	}
	s.rec = &rec
	return s, nil
}

func (s *snapshotStore) refuse(path, problem string, cause error) error {
	return s.g.refuse(ErrSnapshotDamaged, path, problem, cause, mendReplica)
}

// path is the directory of a snapshot. An id with a separator in it, which
// only damage can bring about, stays inside.
func (s *snapshotStore) path(id string) string {
	return filepath.Join(s.g.dir, snapDir, filepath.Base(id))
}

func (s *snapshotStore) newest() *snapshotRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

// readMeta reads meta.json and checks it against the record.
func (s *snapshotStore) readMeta(rec *snapshotRecord) (*raft.SnapshotMeta, error) {
	raw, err := os.ReadFile(filepath.Join(s.path(rec.ID), snapMetaFile))
	if err != nil {
		return nil, err
	}
	if xxhash.Sum64(raw) != rec.MetaSum {
		return nil, errors.New("meta.json: checksum does not match the recorded one")
	}
	var m raft.SnapshotMeta
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("meta.json: %w", err)
	}
	if m.ID != rec.ID || m.Index != rec.Index || m.Term != rec.Term {
		return nil, fmt.Errorf("meta.json is of snapshot %s, index %d, term %d; recorded is %s, %d, %d",
			m.ID, m.Index, m.Term, rec.ID, rec.Index, rec.Term)
	}
	return &m, nil
}

// verify reads a recorded snapshot through.
func (s *snapshotStore) verify(rec *snapshotRecord) (err error) {
	m, err := s.readMeta(rec)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(s.path(rec.ID), snapStateFile))
	if err != nil {
		return err
	}
	r, err := s.unframe(f, m)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	n, err := io.Copy(io.Discard, r)
	if err == nil && (n != rec.Payload || string(r.hash.trailer()) != string(rec.Sum)) {
		err = errors.New("it is not the recorded one")
	}
	return err
}

// unframe reads and checks the header and returns a reader of the payload.
// m.Size is the size of the file and becomes that of the payload.
func (s *snapshotStore) unframe(src io.ReadCloser, m *raft.SnapshotMeta) (*snapshotReader, error) {
	h, raw, err := readSnapshotHeader(src)
	if err != nil {
		return nil, err
	}
	if h.Cluster != s.g.store.opts.ClusterID || h.Group != s.g.id {
		return nil, fmt.Errorf("it is of group %d in cluster %q", h.Group, h.Cluster)
	}
	if err := h.matches(m); err != nil {
		return nil, err
	}
	payload := m.Size - int64(len(raw)) - int64(snapTrailer)
	if payload < 0 {
		return nil, fmt.Errorf("file of %d bytes is too short", m.Size)
	}
	m.Size = payload
	return newSnapshotReader(src, raw, payload), nil
}

// Create begins a snapshot, of the local FSM or received from the leader. One
// behind the newest recorded snapshot is refused: to stand on it would forget
// entries that this replica has acknowledged.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration,
	confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	var sink raft.SnapshotSink
	err := s.g.gate.do(func() (err error) {
		sink, err = s.create(version, index, term, conf, confIndex, trans)
		return err
	})
	return sink, err
}

func (s *snapshotStore) create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration,
	confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	if err := s.g.store.latch.failed(); err != nil {
		return nil, err
	}
	if err := s.notOlder(index); err != nil {
		return nil, err
	}
	header, err := (&snapshotHeader{Cluster: s.g.store.opts.ClusterID, Group: s.g.id, Index: index, Term: term,
		Configuration: conf, ConfigurationIndex: confIndex}).encode()
	if err != nil {
		return nil, err
	}
	inner, err := s.inner.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, s.failure("create", err)
	}
	sink := &snapshotSink{store: s, inner: inner, index: index, term: term, hash: newSnapshotHash(header)}
	// Until it is closed a snapshot has a name for what is not finished.
	if sink.file, err = os.OpenFile(filepath.Join(s.path(inner.ID())+tmpSuffix, snapStateFile), os.O_WRONLY, 0); err != nil {
		return nil, errors.Join(s.failure("create", err), inner.Cancel())
	}
	if _, err := inner.Write(header); err != nil {
		return nil, errors.Join(s.failure("write", err), sink.Cancel())
	}
	return sink, nil
}

func (s *snapshotStore) notOlder(index uint64) error {
	if rec := s.newest(); rec != nil && index < rec.Index {
		return fmt.Errorf("group %d: %w: %d, recorded is %d", s.g.id, ErrOlderSnapshot, index, rec.Index)
	}
	return nil
}

// failure trips the latch, except for a full disk: a snapshot that finds no
// room is given up and tried again later, nothing stands on it, and ending the
// process would only repeat that.
func (s *snapshotStore) failure(what string, err error) error {
	err = fmt.Errorf("snapshot %s of group %d: %w", what, s.g.id, err)
	if !vfs.IsNoSpaceError(err) {
		s.g.store.latch.fail(err)
	}
	return err
}

// List returns the newest recorded snapshot, or nothing if there never was one.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	var list []*raft.SnapshotMeta
	err := s.g.gate.do(func() error {
		rec := s.newest()
		if rec == nil {
			return nil
		}
		m, err := s.readMeta(rec)
		if err != nil {
			return s.damaged(rec.ID, err)
		}
		m.Size = rec.Payload
		list = append(list, m)
		return nil
	})
	return list, err
}

// Open opens a snapshot for reading. What it gives is the payload; the meta
// data tells the payload's size. A reader of a damaged snapshot gets an error
// before the last byte.
func (s *snapshotStore) Open(id string) (m *raft.SnapshotMeta, rc io.ReadCloser, err error) {
	err = s.g.gate.do(func() error {
		m, rc, err = s.open(id)
		return err
	})
	return m, rc, err
}

func (s *snapshotStore) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if rec := s.newest(); rec != nil && rec.ID == id {
		if _, err := s.readMeta(rec); err != nil {
			return nil, nil, s.damaged(id, err)
		}
	}
	m, src, err := s.inner.Open(id)
	if err != nil {
		return nil, nil, s.damaged(id, err)
	}
	r, err := s.unframe(src, m)
	if err != nil {
		return nil, nil, errors.Join(s.damaged(id, err), src.Close())
	}
	return m, r, nil
}

func (s *snapshotStore) damaged(id string, err error) error {
	return fmt.Errorf("group %d, %s: %w: %w", s.g.id, s.path(id), ErrSnapshotDamaged, err)
}

// reap removes what an interrupted snapshot left: temporary directories, and
// whole snapshots that were not recorded any more. Nothing stands on those.
func (s *snapshotStore) reap() error {
	dir := filepath.Join(s.g.dir, snapDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if s.rec != nil && e.Name() == s.rec.ID {
			continue
		}
		s.g.store.opts.Logger.Info("removing a leftover snapshot", "group", s.g.id, "name", e.Name())
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// snapshotSink is a raft.SnapshotSink that frames what is written and records
// the snapshot when it is closed. It is used by one goroutine.
type snapshotSink struct {
	store       *snapshotStore
	inner       raft.SnapshotSink
	index, term uint64
	hash        *snapshotHash
	done        bool
	// synced is how much of the payload was on disk already, and file the state
	// file once more, to sync it.
	synced uint64
	file   *os.File
}

// ID returns the name under which the snapshot can be opened once it is closed.
func (k *snapshotSink) ID() string { return k.inner.ID() }

// Write appends to the payload.
func (k *snapshotSink) Write(p []byte) (n int, err error) {
	err = k.store.g.gate.do(func() error {
		n, err = k.inner.Write(p)
		k.hash.add(p[:n])
		if err != nil {
			return k.store.failure("write", err)
		}
		return k.syncSome()
	})
	return n, err
}

// syncSome writes the snapshot to disk in small portions: an append to a log
// that comes while the disk takes all of it at once would wait for that.
func (k *snapshotSink) syncSome() error {
	if k.hash.payload-k.synced < snapSyncBytes {
		return nil
	}
	k.synced = k.hash.payload
	if err := k.file.Sync(); err != nil {
		return k.store.failure("write", err)
	}
	return nil
}

// Cancel gives the snapshot up.
func (k *snapshotSink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return errors.Join(k.file.Close(), k.inner.Cancel())
}

// Close makes the snapshot durable and records it: when it returns, raft may
// compact the log.
func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	if err := k.file.Close(); err != nil {
		return errors.Join(k.store.failure("close", err), k.inner.Cancel())
	}
	err := k.store.g.gate.do(k.close)
	if errors.Is(err, ErrClosed) {
		return errors.Join(err, k.inner.Cancel())
	}
	return err
}

func (k *snapshotSink) close() error {
	s := k.store
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	// Another snapshot may have been recorded since this one was begun.
	if err := errors.Join(s.g.store.latch.failed(), s.notOlder(k.index)); err != nil {
		return errors.Join(err, k.inner.Cancel())
	}
	trailer := k.hash.trailer()
	if _, err := k.inner.Write(trailer); err != nil {
		return errors.Join(s.failure("write", err), k.inner.Cancel())
	}
	if err := k.inner.Close(); err != nil {
		return s.failure("close", err)
	}
	raw, err := os.ReadFile(filepath.Join(s.path(k.ID()), snapMetaFile))
	if err != nil {
		return s.failure("close", err)
	}
	failpoint.Hit("store/snapshot-written")
	// The log does not change meanwhile: Raft waits.
	last, err := s.log.LastIndex()
	installs := err == nil && k.index > last // it is not of what was applied here
	if installs {
		failpoint.Hit("store/install-written")
	}
	err = s.record(&snapshotRecord{ID: k.ID(), Index: k.index, Term: k.term,
		Payload: int64(k.hash.payload), MetaSum: xxhash.Sum64(raw), Sum: trailer})
	if err == nil && installs {
		failpoint.Hit("store/install-recorded")
	}
	return err
}

func (s *snapshotStore) record(rec *snapshotRecord) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	err = s.g.store.latch.write("snapshot record", s.g.id, func() error { return s.g.values.Set(stableSnapshotKey, raw) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.rec = rec
	s.mu.Unlock()
	s.log.snapshotAt(rec.Index)
	failpoint.Hit("store/snapshot-recorded")
	return nil
}
