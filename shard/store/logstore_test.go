package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func wantBounds(t tb, logs raft.LogStore, first, last uint64) {
	t.Helper()
	f, err := logs.FirstIndex()
	must(t, err)
	l, err := logs.LastIndex()
	must(t, err)
	if f != first || l != last {
		t.Fatalf("log is %d..%d, want %d..%d", f, l, first, last)
	}
}

func TestLogStoreAsRaftUsesIt(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		g := mustGroup(t, mustOpen(t, t.TempDir(), opts(t)), id)
		logs := g.Logs()
		wantBounds(t, logs, 0, 0)
		var got raft.Log
		if err := logs.GetLog(1, &got); err != raft.ErrLogNotFound {
			t.Fatalf("empty log: %v, want raft's sentinel itself", err)
		}
		must(t, logs.StoreLogs(nil))
		must(t, logs.StoreLog(entry(1, 1)))
		must(t, logs.StoreLogs(entries(2, 10, 1)))
		wantBounds(t, logs, 1, 10)
		for i := uint64(1); i <= 10; i++ {
			must(t, logs.GetLog(i, &got))
			if !sameLog(&got, entry(i, 1)) {
				t.Fatalf("entry %d: %+v", i, got)
			}
		}
		for _, i := range []uint64{0, 11, 1 << 60} {
			if err := logs.GetLog(i, &got); err != raft.ErrLogNotFound {
				t.Fatalf("GetLog(%d): %v", i, err)
			}
		}
		// A conflicting tail is replaced.
		must(t, logs.DeleteRange(8, 10))
		must(t, logs.StoreLogs(entries(8, 9, 2)))
		wantBounds(t, logs, 1, 9)
		must(t, logs.GetLog(8, &got))
		if got.Term != 2 {
			t.Fatalf("entry 8 has term %d after the truncation", got.Term)
		}
		// Compaction, also of what is partly gone already.
		must(t, logs.DeleteRange(1, 4))
		must(t, logs.DeleteRange(2, 5))
		wantBounds(t, logs, 6, 9)
		if err := logs.GetLog(5, &got); err != raft.ErrLogNotFound {
			t.Fatalf("compacted entry: %v", err)
		}
		// Deleting what is not there is nothing.
		must(t, logs.DeleteRange(1, 5))
		must(t, logs.DeleteRange(10, 20))
		must(t, logs.DeleteRange(9, 8))
		wantBounds(t, logs, 6, 9)
		must(t, logs.DeleteRange(0, 1<<63))
		wantBounds(t, logs, 0, 0)
	})
}

func TestLogStoreIsMonotonic(t *testing.T) {
	hide := func(_ uint32, logs raft.LogStore) raft.LogStore { return struct{ raft.LogStore }{logs} }
	for name, mw := range map[string]func(uint32, raft.LogStore) raft.LogStore{"plain": nil, "behind a middleware": hide} {
		o := opts(t)
		o.Middleware = mw
		s := mustOpen(t, t.TempDir(), o)
		for _, k := range kinds {
			m, ok := mustGroup(t, s, k.id).Logs().(raft.MonotonicLogStore)
			if !ok || !m.IsMonotonic() {
				t.Errorf("%s, %s: not monotonic", name, k.name)
			}
		}
	}
}

// A gap or an overwrite is refused, nothing of the batch is written, and the
// process is told to end: raft and the store disagree.
func TestLogStoreRefusesGapsAndOverwrites(t *testing.T) {
	rows := []struct {
		name string
		do   func(raft.LogStore) error
	}{
		{"gap", func(l raft.LogStore) error { return l.StoreLogs(entries(12, 13, 1)) }},
		{"overwrite", func(l raft.LogStore) error { return l.StoreLogs(entries(10, 12, 1)) }},
		{"hole in the batch", func(l raft.LogStore) error {
			return l.StoreLogs([]*raft.Log{entry(11, 1), entry(13, 1)})
		}},
		{"hole in the middle", func(l raft.LogStore) error { return l.DeleteRange(4, 6) }},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, id uint32) {
				o, dead := opts(t), &fatals{}
				o.OnFatal = dead.on
				logs := mustGroup(t, mustOpen(t, t.TempDir(), o), id).Logs()
				must(t, logs.StoreLogs(entries(1, 10, 1)))
				err := r.do(logs)
				var at *EntryError
				if !errors.Is(err, ErrOutOfSequence) || !errors.As(err, &at) || at.Group != id {
					t.Fatalf("got %v", err)
				}
				wantBounds(t, logs, 1, 10)
				if len(dead.all()) != 1 {
					t.Fatalf("OnFatal was told %v", dead.all())
				}
				if err := logs.StoreLog(entry(11, 1)); !errors.Is(err, ErrFailed) {
					t.Fatalf("a write after the failure: %v", err)
				}
			})
		})
	}
}

