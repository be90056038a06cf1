package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/spexio/spex/fsm"
)

// listOp is an operation on the list: a put of a value, or a read of its length.
type listOp struct {
	read  bool
	value string
}

// listModel is a list of which the length is the state: a put of a unique value
// returns its position, which the final list confirms, and a read the length.
var listModel = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		length := state.(int)
		if input.(listOp).read {
			return output.(int) == length, length
		}
		return output.(int) == length+1, length + 1
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %v", input, output) },
}

// history is what the clients of a faulty cluster saw.
type history struct {
	mu      sync.Mutex // guards the fields below
	ops     []porcupine.Operation
	unknown []porcupine.Operation
	refused map[string]bool
	start   time.Time
	last    int64
}

// now is a time that no two calls share, as the fake clock stands still.
func (h *history) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last+1, int64(time.Since(h.start)))
	return h.last
}

// faults is one run: clients on random nodes against a schedule of faults.
type faults struct {
	*testCluster
	t    *testing.T
	rng  *rand.Rand
	hist *history
	// groups guards the groups of the nodes, which restarts replace.
	groups sync.RWMutex
}

func (f *faults) node(rng *rand.Rand) (*Group, *listMachine) {
	f.groups.RLock()
	defer f.groups.RUnlock()
	n := f.nodes[f.ids[rng.IntN(len(f.ids))]]
	return n.group, n.machine
}

// client puts and reads until ctx ends.
func (f *faults) client(ctx context.Context, id int, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
		group, machine := f.node(rng)
		if rng.IntN(2) == 0 {
			f.put(id, group, fmt.Sprintf("c%d-%d", id, i))
		} else {
			f.read(id, group, machine, rng)
		}
	}
}

func (f *faults) put(client int, group *Group, value string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	op := porcupine.Operation{ClientId: client, Input: listOp{value: value}, Call: f.hist.now()}
	applied, err := group.Propose(ctx, put(value))
	op.Return = f.hist.now()
	f.hist.mu.Lock()
	defer f.hist.mu.Unlock()
	var e *fsm.Error
	switch {
	case err == nil:
		op.Output = applied.Result.Value
		f.hist.ops = append(f.hist.ops, op)
	case errors.As(err, &e) && e.NotApplied:
		f.hist.refused[value] = true
	default:
		f.hist.unknown = append(f.hist.unknown, op)
	}
}

// read asks the leader for an index, and reads on a random node.
func (f *faults) read(client int, leader *Group, _ *listMachine, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	op := porcupine.Operation{ClientId: client, Input: listOp{read: true}, Call: f.hist.now()}
	index, err := leader.ReadIndex(ctx)
	if err != nil {
		return
	}
	group, machine := f.node(rng)
	if err := group.WaitApplied(ctx, index); err != nil {
		return
	}
	op.Output = len(machine.values())
	op.Return = f.hist.now()
	f.hist.mu.Lock()
	defer f.hist.mu.Unlock()
	f.hist.ops = append(f.hist.ops, op)
}

// disturb runs faults one after the other until ctx ends.
func (f *faults) disturb(ctx context.Context) {
	for ctx.Err() == nil {
		a, b := f.ids[f.rng.IntN(len(f.ids))], f.ids[f.rng.IntN(len(f.ids))]
		switch f.rng.IntN(5) {
		case 0:
			f.isolate(a)
		case 1:
			f.block(a, b)
		case 2:
			group, _ := f.node(f.rng)
			call, cancel := context.WithTimeout(ctx, time.Second)
			_ = group.TransferLeadership(call, "")
			cancel()
		case 3:
			f.crash(a)
			time.Sleep(time.Duration(f.rng.IntN(2000)) * time.Millisecond)
			f.groups.Lock()
			f.start(a)
			f.groups.Unlock()
		case 4:
			group, _ := f.node(f.rng)
			call, cancel := context.WithTimeout(ctx, time.Second)
			_ = group.Snapshot(call)
			cancel()
		}
		time.Sleep(time.Duration(f.rng.IntN(3000)) * time.Millisecond)
		if f.rng.IntN(2) == 0 {
			f.heal()
		}
	}
	f.heal()
}

// check holds what the clients saw against the final list.
func (f *faults) check(final []string) {
	h := f.hist
	position := map[string]int{}
	for i, v := range final {
		if position[v] != 0 {
			f.t.Errorf("%s is in the list twice", v)
		}
		if h.refused[v] {
			f.t.Errorf("%s was refused as not applied, but is in the list", v)
		}
		position[v] = i + 1
	}
	for _, op := range h.unknown {
		if at := position[op.Input.(listOp).value]; at > 0 {
			op.Output, op.Return = at, h.now()
			h.ops = append(h.ops, op)
		}
	}
	for _, op := range h.ops {
		if in := op.Input.(listOp); !in.read && position[in.value] != op.Output {
			f.t.Errorf("%s was acknowledged at %v, and is at %d", in.value, op.Output, position[in.value])
		}
	}
	if !porcupine.CheckOperations(listModel, h.ops) {
		f.t.Errorf("the history of %d operations is not linearizable", len(h.ops))
	}
	f.t.Logf("%d operations, %d of unknown outcome, %d refused, %d values", len(h.ops), len(h.unknown), len(h.refused), len(final))
}

func TestLinearizableUnderFaults(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newFormed(t, smallSnapshots, "a", "b", "c")
				f := &faults{testCluster: c, t: t, rng: rand.New(rand.NewPCG(seed, 0)),
					hist: &history{refused: map[string]bool{}, start: time.Now()}}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for id := range 4 {
					wg.Go(func() { f.client(ctx, id, rand.New(rand.NewPCG(seed, uint64(id)+1))) })
				}
				f.disturb(ctx)
				wg.Wait()
				leader := c.leader()
				c.put(leader, "end")
				final := leader.machine.values()
				c.agree(final, c.ids...)
				f.check(slices.DeleteFunc(final, func(v string) bool { return v == "end" }))
			})
		})
	}
}
