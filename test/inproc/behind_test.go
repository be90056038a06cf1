package inproc

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// slow is a replica that does not apply entries behind an index while its gate is shut.
type slow struct {
	shard.Machine
	gate  *sync.RWMutex
	after uint64
}

func (s slow) Apply(index uint64, data []byte) ([]fsm.Result, error) {
	if index > s.after {
		s.gate.RLock()
		defer s.gate.RUnlock()
	}
	return s.Machine.Apply(index, data)
}

// TestACatalogThatIsBehind: a node that does not know yet that what it takes for the
// newest version is retired looks again before it refuses an instance for which
// no version was asked.
func TestACatalogThatIsBehind(t *testing.T) {
	t.Parallel()
	var gates [3]sync.RWMutex
	c := Start(t, Options{Shards: 1, Configure: func(node int, cfg *transport.ServerConfig) {
		cfg.Hooks.Group = func(g *shard.Config) {
			if _, ok := g.Machine.(*fsm.Catalog); ok {
				g.Machine = slow{g.Machine, &gates[node], 0}
			}
		}
	}})
	cl := c.Client()
	one := uint64(1)
	if _, err := cl.ChangeSettings(testContext(t), client.SettingsChange{SpecVersions: &one}); err != nil {
		t.Fatal(err)
	}
	def := pingPong("walk")
	apply(t, cl, def)
	behind := 0
	for c.Leader(0, 0) == behind || c.Leader(0, 1) == behind {
		behind++
	}
	slow := c.Client(behind)
	if _, _, err := slow.GetSpecification(testContext(t), "walk", 1); err != nil { // now the node has it
		t.Fatal(err)
	}

	gates[behind].Lock()
	open := sync.OnceFunc(gates[behind].Unlock)
	defer open()
	ahead := c.Client((behind + 1) % 3)
	def.Transitions = append(def.Transitions, &typesv1.Transition{From: "left", Action: "rest", To: "right"})
	apply(t, ahead, def)
	Eventually(t, "version 1 to be retired", func() bool {
		_, _, err := ahead.GetSpecification(testContext(t), "walk", 1)
		var e *client.Error
		return errors.As(err, &e) && e.Reason == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND
	})
	defer time.AfterFunc(300*time.Millisecond, open).Stop()
	for i, begin := range []func() (uint64, error){
		func() (uint64, error) {
			resp, err := slow.Init(testContext(t), "walk", "second")
			return resp.GetSpecVersion(), err
		},
		func() (uint64, error) {
			resp, err := slow.Mock(testContext(t), "walk", "third", "left")
			return resp.GetSpecVersion(), err
		},
	} {
		if version, err := begin(); err != nil || version != 2 {
			t.Errorf("request %d: version %d, %v", i, version, err)
		}
	}
}