func TestFirstEntryFollowsTheSnapshot(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		dir := t.TempDir()
		s := mustOpen(t, dir, opts(t))
		g := mustGroup(t, s, id)
		setTerm(t, g, 2)
		must(t, g.Logs().StoreLogs(entries(1, 5, 1)))
		writeSnapshot(t, g, 100, 2, "state")
		must(t, g.Logs().DeleteRange(1, 5))
		must(t, g.Logs().StoreLogs(entries(101, 103, 2)))
		wantBounds(t, g.Logs(), 101, 103)
		must(t, s.Close())

		o, dead := opts(t), &fatals{}
		o.OnFatal = dead.on
		g = mustGroup(t, mustOpen(t, dir, o), id)
		wantBounds(t, g.Logs(), 101, 103)
		must(t, g.Logs().DeleteRange(101, 103))
		// raft keeps the old end in memory across an install; an append there
		// would lose 101..103.
		if err := g.Logs().StoreLog(entry(104, 2)); !errors.Is(err, ErrOutOfSequence) {
			t.Fatalf("append behind an empty log and a snapshot up to 100, at 104: %v", err)
		}
		if len(dead.all()) != 1 {
			t.Fatal("not fatal")
		}
	})
}

// A log against a plain map under random appends, truncations, compactions,
// snapshots, installs and reopenings; then it is removed and begins anew.
func TestLogStoreAgainstModel(t *testing.T) {
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, t.TempDir(), opts(t))
		rapid.Check(t, func(rt *rapid.T) {
			m := &logModel{s: s, g: mustGroup(rt, s, id), logs: map[uint64]*raft.Log{}, first: 1, term: 1}
			setTerm(rt, m.g, 1<<40)
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				m.step(rt)
				compare(rt, m.g, m.logs, m.first, m.last, m.floor)
			}
			must(rt, m.g.Remove())
		})
	})
}

// logModel is what a log should be: logs, of indices first..last, behind a
// newest snapshot at floor.
type logModel struct {
	s                        *Store
	g                        *Group
	logs                     map[uint64]*raft.Log
	first, last, floor, term uint64
}

func (m *logModel) drop(from, to uint64) {
	for i := from; i <= to; i++ {
		delete(m.logs, i)
	}
}

func (m *logModel) step(rt *rapid.T) {
	op := rapid.SampledFrom([]string{"append", "append", "truncate", "compact", "install", "reopen"}).Draw(rt, "op")
	beyond := m.last >= m.first && m.last > m.floor // entries behind the snapshot
	switch {
	case op == "append":
		logs := entries(m.last+1, m.last+rapid.Uint64Range(1, 20).Draw(rt, "n"), m.term)
		must(rt, m.g.Logs().StoreLogs(logs))
		for _, l := range logs {
			m.logs[l.Index] = l
		}
		m.last = logs[len(logs)-1].Index
	case op == "truncate" && beyond:
		from := rapid.Uint64Range(max(m.first, m.floor+1), m.last).Draw(rt, "from")
		must(rt, m.g.Logs().DeleteRange(from, m.last))
		m.drop(from, m.last)
		m.last, m.term = from-1, m.term+1
	case op == "compact" && beyond:
		m.floor = rapid.Uint64Range(max(m.first, m.floor+1), m.last).Draw(rt, "snapshot")
		writeSnapshot(rt, m.g, m.floor, m.logs[m.floor].Term, "state")
		to := rapid.Uint64Range(m.first, m.floor).Draw(rt, "to")
		must(rt, m.g.Logs().DeleteRange(m.first, to))
		m.drop(m.first, to)
		m.first = to + 1
	case op == "install":
		m.floor, m.term = max(m.last, m.floor)+rapid.Uint64Range(1, 50).Draw(rt, "ahead"), m.term+1
		writeSnapshot(rt, m.g, m.floor, m.term, "installed")
		if rapid.Bool().Draw(rt, "crash before the log is emptied") {
			m.reopen(rt)
		} else {
			must(rt, m.g.Logs().DeleteRange(m.first, m.last))
		}
		m.drop(m.first, m.last)
		m.first, m.last = m.floor+1, m.floor
	case op == "reopen":
		m.reopen(rt)
	}
}

func (m *logModel) reopen(rt *rapid.T) {
	must(rt, m.g.Close())
	m.g = mustGroup(rt, m.s, m.g.ID())
}

