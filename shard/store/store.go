package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// CatalogGroup is the id of the catalog's group, the only one whose log is a
// bolt file of its own.
const CatalogGroup = 0

// DefaultWriteDeadline is how long one durable write may take before the store
// counts as failed.
const DefaultWriteDeadline = 10 * time.Second

// Options configure a Store.
type Options struct {
	// NodeID and ClusterID say who writes here. Both are required; a directory
	// that names others is refused.
	NodeID, ClusterID string
	// Logger takes the log of the store and of the libraries below it. Nil discards.
	Logger *slog.Logger
	// OnFatal is called once, for the first write or fsync error of any store or
	// the first write over its deadline. The process has to end there: raft would
	// go on as if nothing had happened. It may be called on any goroutine, also
	// while the failed write still hangs, and must not call into the Store. Nil
	// panics.
	OnFatal func(error)
	// WriteDeadline bounds one write of a log or stable store; 0 is
	// DefaultWriteDeadline. Writing the body of a snapshot has no deadline.
	WriteDeadline time.Duration
	// CacheBytes is the size of Pebble's block cache for the whole node; 0 is 64 MiB.
	CacheBytes int64

	// Middleware wraps the log store of a group below the guard. For tests that inject faults.
	Middleware func(group uint32, logs raft.LogStore) raft.LogStore
	// FS is where Pebble and the marks are written; nil is the disk. For tests. Bolt files and
	// snapshots are always on disk.
	FS vfs.FS

	markStep int64 // 0 is defaultMarkStep; for tests
}

func (o Options) withDefaults() (Options, error) {
	if o.NodeID == "" || o.ClusterID == "" {
		return o, errors.New("store: NodeID and ClusterID are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(fmt.Errorf("store: unrecoverable: %w", err)) }
	}
	if o.WriteDeadline == 0 {
		o.WriteDeadline = DefaultWriteDeadline
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.markStep == 0 {
		o.markStep = defaultMarkStep
	}
	return o, nil
}

// Store is the durable storage of all Raft groups of one node. Its methods are
// safe for concurrent use.
type Store struct {
	dir   string
	opts  Options
	latch *latch
	lock  io.Closer
	db    *pebbleDB
	marks *marks

	mu     sync.Mutex // guards groups and closed, and serialises opening, closing and removing groups
	groups map[uint32]*Group
	closed bool
}

// Open opens the directory, creating what is not there, and locks it against
// other processes until Close. A directory that is in use, that belongs to
// another cluster or node, or that lost its log is refused with a
// *RefusedError and not changed.
func Open(dir string, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// One path for one directory: within a process the lock goes by the name.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return nil, &RefusedError{Reason: ErrInUse, Group: -1, Path: dir, Problem: "its lock is held", Cause: err,
			Mend: "stop the other process, or start with another data directory"}
	}
	s := &Store{dir: dir, opts: o, lock: lock, groups: map[uint32]*Group{},
		latch: &latch{log: o.Logger, onFatal: o.OnFatal, deadline: o.WriteDeadline}}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) logDir() string    { return filepath.Join(s.dir, "log") }
func (s *Store) groupsDir() string { return filepath.Join(s.dir, "groups") }
func (s *Store) groupDir(id uint32) string {
	return filepath.Join(s.groupsDir(), fmt.Sprintf("%04d", id))
}

func (s *Store) open() (err error) {
	if err := s.refuseLostLog(); err != nil {
		return err
	}
	if err := errors.Join(makeDir(s.logDir()), makeDir(s.groupsDir())); err != nil {
		return err
	}
	if s.db, err = openPebble(s.logDir(), s.opts, s.latch); err != nil {
		return err
	}
	if err = s.checkStoreManifest(); err == nil {
		s.marks, err = openMarks(s.dir, s.opts, s.latch)
	}
	if err != nil {
		return errors.Join(err, s.db.close())
	}
	if err = s.finishRemovals(); err != nil {
		s.marks.halt()
		return errors.Join(err, s.db.close())
	}
	return nil
}

