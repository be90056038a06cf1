package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/callctx"
	"github.com/spexio/spex/internal/signal"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

// catalog is this node's replica of group 0, and its way to the group's leader.
type catalog struct {
	node    *Node
	machine *fsm.Catalog
	group   group
	// changes fires after every applied entry.
	changes signal.Broadcast
}

func newCatalog(n *Node) *catalog {
	return &catalog{node: n, machine: fsm.NewCatalog()}
}

func (c *catalog) open() (err error) {
	cfg := c.node.groupConfig(store.CatalogGroup)
	cfg.Machine = c.machine
	cfg.OnApply = func(uint64, []byte, []fsm.Result) { c.changes.Fire() }
	cfg.OnRestore = func(uint64) { c.changes.Fire() }
	// All that the node does refers to this one group and machine, so the catalog
	// is opened again with the process.
	cfg.OnStuck = func(err error) {
		c.node.cfg.OnStuck(fmt.Errorf("the catalog's Raft does not get on, start the node again: %w", err))
	}
	c.group, err = c.node.host.Open(cfg)
	return err
}

// propose has the catalog's leader apply a command and returns what the machine
// said, after this node's own replica has applied it too. Every command of the
// catalog may be applied twice without harm, so it is sent again whenever it is
// not certain that it was applied.
func (c *catalog) propose(ctx context.Context, cmd *statev1.Command) (*fsm.CatalogResult, error) {
	resp, err := c.send(ctx, cmd)
	if err != nil {
		return nil, err
	}
	// Who asked wants to see what it did, when it reads here next.
	if err := c.group.WaitApplied(ctx, resp.GetIndex()); err != nil {
		return nil, c.node.inEffect(err)
	}
	return &fsm.CatalogResult{Index: resp.GetIndex(), Version: resp.GetVersion(), Changed: resp.GetChanged(), Added: int(resp.GetAdded()), Removed: int(resp.GetRemoved())}, nil
}

