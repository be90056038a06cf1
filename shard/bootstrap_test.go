package shard

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// TestHalfABootstrapIsNotTheLast: Raft writes the term first and then the
// configuration. Whoever died in between can bootstrap again.
func TestHalfABootstrapIsNotTheLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := emptyCluster(t, nil, "a", "b", "c")
		for _, id := range c.ids {
			c.nodes[id] = &testNode{id: id, stores: memoryStores()}
		}
		if err := c.nodes["a"].stores.Stable.SetUint64(currentTermKey, bootstrapTerm); err != nil {
			t.Fatal(err)
		}
		for _, id := range c.ids {
			c.start(id)
		}
		c.bootstrap(c.ids, nil)
		c.put(c.leader(), "x")
		c.agree([]string{"x"}, c.ids...)
	})
}

// TestStateIsNeverForgotten: anything beside the term may be a promise.
func TestStateIsNeverForgotten(t *testing.T) {
	for name, write := range map[string]func(Stores) error{
		"a vote":       func(s Stores) error { return s.Stable.SetUint64(lastVoteTermKey, bootstrapTerm) },
		"a later term": func(s Stores) error { return s.Stable.SetUint64(currentTermKey, bootstrapTerm+1) },
		"an entry": func(s Stores) error {
			return s.Logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(
				raft.Configuration{Servers: []raft.Server{{ID: "n", Address: "n"}, {ID: "m", Address: "m"}}})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := single(1)
				if err := errors.Join(cfg.Stores.Stable.SetUint64(currentTermKey, bootstrapTerm), write(cfg.Stores)); err != nil {
					t.Fatal(err)
				}
				g, err := Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = g.Close(t.Context()) }()
				if err := g.Bootstrap([]string{"n"}, nil); !errors.Is(err, ErrHasState) {
					t.Errorf("bootstrap: %v", err)
				}
			})
		})
	}
}

// failingStable cannot be read.
type failingStable struct{ raft.StableStore }

func (failingStable) GetUint64([]byte) (uint64, error) { return 0, errors.New("damaged") }

func TestAnUnreadableTermIsNotForgotten(t *testing.T) {
	cfg := single(1)
	cfg.Stores.Stable = failingStable{cfg.Stores.Stable}
	if g, err := Open(cfg); err == nil {
		_ = g.Close(t.Context())
		t.Error("the group was opened")
	}
}
