package local

import (
	"context"
	"fmt"
	"time"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// retireBatch bounds the versions that begin to be retired at a time.
const retireBatch = 100

// Retention is how much is kept of what has been. The zero value of a field
// stands for its default. They are the settings of a cluster.
type Retention struct {
	// Reports is how many reports of each class (deviations, timeouts and
	// violations; the lives of instances and models) are kept for watches: 100 to
	// 100,000, by default 10,000.
	Reports uint64
	// RequestWindow is for how long request ids, and tombstones of deleted and
	// pruned instances, are remembered: 5 minutes to 30 days, by default 24 hours. A
	// request that is older is never applied and fails with ErrOutcomeUnknown,
	// unless its id carries no time: then it counts as a new one.
	RequestWindow time.Duration
	// Tombstones is how many of them are kept within the window: 1,000 to
	// 10,000,000, by default 1,000,000. Those of the last five minutes, and those
	// that remember a request id without a time, stay however many they are.
	Tombstones uint64
	// SpecVersions is how many versions of a specification are kept, the newest
	// included, with their models: 1 to 10,000, by default 20. One that an instance
	// or a tombstone is of stays.
	SpecVersions uint64
}

func (r Retention) settings() fsm.Settings {
	return fsm.Settings{ReportRetention: r.Reports, RequestWindow: r.RequestWindow, Tombstones: r.Tombstones, SpecVersions: r.SpecVersions}
}

func (r Retention) check() error {
	if err := r.settings().Check(); err != nil {
		return fmt.Errorf("local: Options.Retention: %s", err.Message)
	}
	return nil
}

// keep brings catalog and shard to the settings of the options.
func (e *engine) keep() error {
	want := e.opts.Retention.settings()
	if e.catalog.Settings() != want {
		window := int64(want.RequestWindow)
		if _, err := e.one(toCatalog, &statev1.Command{Kind: &statev1.Command_ChangeSettings{ChangeSettings: &statev1.ChangeSettings{
			ReportRetention: &want.ReportRetention, RequestWindowNanos: &window, Tombstones: &want.Tombstones, SpecVersions: &want.SpecVersions,
		}}}); err != nil {
			return err
		}
	}
	if e.shard.Follows(want) {
		return nil
	}
	_, err := e.one(toShard, &statev1.Command{Kind: &statev1.Command_SetRetention{SetRetention: want.Retention()}})
	return err
}

// retire lets go of versions of specifications that are beyond the setting and
// that nothing refers to any more.
func (e *engine) retire() {
	due := len(e.catalog.Retirable(1)) > 0
	for _, m := range e.catalog.Models() {
		due = due || m.Retiring && e.shard.Droppable(m.Key)
	}
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.alone(ctx, e.retireAll); err != nil && asError(err) != errClosed {
		e.opts.Logger.Error("old versions of specifications could not be retired; it will be tried again", "error", err)
	}
}

// retireAll is retire in the loop.
func (e *engine) retireAll() error {
	for _, key := range e.catalog.Retirable(retireBatch) {
		if _, err := e.one(toCatalog, &statev1.Command{Principal: "spex/retire", Kind: &statev1.Command_RetireSpecification{
			RetireSpecification: &statev1.RetireSpecification{Spec: key.Proto()},
		}}); err != nil {
			return err
		}
	}
	for _, m := range e.catalog.Models() {
		if !m.Retiring {
			continue
		}
		if e.shard.Droppable(m.Key) {
			if _, err := e.one(toShard, &statev1.Command{Principal: "spex/retire", Kind: &statev1.Command_DropSpecification{
				DropSpecification: &statev1.DropSpecification{Spec: m.Key.Proto()},
			}}); err != nil {
				return err
			}
		}
		if st, _ := e.shard.Spec(m.Key); st.Dropped {
			if _, err := e.one(toCatalog, &statev1.Command{Principal: "spex/retire", Kind: &statev1.Command_ReportShard{
				ReportShard: &statev1.ReportShard{Shard: shardID, Dropped: []*statev1.SpecKey{m.Key.Proto()}},
			}}); err != nil {
				return err
			}
			e.opts.Logger.Info("an old version of a specification is retired", "namespace", m.Key.Namespace, "spec", m.Key.Name, "version", m.Key.Version)
		}
	}
	return nil
}
