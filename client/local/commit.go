package local

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// maxGroup and maxGroupBytes bound the commands that share an entry, and so a sync.
	maxGroup      = 256
	maxGroupBytes = 256 << 10
	principal     = "local"
)

// job is something for the goroutine that owns the machines: a command for the
// shard, or a function that has the machines to itself.
type job struct {
	cmd   *statev1.Command
	alone func() error
	reply chan answer // of capacity 1
}

type answer struct {
	result fsm.Result
	err    error
}

// loop owns the machines and the log. Commands that wait at the same time share
// an entry and its sync.
func (e *engine) loop() {
	var next *job
	for {
		j := next
		if next = nil; j == nil {
			select {
			case j = <-e.jobs:
			case <-e.stop:
				return
			}
		}
		if j.alone != nil {
			j.reply <- answer{err: j.alone()}
			continue
		}
		group, size := []*job{j}, proto.Size(j.cmd)
	gather:
		for len(group) < maxGroup && size < maxGroupBytes {
			select {
			case more := <-e.jobs:
				if more.alone != nil {
					next = more
					break gather
				}
				group, size = append(group, more), size+proto.Size(more.cmd)
			default:
				break gather
			}
		}
		e.commit(group)
	}
}

func (e *engine) commit(group []*job) {
	cmds := make([]*statev1.Command, len(group))
	for i, j := range group {
		cmds[i] = j.cmd
	}
	results, err := e.apply(toShard, true, cmds...)
	if err == nil {
		// Before the answers, so that a caller finds in the model what it has shown.
		e.settle(results)
	}
	for i, j := range group {
		a := answer{err: err}
		if err == nil {
			a.result = results[i]
		}
		j.reply <- a
	}
}

// apply logs commands as one entry and applies it; only the loop calls it.
// Without sync the entry is on disk when the next one with sync is: what nobody
// waits for may be lost with the process, and is done again.
func (e *engine) apply(to target, sync bool, cmds ...*statev1.Command) ([]fsm.Result, error) {
	if e.failed != nil {
		return nil, e.failed
	}
	entry, err := proto.Marshal(&statev1.Entry{FeatureLevel: fsm.FeatureLevel, TimeUnixNano: e.opts.Now().UnixNano(), Commands: cmds})
	if err != nil {
		return nil, err
	}
	index := e.index + 1
	if err := e.storage.append(index, to, entry, sync); err != nil {
		// What is on disk is not known: nothing more may be written behind it.
		return nil, e.fail(fmt.Errorf("write to the log: %w", err))
	}
	e.index = index
	e.logBytes += int64(len(entry))
	results, err := e.machine(to).Apply(index, entry)
	if err != nil {
		return nil, e.fail(fmt.Errorf("apply entry %d: %w", index, err))
	}
	e.tell(results)
	if last := (position{e.catalog.LastReport(), e.shard.LastReport()}); last != e.lastReport {
		e.lastReport = last
		e.reported.Fire()
	}
	return results, nil
}

// fail makes the engine refuse everything from now on.
func (e *engine) fail(err error) error {
	e.opts.Logger.Error("the in-process manager has failed and must be opened again", "error", err)
	e.failed = &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: err.Error() + ": close the manager and open it again"}
	close(e.broken)
	return e.failed
}

// machine is what an entry is applied to.
func (e *engine) machine(to target) interface {
	Apply(index uint64, data []byte) ([]fsm.Result, error)
} {
	if to == toCatalog {
		return e.catalog
	}
	return e.shard
}

// submit hands a job to the loop and waits for its answer.
func (e *engine) submit(ctx context.Context, j *job) (fsm.Result, error) {
	if err := ctx.Err(); err != nil {
		return fsm.Result{}, client.GivenUp(err, true)
	}
	j.reply = make(chan answer, 1)
	select {
	case e.jobs <- j:
	case <-ctx.Done():
		return fsm.Result{}, client.GivenUp(ctx.Err(), true)
	case <-e.stop:
		return fsm.Result{}, errClosed
	}
	select {
	case a := <-j.reply:
		return a.result, a.err
	case <-ctx.Done():
		return fsm.Result{}, client.GivenUp(ctx.Err(), false) // it is being stored
	case <-e.stopped:
		select {
		case a := <-j.reply:
			return a.result, a.err
		default:
			return fsm.Result{}, errClosed
		}
	}
}

// write applies a command to the shard.
func (e *engine) write(ctx context.Context, cmd *statev1.Command) (any, error) {
	cmd.Principal = principal
	res, err := e.submit(ctx, &job{cmd: cmd})
	if err == nil && res.Err != nil {
		err = res.Err
	}
	return res.Value, err
}

// alone runs f while nothing else changes the machines.
func (e *engine) alone(ctx context.Context, f func() error) error {
	_, err := e.submit(ctx, &job{alone: f})
	return err
}
