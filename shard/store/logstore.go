package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/internal/failpoint"
)

// logBackend is where a log's entries lie. The logStore above it calls put
// and deleteRange one at a time, get at any time, and scan only on open.
type logBackend interface {
	// put stores consecutive entries durably and in one piece.
	put(logs []*raft.Log) error
	// get reads one entry; raft.ErrLogNotFound if there is none.
	get(index uint64, l *raft.Log) error
	// deleteRange removes from..to inclusive, durably and in one piece.
	deleteRange(from, to uint64) error
	// scan calls fn for every entry in order of index until fn fails.
	scan(fn func(l *raft.Log) error) error
	// size is the number of bytes that an entry takes, about.
	size(l *raft.Log) int
}

// logStore is a raft.LogStore without gaps: its entries are first..last, an
// append continues at last+1 (or, when it is empty, right behind the newest
// recorded snapshot) and a delete takes a head, a tail or all. Bounds are kept
// in memory, so FirstIndex and LastIndex never wait for the disk.
type logStore struct {
	group uint32
	be    logBackend
	marks *marks

	writeMu sync.Mutex // serialises put and deleteRange; never taken while mu is held

	mu    sync.RWMutex // guards the fields below
	first uint64       // 0 when empty
	last  uint64       // 0 when empty
	floor uint64       // index of the newest recorded snapshot
	sizes sizeIndex
}

// newLogStore reads the whole log once: that finds damage and gaps before raft
// trips over them, and it rebuilds the bounds and the byte counts.
func newLogStore(group uint32, be logBackend, floor uint64, m *marks) (*logStore, error) {
	s := &logStore{group: group, be: be, floor: floor, marks: m}
	var term uint64
	err := be.scan(func(l *raft.Log) error {
		switch {
		case s.first == 0:
			s.first = l.Index
			s.sizes.reset(l.Index - 1)
		case l.Index != s.last+1:
			return &EntryError{group, s.last + 1, fmt.Errorf("%w: missing, the next one there is %d", ErrLogDamaged, l.Index)}
		case l.Term < term:
			return &EntryError{group, l.Index, fmt.Errorf("%w: term %d after term %d", ErrLogDamaged, l.Term, term)}
		}
		s.last, term = l.Index, l.Term
		s.sizes.add(l.Index, be.size(l))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.first == 0 {
		s.sizes.reset(floor)
	}
	return s, nil
}

// IsMonotonic tells raft that this log has no gaps, so that it empties the log
// after it installed a snapshot.
func (s *logStore) IsMonotonic() bool { return true }

func (s *logStore) bounds() (first, last uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first, s.last
}

func (s *logStore) FirstIndex() (uint64, error) {
	first, _ := s.bounds()
	return first, nil
}

func (s *logStore) LastIndex() (uint64, error) {
	_, last := s.bounds()
	return last, nil
}

func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if !s.holds(index) {
		return raft.ErrLogNotFound
	}
	err := s.be.get(index, l)
	if err == nil {
		if l.Index != index {
			return &EntryError{s.group, index, fmt.Errorf("%w: it says that it is %d", ErrLogDamaged, l.Index)}
		}
		return nil
	}
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	// Bounds shrink before a delete is committed: an entry that is gone for a
	// good reason is out of bounds by now.
	if s.holds(index) {
		return &EntryError{s.group, index, fmt.Errorf("%w: missing", ErrLogDamaged)}
	}
	return raft.ErrLogNotFound
}

func (s *logStore) holds(index uint64) bool {
	first, last := s.bounds()
	return first != 0 && first <= index && index <= last
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	next := s.next()
	for i, l := range logs {
		if want := next + uint64(i); l.Index != want {
			return &EntryError{s.group, l.Index, fmt.Errorf("%w: the log continues at %d", ErrOutOfSequence, want)}
		}
	}
	if err := failpoint.Error("store/logs-write"); err != nil {
		return err
	}
	if err := s.be.put(logs); err != nil {
		return err
	}
	failpoint.Hit("store/logs-durable")
	s.marks.note(s.grow(logs))
	return nil
}

// grow takes in entries that are on disk and returns how many bytes they take.
func (s *logStore) grow(logs []*raft.Log) (bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == 0 {
		s.first = logs[0].Index
		s.sizes.reset(s.first - 1)
	}
	for _, l := range logs {
		size := s.be.size(l)
		s.sizes.add(l.Index, size)
		bytes += size
	}
	s.last = logs[len(logs)-1].Index
	return bytes
}

// next is the only index at which an append may start. Behind an empty log it
// is the one after the newest snapshot: raft remembers the log's end across an
// install that emptied it, and appending there would lose what lies between.
func (s *logStore) next() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.first == 0 {
		return s.floor + 1
	}
	return s.last + 1
}

// DeleteRange removes what of from..to is there. A range strictly inside the
// log is refused: it would leave a hole.
func (s *logStore) DeleteRange(from, to uint64) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	first, last := s.bounds()
	if first == 0 || to < first || from > last || from > to {
		return nil
	}
	if from > first && to < last {
		return &EntryError{s.group, from, fmt.Errorf("%w: deleting %d..%d would leave a hole in %d..%d",
			ErrOutOfSequence, from, to, first, last)}
	}
	if end := s.endWithout(from, to); end < last {
		if err := s.marks.lower(s.group, end, func() { s.shrink(from, to) }); err != nil {
			return err
		}
	} else {
		s.shrink(from, to)
	}
	return s.be.deleteRange(max(from, first), min(to, last))
}

// endWithout is the last index of log and snapshot once from..to is deleted.
func (s *logStore) endWithout(from, to uint64) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case to < s.last:
		return s.last
	case from <= s.first:
		return s.floor
	default:
		return max(from-1, s.floor)
	}
}

func (s *logStore) shrink(from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case from <= s.first && to >= s.last:
		s.sizes.reset(s.last)
		s.first, s.last = 0, 0
	case from <= s.first:
		s.sizes.cutHead(to)
		s.first = to + 1
	default:
		s.sizes.cutTail(from - 1)
		s.last = from - 1
	}
}

// snapshotAt notes that a snapshot up to index is durably recorded.
func (s *logStore) snapshotAt(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floor = index
}

// sinceSnapshot counts the bytes (to within sizeStep) and the entries behind
// the newest recorded snapshot.
func (s *logStore) sinceSnapshot() (bytes, entries uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.first == 0 || s.last <= s.floor {
		return 0, 0
	}
	from := max(s.floor, s.first-1)
	return s.sizes.since(from), s.last - from
}
