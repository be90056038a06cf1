package shard

import (
	"context"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Propose has a command replicated and applied, and returns what the machine
// answered, which may be a refusal in Result.Err. The command may be reused as
// soon as Propose returns.
//
// An error is always an *fsm.Error, with one of these reasons:
//   - NOT_LEADER: this node does not lead; not applied.
//   - QUEUE_FULL: too many commands wait; not applied.
//   - LIMIT_EXCEEDED: the command is too large; not applied.
//   - DISK_SPACE: see RefuseGrowth; not applied.
//   - OUTCOME_UNKNOWN: leadership was lost, or ctx ended, while the command was
//     in flight. It may still be applied.
//   - GROUP_HALTED: this replica cannot apply entries any more. NotApplied tells
//     whether the command may be in the log.
//   - UNAVAILABLE: the group is closing, does not accept entries in time, or ctx
//     ended before the command was proposed; not applied.
//
// While a new leader waits for its Lead to be applied, Propose waits too.
func (g *Group) Propose(ctx context.Context, cmd *statev1.Command) (Applied, error) {
	results, err := g.ProposeAll(ctx, []*statev1.Command{cmd})
	if err != nil {
		return Applied{}, err
	}
	return results[0], nil
}

// ProposeAll proposes commands in order; later ones may share an entry with the
// earlier ones, or come in a later entry, with commands of other callers between
// them. The results are in the order of the commands.
//
// On an error the commands may have fared differently: results is then nil, or
// has an element for each command, with the command's own failure in Result.Err
// and no Index when it failed. The error is that of the first failure, and says
// NotApplied only if none of the commands was applied.
func (g *Group) ProposeAll(ctx context.Context, cmds []*statev1.Command) ([]Applied, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	commands := make([][]byte, len(cmds))
	for i, cmd := range cmds {
		// Encoded here, many callers at a time, and not by the one proposer.
		data, err := g.encodeCommand(cmd)
		if err != nil {
			return nil, err
		}
		commands[i] = data
	}
	if err := g.mayPropose(ctx); err != nil {
		return nil, err
	}
	if err := g.mayGrow(cmds); err != nil {
		return nil, err
	}
	c := &call{done: make(chan struct{}), results: make([]Applied, len(cmds)), left: len(cmds)}
	room, closed := g.queue.add(c, commands)
	switch {
	case closed != nil:
		return nil, closed
	case !room:
		return nil, g.newError(typesv1.Reason_REASON_QUEUE_FULL, true,
			"%d commands wait already (the limit is %d): send fewer at a time, or try again", g.cfg.QueueCommands, g.cfg.QueueCommands)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		finished, taken := g.queue.abandon(c)
		switch {
		case finished:
			<-c.done
		case taken:
			return nil, g.unknownOutcome(context.Cause(ctx))
		default:
			return nil, g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "given up before the command was proposed: %v", context.Cause(ctx))
		}
	}
	return c.results, callError(c)
}

// callError sums up a finished call.
func callError(c *call) error {
	if c.err == nil {
		return nil
	}
	if c.err.NotApplied {
		for i := range c.results {
			if r := &c.results[i]; r.Index != 0 || r.Result.Err != nil && !r.Result.Err.NotApplied {
				e := *c.err
				e.NotApplied = false
				return &e
			}
		}
	}
	return c.err
}

// mayPropose refuses early what the proposer would refuse.
func (g *Group) mayPropose(ctx context.Context) error {
	if ctx.Err() != nil {
		return g.newError(typesv1.Reason_REASON_UNAVAILABLE, true, "given up before the command was proposed: %v", context.Cause(ctx))
	}
	if g.replica.haltCause() != nil {
		return g.haltedError(true)
	}
	if g.queue.isClosed() {
		return g.closedError()
	}
	if !g.raftLeads() {
		return g.notLeader()
	}
	return nil
}

// encodeCommand gives the wire form of a command within its limit.
func (g *Group) encodeCommand(cmd *statev1.Command) ([]byte, error) {
	data, err := proto.Marshal(cmd)
	if err != nil {
		return nil, g.newError(typesv1.Reason_REASON_INVALID_ARGUMENT, true, "the command cannot be encoded: %v", err)
	}
	limit := g.cfg.MaxEntryBytes - entryOverhead - commandOverhead
	switch cmd.GetKind().(type) {
	case *statev1.Command_InitInstance, *statev1.Command_Step, *statev1.Command_DeleteInstance:
		limit = min(limit, MaxClientCommandBytes)
	case nil:
		return nil, g.newError(typesv1.Reason_REASON_INVALID_ARGUMENT, true, "the command is empty")
	}
	if len(data) > limit {
		return nil, g.newError(typesv1.Reason_REASON_LIMIT_EXCEEDED, true, "the command has %d bytes, at most %d are allowed", len(data), limit)
	}
	return data, nil
}

