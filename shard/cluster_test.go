package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const testGroup = 7

// testTransport is raft's in-memory transport as ours behaves: no pipelines, and
// heartbeats that do not wait for the follower's disk.
type testTransport struct {
	*raft.InmemTransport
	c *testCluster
}

func (t testTransport) SetHeartbeatHandler(handle func(raft.RPC)) {
	if t.c != nil {
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		t.c.beats[string(t.LocalAddr())] = handle
	}
}

func (t testTransport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.c != nil && t.c.isDeaf(id) {
		return errors.New("cut off")
	}
	if t.c == nil || req.PrevLogEntry != 0 || req.LeaderCommitIndex != 0 || len(req.Entries) != 0 {
		return t.InmemTransport.AppendEntries(id, addr, req, resp)
	}
	t.c.mu.Lock()
	cut, handle := t.c.cut[[2]string{string(t.LocalAddr()), string(id)}], t.c.beats[string(id)]
	t.c.mu.Unlock()
	if cut || handle == nil {
		return errors.New("cut off")
	}
	answer := make(chan raft.RPCResponse, 1)
	handle(raft.RPC{Command: req, RespChan: answer})
	select {
	case a := <-answer:
		if a.Error == nil {
			*resp = *a.Response.(*raft.AppendEntriesResponse)
		}
		return a.Error
	default:
		return errors.New("the node has stopped")
	}
}

func (t testTransport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	if t.c != nil {
		t.c.mu.Lock()
		hang := t.c.hangTimeoutNow
		t.c.mu.Unlock()
		if hang != nil {
			<-hang
			return errors.New("hung")
		}
	}
	return t.InmemTransport.TimeoutNow(id, addr, req, resp)
}

func (testTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// testNode is one node of a testCluster; its stores outlive its group.
type testNode struct {
	id      string
	stores  Stores
	machine *listMachine
	trans   testTransport
	group   *Group

	mu sync.Mutex // guards the fields below
	// halts and entrySizes are what the hooks were told.
	halts      []error
	entrySizes []int
	states     []LeaderState
}

// testCluster is a group over several nodes in one process.
type testCluster struct {
	t     testing.TB
	nodes map[string]*testNode
	ids   []string
	// configure, if set, changes the Config of a node before it is opened.
	configure func(*Config)
	// slow is set by a test that closes a group too late on purpose.
	slow bool

	mu sync.Mutex // guards the fields below
	// cut has the ordered pairs that cannot talk.
	cut map[[2]string]bool
	// confirmCut has the nodes whose Confirm is not answered, whatever cut says.
	confirmCut map[string]bool
	// askCut has the nodes whose Lost is not answered, whatever cut says.
	askCut map[string]bool
	// deaf has the nodes that leaders do not reach, whatever cut says.
	deaf map[string]bool
	// beats has the nodes' handlers of heartbeats.
	beats map[string]func(raft.RPC)
	// confirmOpen lets Confirm through where cut would not.
	confirmOpen bool
	confirmGate chan struct{}
	// hangTimeoutNow, if set, holds back the word to campaign in a transfer.
	hangTimeoutNow chan struct{}
	asked          []string
}

func emptyCluster(t testing.TB, configure func(*Config), ids ...string) *testCluster {
	return &testCluster{
		t: t, ids: ids, configure: configure, nodes: map[string]*testNode{}, beats: map[string]func(raft.RPC){},
		cut: map[[2]string]bool{}, confirmCut: map[string]bool{}, askCut: map[string]bool{}, deaf: map[string]bool{},
	}
}

// newCluster opens a node for every id without bootstrapping. The group is
// closed with the test.
func newCluster(t testing.TB, configure func(*Config), ids ...string) *testCluster {
	t.Helper()
	c := emptyCluster(t, configure, ids...)
	for _, id := range ids {
		c.nodes[id] = &testNode{id: id, stores: memoryStores()}
		c.start(id)
	}
	return c
}

// newFormed is newCluster with all nodes as voters and a leader.
func newFormed(t testing.TB, configure func(*Config), ids ...string) *testCluster {
	t.Helper()
	c := newCluster(t, configure, ids...)
	c.bootstrap(ids, nil)
	return c
}

func (c *testCluster) bootstrap(voters, nonvoters []string) {
	c.t.Helper()
	if err := c.nodes[voters[0]].group.Bootstrap(voters, nonvoters); err != nil {
		c.t.Fatal(err)
	}
	c.leader()
}

func (n *testNode) config(c *testCluster) Config {
	cfg := Config{
		ID: testGroup, NodeID: n.id, Machine: n.machine, Stores: n.stores, Transport: n.trans,
		Confirmer: &testConfirmer{c, n.id}, Timing: LAN(),
		OnApply: func(_ uint64, entry []byte, _ []fsm.Result) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.entrySizes = append(n.entrySizes, len(entry))
		},
		OnHalt: func(err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.halts = append(n.halts, err)
		},
		OnLeader: func(s LeaderState) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.states = append(n.states, s)
		},
	}
	if c.configure != nil {
		c.configure(&cfg)
	}
	return cfg
}

// start opens a node with a new machine and a new transport over its old stores.
func (c *testCluster) start(id string) *testNode {
	c.t.Helper()
	n := c.nodes[id]
	n.machine = &listMachine{}
	_, inner := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 200*time.Millisecond)
	n.trans = testTransport{inner, c}
	g, err := Open(n.config(c))
	if err != nil {
		c.t.Fatal(err)
	}
	n.group = g
	c.rewire()
	c.t.Cleanup(func() {
		// The in-memory transport lets an RPC to a stopped node hang; one to a
		// node that is cut off fails.
		c.isolate(id)
		c.stopGroup(g)
	})
	return n
}