func compare(t *rapid.T, g *Group, model map[uint64]*raft.Log, first, last, floor uint64) {
	wantFirst, wantLast := first, last
	if len(model) == 0 {
		wantFirst, wantLast = 0, 0
	}
	gotFirst, _ := g.Logs().FirstIndex()
	gotLast, _ := g.Logs().LastIndex()
	if gotFirst != wantFirst || gotLast != wantLast {
		t.Fatalf("log is %d..%d, want %d..%d", gotFirst, gotLast, wantFirst, wantLast)
	}
	var got raft.Log
	for i := max(first, 3) - 3; i <= last+3; i++ {
		err := g.Logs().GetLog(i, &got)
		if want := model[i]; want == nil {
			if err != raft.ErrLogNotFound {
				t.Fatalf("GetLog(%d): %v, want not found", i, err)
			}
		} else if err != nil || !sameLog(&got, want) {
			t.Fatalf("GetLog(%d): %+v, %v; want %+v", i, got, err, *want)
		}
	}
	bytes, n := g.LogBytes()
	var wantN uint64
	if len(model) > 0 && last > floor {
		wantN = last - max(floor, first-1)
	}
	if n != wantN || (n == 0) != (bytes == 0) {
		t.Fatalf("LogBytes: %d bytes, %d entries; want %d entries", bytes, n, wantN)
	}
}

// A byte that flips below the LogStore is named by group and index, on a read
// and on the next open, and never served.
func TestDamagedEntryIsNamed(t *testing.T) {
	damage := map[uint32]func(t *testing.T, g *Group){
		CatalogGroup: func(t *testing.T, g *Group) {
			must(t, g.logBolt.Close())
			db, err := bbolt.Open(g.dir+"/"+logFile, 0o600, nil)
			must(t, err)
			must(t, db.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("logs"))
				key := []byte{0, 0, 0, 0, 0, 0, 0, 5}
				v := append([]byte{}, b.Get(key)...)
				for i := range v { // a digit of the data
					if string(v[i:min(i+7, len(v))]) == "entry 5" {
						v[i+6] ^= 1
					}
				}
				return b.Put(key, v)
			}))
			must(t, db.Close())
			g.logBolt, err = openBolt(g.dir + "/" + logFile)
			must(t, err)
			g.log.be.(*boltLog).db = g.logBolt
		},
		7: func(t *testing.T, g *Group) {
			key := entryKey(nil, 7, 5)
			v, err := g.store.db.getCopy(key)
			must(t, err)
			v[40] ^= 1
			must(t, g.store.db.set(key, v))
		},
	}
	eachKind(t, func(t *testing.T, id uint32) {
		s := mustOpen(t, t.TempDir(), opts(t))
		g := mustGroup(t, s, id)
		setTerm(t, g, 1)
		must(t, g.Logs().StoreLogs(entries(1, 10, 1)))
		damage[id](t, g)
		var got raft.Log
		err := g.Logs().GetLog(5, &got)
		var at *EntryError
		if !errors.Is(err, ErrLogDamaged) || !errors.As(err, &at) || at.Index != 5 || at.Group != id || got.Data != nil {
			t.Fatalf("reading the damaged entry: %v, %+v", err, got)
		}
		must(t, g.Logs().GetLog(6, &got))
		must(t, g.Close())
		_, err = s.Group(id)
		wantRefused(t, err, ErrLogDamaged)
		if !errors.As(err, &at) || at.Index != 5 {
			t.Fatalf("the refusal does not name the entry: %v", err)
		}
	})
}

func TestMissingEntryIsNamed(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	g := mustGroup(t, s, 7)
	setTerm(t, g, 1)
	must(t, g.Logs().StoreLogs(entries(1, 10, 1)))
	must(t, s.db.Delete(entryKey(nil, 7, 5), pebble.Sync))
	var got raft.Log
	if err := g.Logs().GetLog(5, &got); err == raft.ErrLogNotFound || !errors.Is(err, ErrLogDamaged) {
		t.Fatalf("a hole in the log: %v", err)
	}
	must(t, g.Close())
	_, err := s.Group(7)
	wantRefused(t, err, ErrLogDamaged)
}

func TestGroupsDoNotSeeEachOther(t *testing.T) {
	s := mustOpen(t, t.TempDir(), opts(t))
	ids := []uint32{0, 1, 2, 255, 256, ^uint32(0)}
	for n, id := range ids {
		g := mustGroup(t, s, id)
		must(t, g.Logs().StoreLogs(entries(1, uint64(5+n), 1)))
	}
	must(t, mustGroup(t, s, 1).Logs().DeleteRange(1, ^uint64(0)))
	for n, id := range ids {
		if id == 1 {
			wantBounds(t, mustGroup(t, s, id).Logs(), 0, 0)
			continue
		}
		wantBounds(t, mustGroup(t, s, id).Logs(), 1, uint64(5+n))
	}
	got, err := s.Groups()
	must(t, err)
	if len(got) != len(ids) || got[5] != ^uint32(0) {
		t.Fatalf("groups: %v", got)
	}
}