// refuseLostLog refuses a directory with groups but without the log store. A
// group's stable store is only ever written after the log store's manifest, so
// no crash leaves that; a disk that is not mounted does. It is checked before
// Pebble would fill the empty place with a new store.
func (s *Store) refuseLostLog() error {
	if s.opts.FS != nil {
		return nil // the log lies elsewhere: checkStoreManifest looks there
	}
	names, err := os.ReadDir(s.logDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(names) > 0 {
		return nil
	}
	return s.refuseIfGroups()
}

func (s *Store) refuseIfGroups() error {
	ids, err := s.groupsOnDisk()
	if err != nil || len(ids) == 0 {
		return err
	}
	return &RefusedError{Reason: ErrLogLost, Group: -1, Path: s.logDir(), Mend: mendRestore,
		Problem: fmt.Sprintf("the store of all shard logs is empty, but %s has %d groups", s.groupsDir(), len(ids))}
}

func (s *Store) checkStoreManifest() error {
	raw, err := s.db.getCopy([]byte{keyStore})
	if err != nil {
		return err
	}
	m, err := decodeManifest(raw)
	if err != nil {
		return &RefusedError{Reason: ErrManifest, Group: -1, Path: s.logDir(), Problem: "its manifest", Cause: err, Mend: mendReplica}
	}
	if m != nil {
		return m.checkOwner(s.opts, -1, s.dir)
	}
	if err := s.refuseIfGroups(); err != nil {
		return err
	}
	m = &manifest{Format: manifestFormat, Cluster: s.opts.ClusterID, Node: s.opts.NodeID}
	return s.db.set([]byte{keyStore}, m.encode())
}

// Group opens the group, creating it if it is not there, and checks that what
// is on disk fits together (see the package comment). A group is open once: a
// second call returns the same one until it is closed. What does not fit is
// refused with a *RefusedError and left as it is.
func (s *Store) Group(id uint32) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	if err := s.latch.failed(); err != nil {
		return nil, err
	}
	g, err := openGroup(s, id)
	if err != nil {
		return nil, err
	}
	s.groups[id] = g
	return g, nil
}

// Groups returns, in ascending order, the groups that are here, also those
// that Group would refuse because one of their stores is gone.
func (s *Store) Groups() ([]uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	ids, err := s.groupsOnDisk()
	if err != nil {
		return nil, err
	}
	err = s.eachManifest(func(id uint32, _ manifest) error {
		ids = append(ids, id)
		return nil
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// groupsOnDisk returns the groups that have a bolt file.
func (s *Store) groupsOnDisk() ([]uint32, error) {
	names, err := os.ReadDir(s.groupsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var ids []uint32
	for _, n := range names {
		id, err := strconv.ParseUint(n.Name(), 10, 32)
		if err != nil || !n.IsDir() {
			continue
		}
		for _, file := range []string{stableFile, logFile} {
			there, err := exists(filepath.Join(s.groupsDir(), n.Name(), file))
			if err != nil {
				return nil, err
			}
			if there {
				ids = append(ids, uint32(id))
				break
			}
		}
	}
	return ids, nil
}

// eachManifest calls fn for every group manifest in Pebble.
func (s *Store) eachManifest(fn func(id uint32, m manifest) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyManifest}, UpperBound: []byte{keyManifest + 1}})
	if err != nil {
		return s.db.named(err)
	}
	defer func() { err = errors.Join(err, s.db.named(it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		id, ok := groupOfManifestKey(it.Key())
		if !ok {
			return fmt.Errorf("%w: unknown key %x in %s", ErrManifest, it.Key(), s.logDir())
		}
		m, err := decodeManifest(append([]byte{}, it.Value()...))
		if err != nil {
			return fmt.Errorf("group %d in %s: %w", id, s.logDir(), err)
		}
		if err := fn(id, *m); err != nil {
			return err
		}
	}
	return s.db.named(it.Error())
}

// Close closes all groups and the store and unlocks the directory. Every raft
// over it must have been shut down; calls that are still running are waited
// for, later ones fail. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, g := range s.groups {
		errs = append(errs, g.closeStores())
	}
	clear(s.groups)
	s.marks.close()
	errs = append(errs, s.db.close(), s.lock.Close())
	return errors.Join(errs...)
}

// isRemoving tells a group directory on its way out.
func isRemoving(name string) bool { return strings.HasSuffix(name, removingSuffix) }