func (c *testCluster) stopGroup(g *Group) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := g.Close(ctx); err != nil && !c.slow {
		c.t.Error(err)
	}
}

// crash cuts a node off and then stops it, so that nothing of the stopping is seen.
func (c *testCluster) crash(id string) {
	c.t.Helper()
	c.isolate(id)
	c.stopGroup(c.nodes[id].group)
}

// rewire makes the transports agree with cut.
func (c *testCluster) rewire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			switch {
			case a == b || a.trans.InmemTransport == nil || b.trans.InmemTransport == nil:
			case c.cut[[2]string{a.id, b.id}]:
				a.trans.Disconnect(raft.ServerAddress(b.id))
			default:
				a.trans.Connect(raft.ServerAddress(b.id), b.trans.InmemTransport)
			}
		}
	}
}

// block stops what from sends to to.
func (c *testCluster) block(from, to string) {
	c.mu.Lock()
	c.cut[[2]string{from, to}] = true
	c.mu.Unlock()
	c.rewire()
}

// setDeaf sets whether leaders do not reach a node, which reaches everybody.
func (c *testCluster) setDeaf(id string, deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf[id] = deaf
}

func (c *testCluster) isDeaf(id raft.ServerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deaf[string(id)]
}

// isolate cuts a node off from all others, both ways.
func (c *testCluster) isolate(id string) {
	for _, other := range c.ids {
		if other != id {
			c.block(id, other)
			c.block(other, id)
		}
	}
}

// heal connects everybody.
func (c *testCluster) heal() {
	c.mu.Lock()
	clear(c.cut)
	c.mu.Unlock()
	c.rewire()
}

// leader waits for a node that leads, among those given or all.
func (c *testCluster) leader(among ...string) *testNode {
	c.t.Helper()
	if len(among) == 0 {
		among = c.ids
	}
	var leader *testNode
	c.eventually("a leader among "+fmt.Sprint(among), func() bool {
		var best uint64
		for _, id := range among {
			if term, ok := c.nodes[id].group.Leading(); ok && term > best {
				best, leader = term, c.nodes[id]
			}
		}
		return best > 0
	})
	return leader
}

// others are the ids of all nodes but those given.
func (c *testCluster) others(not ...string) []string {
	return slices.DeleteFunc(slices.Clone(c.ids), func(id string) bool { return slices.Contains(not, id) })
}

// eventually polls a condition, for a minute at most.
func (c *testCluster) eventually(what string, cond func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !cond() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			c.t.Fatalf("waited in vain for %s: %s", what, c)
		}
	}
}

// agree waits until the nodes all have the values.
func (c *testCluster) agree(values []string, ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.eventually("the values on "+id, func() bool { return slices.Equal(c.nodes[id].machine.values(), values) })
	}
}

func (c *testCluster) String() string {
	s := ""
	for _, id := range c.ids {
		st := c.nodes[id].group.Status()
		s += fmt.Sprintf("\n%s: %s term %d leader %q applied %d commit %d last %d halted %v, %d values",
			id, st.State, st.Term, st.Leader, st.Applied, st.Commit, st.Last, st.Halted, len(c.nodes[id].machine.values()))
	}
	return s
}

// put proposes a value on a node and expects success.
func (c *testCluster) put(n *testNode, value string) Applied {
	c.t.Helper()
	applied, err := n.group.Propose(context.Background(), put(value))
	if err != nil || applied.Result.Err != nil {
		c.t.Fatalf("put %q on %s: %v, %v", value, n.id, err, applied.Result.Err)
	}
	return applied
}

// testConfirmer is the way of one node to the others' ConfirmTerm.
type testConfirmer struct {
	c    *testCluster
	from string
}

func (tc *testConfirmer) Confirm(ctx context.Context, to string, group uint32, term uint64) (bool, error) {
	c := tc.c
	c.mu.Lock()
	cut := c.cut[[2]string{tc.from, to}] && !c.confirmOpen || c.confirmCut[to]
	gate := c.confirmGate
	c.asked = append(c.asked, to)
	c.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if cut {
		// Like a network that swallows the question.
		<-ctx.Done()
		return false, ctx.Err()
	}
	if group != c.nodes[to].group.ID() {
		return false, errors.New("wrong group")
	}
	ok, _ := c.nodes[to].group.ConfirmTerm(term)
	return ok, nil
}

// bubble runs a test with a fake clock. The test fails if a goroutine of the
// group outlives it.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// Runs last, and takes no real time: Raft leaves the goroutines of an
		// RPC behind until the RPC times out.
		t.Cleanup(func() { time.Sleep(10 * time.Second) })
		f(t)
	})
}

// wantError checks the reason of an error, and whether it says not applied.
func wantError(t *testing.T, err error, reason typesv1.Reason, notApplied bool) *fsm.Error {
	t.Helper()
	var e *fsm.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want %v", err, reason)
	}
	if e.Reason != reason || e.NotApplied != notApplied {
		t.Fatalf("got %v (not applied: %t) %q, want %v (%t)", e.Reason, e.NotApplied, e.Message, reason, notApplied)
	}
	if e.Shard != testGroup {
		t.Errorf("the error is of group %d", e.Shard)
	}
	return e
}

func commands(values ...string) []*statev1.Command {
	var cmds []*statev1.Command
	for _, v := range values {
		cmds = append(cmds, put(v))
	}
	return cmds
}

func numbered(prefix string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return values
}
