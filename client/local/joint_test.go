package local

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// syncBuffer is a log that two goroutines use.
type syncBuffer struct {
	mu sync.Mutex // guards buf
	// buf is what was written.
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A model whose deviations cannot be judged together does not hold up the others.
func TestOneModelThatCannotBeJudged(t *testing.T) {
	ctx := testContext(t)
	var log syncBuffer
	opts := Options{JudgeBudget: time.Minute, SnapshotBytes: DefaultSnapshotBytes, Now: time.Now}
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	e, err := newEngine(ctx, opts, memory{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := client.NewManager(e, client.ManagerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, m)
	e.mu.Lock()
	e.jointly = true // nothing is judged together yet
	e.mu.Unlock()
	key := func(name string) fsm.SpecKey {
		return fsm.SpecKey{Namespace: "default", Name: name, Version: 1}
	}
	for _, name := range []string{"a", "b", "c"} {
		must(m.ApplySpecification(ctx, point(name)))(t)
		must(m.ImportModel(ctx, name, false, []*typesv1.Transition{{Action: "__initialisation__", To: "s"}, {From: "s", Action: "a", To: "s"}}))(t)
		must(m.SealModel(ctx, name))(t)
		must(m.Init(ctx, name, name))(t)
		must(m.Transition(ctx, name, "b", "s"))(t)
		await(t, func() bool { _, ok := e.catalog.JointTask(key(name), 1); return ok })
	}
	broken, _ := e.catalog.Model(key("a"))
	e.mu.Lock()
	e.cache = model.NewCache[modelKey, uint64](model.CacheLimits{})
	e.cache.Keep(modelKey{broken.Key, broken.Version}, &model.Checker{})
	e.jointly = false
	e.mu.Unlock()
	e.judgeTogether()
	deviation := model.Transition{From: "s", Action: "b", To: "s"}
	for _, name := range []string{"b", "c"} {
		await(t, func() bool { return e.catalog.Joint(key(name), deviation) != nil })
	}
	if e.catalog.Joint(key("a"), deviation) != nil {
		t.Error("the broken checker has judged")
	}
	await(t, func() bool { return strings.Contains(log.String(), `spec=a`) })
}

func await(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