// proposeLoop is the one goroutine that proposes commands. A batch is what
// arrived while the last one was on its way; there is no timer.
func (g *Group) proposeLoop() {
	defer close(g.proposing)
	for {
		select {
		case <-g.queue.wake:
		case <-g.ctx.Done():
			g.queue.close(g.closedError())
			return
		}
		for g.queue.length() > 0 && g.proposeNext() {
		}
		if g.queue.isClosed() {
			return
		}
	}
}

// proposeNext proposes one batch. It reports false when it failed what waits
// because this node does not lead.
func (g *Group) proposeNext() bool {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-g.ctx.Done():
	}
	if _, err := g.awaitLeading(g.ctx); err != nil {
		g.queue.failAll(err)
		return false
	}
	if batch := g.queue.take(g.cfg.MaxEntryCommands, g.cfg.MaxEntryBytes); len(batch) > 0 {
		g.proposeBatch(batch)
	}
	return true
}

// proposeBatch proposes one entry and hands out the results.
func (g *Group) proposeBatch(batch []item) {
	commands := make([][]byte, len(batch))
	for i, it := range batch {
		commands[i] = it.data
	}
	index, resp, err := g.proposeEntry(commands)
	if err != nil {
		g.queue.fail(batch, err)
		return
	}
	if len(resp.results) != len(batch) {
		g.cfg.Logger.Error("the machine gave the wrong number of results", "index", index, "commands", len(batch), "results", len(resp.results))
		g.queue.fail(batch, g.newError(typesv1.Reason_REASON_OUTCOME_UNKNOWN, false,
			"the machine gave %d results for the %d commands of entry %d", len(resp.results), len(batch), index))
		return
	}
	failpoint.Hit("shard/applied-before-reply")
	outcomes := make([]Applied, len(batch))
	for i, result := range resp.results {
		outcomes[i] = Applied{Index: index, Result: result}
	}
	g.queue.resolve(batch, outcomes)
}

// proposeEntry has one entry committed and applied here. It returns when Raft
// answers, which it does within about a lease once the majority is gone.
func (g *Group) proposeEntry(commands [][]byte) (uint64, response, *fsm.Error) {
	data := encodeEntry(g.featureLevel.Load(), g.cfg.Now().UnixNano(), commands)
	var future raft.ApplyFuture
	_, err := g.settled(func() raft.Future {
		future = g.raft.Apply(data, g.cfg.Timing.Enqueue)
		failpoint.Hit("shard/proposed")
		return future
	}, nil)
	g.replica.stuck.proposed(err)
	if err != nil {
		return 0, response{}, g.raftError(err)
	}
	resp, ok := future.Response().(response)
	if !ok {
		return 0, response{}, g.newError(typesv1.Reason_REASON_OUTCOME_UNKNOWN, false, "no response from the replica")
	}
	if resp.err != nil {
		return 0, response{}, g.haltedError(false)
	}
	return future.Index(), resp, nil
}

// The numbers of the fields of statev1.Entry. A test holds them against the
// generated code.
const (
	entryFeatureLevel = 1
	entryTime         = 2
	entryCommands     = 3
)

const (
	// entryOverhead bounds what an entry has beside its commands.
	entryOverhead = 2 * (1 + 10)
	// commandOverhead bounds the tag and the length before a command.
	commandOverhead = 1 + 5
)

// commandSize is what a command takes in an entry.
func commandSize(data []byte) int {
	return protowire.SizeTag(entryCommands) + protowire.SizeBytes(len(data))
}

// encodeEntry writes a statev1.Entry around commands in wire form.
func encodeEntry(featureLevel uint32, unixNano int64, commands [][]byte) []byte {
	size := entryOverhead
	for _, data := range commands {
		size += commandSize(data)
	}
	b := make([]byte, 0, size)
	if featureLevel != 0 {
		b = protowire.AppendTag(b, entryFeatureLevel, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(featureLevel))
	}
	if unixNano != 0 {
		b = protowire.AppendTag(b, entryTime, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(unixNano))
	}
	for _, data := range commands {
		b = protowire.AppendTag(b, entryCommands, protowire.BytesType)
		b = protowire.AppendBytes(b, data)
	}
	return b
}
