package local

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/signal"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/query"
	"github.com/spexio/spex/ring"
)

// shardID is the one shard that there is.
const shardID = 1

var errClosed = &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: "the manager is closed", NotApplied: true}

// engine is a catalog and a shard on one log. One goroutine, the loop, changes
// them; everybody may read them.
type engine struct {
	opts    Options
	storage storage
	catalog *fsm.Catalog
	shard   *fsm.Shard

	// jobs is unbuffered: what it takes is done.
	jobs chan *job
	// stop is closed by Close, stopped when the loop has ended.
	stop, stopped chan struct{}
	closing       sync.Once
	closeErr      error
	// timers wakes what waits for deadlines.
	timers chan struct{}
	// identity tells the reports of this directory from those of others.
	identity identity
	// reported wakes the watches, and broken is closed when the engine has failed.
	reported signal.Broadcast
	broken   chan struct{}
	// nextDue is when the timers look again, Unix nanoseconds.
	nextDue atomic.Int64
	// tasks counts judgements, the timers and a snapshot that is being written.
	tasks sync.WaitGroup

	// What follows belongs to the loop.
	index    uint64 // of the last entry
	logBytes int64  // since the last snapshot
	// snapshotting is taken while a snapshot is being written.
	snapshotting chan struct{}
	lastReport   position // that the watches were woken for
	failed       error    // never changes once broken is closed

	cache *model.Cache[modelKey, uint64]
	// queries keeps the expressions of lists and deletions.
	queries query.Cache
	// verdicts are the callers that wait for one.
	verdicts api.Verdicts

	mu sync.Mutex // guards the fields below
	// judging holds the steps whose verdict is being computed, and turns bounds
	// how many of one specification are at the same time.
	judging map[fsm.StepRef]bool
	turns   map[fsm.SpecKey]chan struct{}
	// jointly is set while deviations are judged together, and jointlyMore when
	// there may be some that came meanwhile.
	jointly, jointlyMore bool
	closed               bool
}

func newEngine(ctx context.Context, opts Options, st storage) (*engine, error) {
	e := &engine{
		opts: opts, storage: st, catalog: fsm.NewCatalog(), shard: fsm.NewShard(),
		jobs: make(chan *job), stop: make(chan struct{}), stopped: make(chan struct{}), timers: make(chan struct{}, 1), broken: make(chan struct{}),
		snapshotting: make(chan struct{}, 1), cache: model.NewCache[modelKey, uint64](model.CacheLimits{}),
		judging: map[fsm.StepRef]bool{}, turns: map[fsm.SpecKey]chan struct{}{},
	}
	e.verdicts.Stop = e.stop
	last, err := st.load(e.restore, func(index uint64, to target, entry []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.logBytes += int64(len(entry))
		if to != toCatalog && to != toShard {
			return fmt.Errorf("entry %d is for %q, which this build does not know: use the release that wrote it", index, byte(to))
		}
		_, err := e.machine(to).Apply(index, entry)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.index = last
	if e.identity, err = st.identity(); err != nil {
		return nil, err
	}
	if err := e.begin(); err != nil {
		return nil, err
	}
	go func() {
		defer close(e.stopped)
		e.loop()
	}()
	e.tasks.Go(e.runTimers)
	e.judgeRest()
	e.judgeTogether()
	return e, nil
}

func (e *engine) restore(to target, r io.Reader) error {
	if to == toCatalog {
		return e.catalog.Restore(r)
	}
	return e.shard.Restore(r)
}

// begin forms the catalog of a new directory, and finishes what a process that
// was killed has left half done.
func (e *engine) begin() error {
	if e.catalog.Cluster().ID == "" {
		node := &statev1.Node{Id: "local", Name: "local"}
		_, err := e.one(toCatalog, &statev1.Command{Kind: &statev1.Command_FormCluster{FormCluster: &statev1.FormCluster{
			ClusterId: "local", ClusterName: "local", Shards: 1, Replicas: 1, FeatureLevel: fsm.FeatureLevel, Nodes: []*statev1.Node{node},
			Placements: []*statev1.ShardPlacement{{Shard: shardID, Replicas: []string{"local"}, Formed: true}},
			Slots:      []*statev1.SlotRange{{First: 0, Last: ring.Slots - 1, Shard: shardID}},
		}}})
		if err != nil {
			return err
		}
	}
	if err := e.keep(); err != nil {
		return err
	}
	// A process that was killed may have left a version half retired.
	if err := e.retireAll(); err != nil {
		return err
	}
	return e.sync()
}

// one applies one command and returns its value or its refusal.
func (e *engine) one(to target, cmd *statev1.Command) (any, error) {
	if cmd.Principal == "" {
		cmd.Principal = principal
	}
	res, err := e.apply(to, true, cmd)
	if err != nil {
		return nil, err
	}
	if res[0].Err != nil {
		return nil, res[0].Err
	}
	return res[0].Value, nil
}

// settle is what the loop does once the commands of callers are stored.
func (e *engine) settle(results []fsm.Result) {
	for _, r := range results {
		if s, ok := r.Value.(*fsm.StepResult); ok && s.Verdict == typesv1.Verdict_VERDICT_PENDING {
			e.judgeSoon(s.Ref)
		}
	}
	if e.shard.Stats().Outbox > 0 {
		if err := e.sync(); err != nil {
			e.opts.Logger.Error("what was learned could not be added to the model; it will be tried again", "error", err)
		}
	}
	if at, ok := e.shard.Soonest(); ok && at.UnixNano() < e.nextDue.Load() {
		select {
		case e.timers <- struct{}{}:
		default:
		}
	}
	e.maybeSnapshot()
}

// maybeSnapshot begins to write a snapshot when the log has grown enough, unless
// one is being written.
func (e *engine) maybeSnapshot() {
	if e.logBytes < e.opts.SnapshotBytes {
		return
	}
	select {
	case e.snapshotting <- struct{}{}:
	default:
		return
	}
	e.logBytes = 0
	index := e.index
	views := map[target]fsm.Snapshot{toCatalog: e.catalog.Snapshot(), toShard: e.shard.Snapshot()}
	e.tasks.Go(func() {
		defer func() { <-e.snapshotting }()
		if err := e.storage.snapshot(index, views); err != nil {
			e.opts.Logger.Error("no snapshot could be written; the log stays as it is", "index", index, "error", err)
		}
		for _, v := range views {
			v.Release()
		}
	})
}

// Close ends the loop and waits for the judgements that are under way. A single
// comparison of a model cannot be broken off. Closing twice is fine.
func (e *engine) Close() error {
	e.closing.Do(func() {
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		close(e.stop)
		<-e.stopped
		e.tasks.Wait()
		if err := e.storage.close(); err != nil {
			e.closeErr = fmt.Errorf("local: close: %w", err)
		}
	})
	return e.closeErr
}
