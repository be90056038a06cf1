package store

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// killRounds is how often the kill test kills; more by flag.
var killRounds = flag.Int("kill-rounds", 3, "rounds of the SIGKILL test")

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(childMain(dir, os.Getenv(childModeEnv)))
	}
	if os.Getenv(brokenEnv) != "" {
		os.Exit(m.Run())
	}
	// Pebble leaves the watcher of its disk behind when it cannot be opened, or was
	// given up after damage; a process ends there.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2/vfs.(*diskHealthCheckingFS).startTickerLocked.func1"))
}

// tb is what testing.T, testing.B and rapid.T have in common here.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// fatals records what OnFatal was told.
type fatals struct {
	mu   sync.Mutex // guards errs
	errs []error
}

func (f *fatals) on(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

func (f *fatals) all() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.errs...)
}

// opts are options of node n1 in cluster c1 that fail the test on a fatal error.
func opts(t testing.TB) Options {
	return Options{NodeID: "n1", ClusterID: "c1", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

// mustOpen opens dir and closes it at the end of the test.
func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func mustGroup(t tb, s *Store, id uint32) *Group {
	t.Helper()
	g, err := s.Group(id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func setTerm(t tb, g *Group, term uint64) {
	t.Helper()
	must(t, g.Stable().SetUint64(raftTermKey, term))
}

// entries makes from..to of a term.
func entries(from, to, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, entry(i, term))
	}
	return logs
}

func entry(index, term uint64) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand,
		Data:       fmt.Appendf(nil, "entry %d of term %d", index, term),
		Extensions: []byte{byte(index)},
		AppendedAt: time.Unix(1_700_000_000, int64(index)).UTC()}
}

// wantRefused checks that err is a RefusedError with the reason, that names a
// path and a way out.
func wantRefused(t tb, err, reason error) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a RefusedError", err)
	}
	if !errors.Is(err, reason) {
		t.Fatalf("got %v, want the reason %v", err, reason)
	}
	if refused.Path == "" || refused.Mend == "" {
		t.Fatalf("no path or no way out in %v", err)
	}
}

// kinds are the two kinds of log: bolt for the catalog, Pebble for shards.
var kinds = []struct {
	name string
	id   uint32
}{{"bolt", CatalogGroup}, {"pebble", 7}}

// eachKind runs the test for both.
func eachKind(t *testing.T, fn func(t *testing.T, id uint32)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { fn(t, k.id) })
	}
}