// send is propose without the wait for this node's own replica.
func (c *catalog) send(ctx context.Context, cmd *statev1.Command) (*peerv1.ProposeResponse, error) {
	if cmd.Principal == "" {
		cmd.Principal = callctx.Principal(ctx)
	}
	var resp *peerv1.ProposeResponse
	err := c.node.router.toLeader(ctx, store.CatalogGroup, writes, func(ctx context.Context, target string) (err error) {
		if target == c.node.cfg.Self.GetId() {
			resp, err = c.proposeHere(ctx, cmd)
		} else {
			resp, err = c.node.cfg.Peers.Propose(ctx, target, &peerv1.ProposeRequest{Target: &peerv1.Target{Group: store.CatalogGroup}, Command: cmd})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if e := fsm.ErrorFromDetail(resp.GetError()); e != nil {
		return nil, e
	}
	return resp, nil
}

// proposeHere applies a command on this node if it leads the catalog.
func (c *catalog) proposeHere(ctx context.Context, cmd *statev1.Command) (*peerv1.ProposeResponse, error) {
	applied, err := c.group.Propose(ctx, proto.CloneOf(cmd))
	if err != nil {
		return nil, inDoubt(err)
	}
	resp := &peerv1.ProposeResponse{Index: applied.Index}
	if applied.Result.Err != nil {
		resp.Error = applied.Result.Err.Detail()
	} else if r, ok := applied.Result.Value.(*fsm.CatalogResult); ok {
		resp.Version, resp.Changed, resp.Added, resp.Removed = r.Version, r.Changed, uint32(r.Added), uint32(r.Removed)
	}
	return resp, nil
}

// proposePayload sends the chunks of a large payload before the command that
// names it. The command uses the upload up: when it was applied and its answer
// was lost, or somebody else has uploaded the same content meanwhile, it finds
// none, and all is sent again.
func (c *catalog) proposePayload(ctx context.Context, content proto.Message, command func(*statev1.Payload) *statev1.Command) (*fsm.CatalogResult, error) {
	payload, chunks, err := fsm.NewPayload(content)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		if err := c.stage(ctx, chunks); err != nil {
			return nil, err
		}
		res, err := c.propose(ctx, command(payload))
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_UPLOAD_INCOMPLETE || attempt == maxUploadAttempts {
			return res, err
		}
	}
}

const (
	// maxUploadAttempts bounds how often a payload that got lost is sent again.
	maxUploadAttempts = 3
	// chunksInFlight of a payload are proposed at the same time.
	chunksInFlight = 4
)

// stage proposes the chunks of a payload, several at a time since their order
// does not matter. It returns the first failure.
func (c *catalog) stage(ctx context.Context, chunks []*statev1.StageChunk) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	next := make(chan *statev1.StageChunk)
	var work sync.WaitGroup
	for range min(chunksInFlight, len(chunks)) {
		work.Go(func() {
			for chunk := range next {
				if _, err := c.send(ctx, &statev1.Command{Kind: &statev1.Command_StageChunk{StageChunk: chunk}}); err != nil {
					fail(err)
				}
			}
		})
	}
	for _, chunk := range chunks {
		next <- chunk
	}
	close(next)
	work.Wait()
	return context.Cause(ctx)
}

// inEffect is the error of a command that was applied and whose effect did not
// show here in time.
func (n *Node) inEffect(err error) error {
	e := n.unavailable("the command was applied, but this node has not seen it yet: %v", err)
	e.NotApplied = false
	return e
}

// refresh returns once this node's replica has everything that was acknowledged
// before the call.
func (c *catalog) refresh(ctx context.Context) error {
	var index uint64
	err := c.node.router.toLeader(ctx, store.CatalogGroup, reads, func(ctx context.Context, target string) error {
		if target == c.node.cfg.Self.GetId() {
			i, err := c.group.ReadIndex(ctx)
			index = i
			return err
		}
		resp, err := c.node.cfg.Peers.ReadIndex(ctx, target, &peerv1.ReadIndexRequest{Target: &peerv1.Target{Group: store.CatalogGroup}})
		index = resp.GetIndex()
		return err
	})
	if err != nil {
		return err
	}
	return c.group.WaitApplied(ctx, index)
}

// spec finds a version of a specification; version 0 means the newest. That it
// does not exist is said only after a linearizable read.
func (c *catalog) spec(ctx context.Context, namespace, name string, version uint64) (fsm.SpecView, error) {
	if v, ok := c.machine.Spec(namespace, name, version); ok {
		return v, nil
	}
	if err := c.refresh(ctx); err != nil {
		return fsm.SpecView{}, err
	}
	if v, ok := c.machine.Spec(namespace, name, version); ok {
		return v, nil
	}
	return fsm.SpecView{}, fsm.NoSpec(namespace, name, version)
}

// await returns when cond holds on this node's replica of the catalog.
func (c *catalog) await(ctx context.Context, cond func() (done bool, err error)) error {
	for {
		changed := c.changes.Changed()
		if done, err := cond(); done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leadLoop does what only the catalog's leader has to do: it gives up seals
// whose deadline is over, and withdraws what was accepted for a time. It also takes one snapshot after the cluster was
// formed, so that a node that restarts while the catalog has no quorum still
// knows which shard an instance belongs to.
func (c *catalog) leadLoop(ctx context.Context) {
	// A seal's caller waits little longer than the seal has time.
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	pinned := false
	for tick := 0; ; tick++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if !pinned && tick%5 == 0 && c.machine.Cluster().ID != "" {
			if err := c.group.Snapshot(ctx); err != nil {
				c.node.log.Debug("the first snapshot of the catalog has to wait", "error", err)
			} else {
				pinned = true
			}
		}
		c.endInTime(ctx)
	}
}

// endInTime gives up seals and withdraws what was accepted whose time is over, if
// this node leads the catalog and its clock can be trusted.
func (c *catalog) endInTime(ctx context.Context) {
	if _, leading := c.group.Leading(); !leading || !c.node.clock.reliable() {
		return
	}
	for _, m := range c.machine.Models() {
		c.withdraw(ctx, m)
		if m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING && c.node.clock.Now().After(m.SealDeadline) {
			if err := c.abortSeal(ctx, m); err != nil {
				c.node.log.Warn("could not give up a seal", "spec", m.Key.Name, "error", err)
			}
		}
	}
}

// abortSeal lets a model learn again if it is still being sealed.
func (c *catalog) abortSeal(ctx context.Context, m fsm.ModelStatus) error {
	c.node.log.Warn("a seal is given up, the model learns again", "namespace", m.Key.Namespace, "spec", m.Key.Name, "version", m.Key.Version,
		"acknowledged_shards", len(m.Acknowledged))
	ctx, cancel := context.WithTimeout(ctx, c.node.cfg.RouteBudget)
	defer cancel()
	_, err := c.propose(ctx, &statev1.Command{Kind: &statev1.Command_ChangeModelMode{ChangeModelMode: &statev1.ChangeModelMode{
		Spec: m.Key.Proto(), Mode: typesv1.ModelMode_MODEL_MODE_LEARNING, IfModeRevision: m.ModeRevision,
	}}})
	return err
}

// inDoubt turns a group's OUTCOME_UNKNOWN, after which the same request may be
// sent again at once, into UNAVAILABLE without NotApplied. To a caller,
// OUTCOME_UNKNOWN says that asking again is of no use.
func inDoubt(err error) error {
	if fsm.ReasonOf(err) != typesv1.Reason_REASON_OUTCOME_UNKNOWN {
		return err
	}
	return &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: fmt.Sprintf("the request may or may not have been applied (%v): send it again with the same request id", err)}
}

// confirmer asks voters through the peers.
type confirmer struct{ peers Peers }

func (c confirmer) Confirm(ctx context.Context, nodeID string, group uint32, term uint64) (bool, error) {
	resp, err := c.peers.Confirm(ctx, nodeID, &peerv1.ConfirmRequest{Target: &peerv1.Target{Group: group}, Term: term})
	return resp.GetConfirmed(), err
}
