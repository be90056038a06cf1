package shard

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// memoryLog is raft's store in memory, monotonic as ours are: after the install
// of a snapshot Raft empties it.
type memoryLog struct{ *raft.InmemStore }

func (memoryLog) IsMonotonic() bool { return true }

// DeleteRange does nothing to an empty log, whose bounds raft's store would spoil.
// Raft asks for it when it compacts the log while an install empties it.
func (l memoryLog) DeleteRange(from, to uint64) error {
	if last, err := l.LastIndex(); err != nil || last == 0 {
		return err
	}
	return l.InmemStore.DeleteRange(from, to)
}

// memoryStores are the stores of one node in memory.
func memoryStores() Stores {
	memory := raft.NewInmemStore()
	return Stores{Logs: memoryLog{memory}, Stable: memory, Snapshots: &memorySnapshots{}}
}

// memorySnapshots keeps the newest snapshot. Unlike raft's own store in memory
// it does not show one that is still being written.
type memorySnapshots struct {
	mu     sync.Mutex // guards the fields below
	newest *raft.SnapshotMeta
	data   []byte
}

type memorySink struct {
	bytes.Buffer
	store *memorySnapshots
	meta  raft.SnapshotMeta
}

func (s *memorySnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memorySink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: "newest", Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

func (s *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.newest}, nil
}

func (s *memorySnapshots) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil, errors.New("no snapshot")
	}
	return s.newest, io.NopCloser(bytes.NewReader(s.data)), nil
}

func (s *memorySink) ID() string { return s.meta.ID }

func (s *memorySink) Cancel() error { return nil }

func (s *memorySink) Close() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if newest := s.store.newest; newest != nil && newest.Index > s.meta.Index {
		return errors.New("there is a newer snapshot")
	}
	s.meta.Size = int64(s.Len())
	s.store.newest, s.store.data = &s.meta, s.Bytes()
	return nil
}
