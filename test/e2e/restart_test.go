//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

var (
	restartInstances = flag.Int("restart-instances", 10_000, "instances of the restart test")
	restartNodes     = flag.Int("restart-nodes", 3, "nodes of the restart test")
	restartSteps     = flag.Int("restart-steps", 2, "steps of each instance of the restart test")
)

// restartLimit is how long a node with a million instances may take from its start until
// it serves.
const restartLimit = 10 * time.Second

// TestRestartWithManyInstances kills one of the nodes that hold many instances,
// starts it again and measures the time until it serves.
func TestRestartWithManyInstances(t *testing.T) {
	s := startServers(t, *restartNodes)
	cl := s.dial()
	if _, err := cl.ApplySpecification(context.Background(), &typesv1.Specification{Name: "many", InitialState: "left",
		Transitions: []*typesv1.Transition{{From: "left", Action: "ping", To: "right"}, {From: "right", Action: "pong", To: "left"}}}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	fillInstances(t, cl, *restartInstances, *restartSteps)
	t.Logf("%d instances with %d steps each in %v", *restartInstances, *restartSteps, time.Since(begin))
	nd := s.nodes[len(s.nodes)-1]
	for _, how := range []string{"SIGKILL", "SIGTERM", "SIGKILL"} {
		if how == "SIGKILL" {
			s.kill(nd)
		} else if code := s.terminate(nd, 15*time.Second); code != 0 {
			t.Fatalf("exit status %d", code)
		}
		begin := time.Now()
		s.start(nd)
		s.awaitReady(nd, 5*time.Minute)
		took := time.Since(begin)
		t.Logf("after %s the node serves %v after its start", how, took)
		if took > restartLimit {
			t.Errorf("after %s it took %v until the node serves, want at most %v", how, took, restartLimit)
		}
		s.awaitAgreement(60 * time.Second)
	}
}

// fillInstances makes instances and takes steps with them, in batches.
func fillInstances(t *testing.T, cl *client.Client, instances, steps int) {
	t.Helper()
	const batch = 100
	var next atomic.Int64
	var work sync.WaitGroup
	errs := make(chan error, 256)
	for range cap(errs) {
		work.Go(func() {
			for {
				from := int(next.Add(batch)) - batch
				if from >= instances {
					return
				}
				if err := fillBatch(cl, from, min(from+batch, instances), steps); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	work.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

func fillBatch(cl *client.Client, from, to, steps int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for i := from; i < to; i++ {
		if _, err := cl.Init(ctx, "many", fmt.Sprintf("many-%d", i)); err != nil {
			return err
		}
	}
	for n := range steps {
		action, state := "ping", "right"
		if n%2 == 1 {
			action, state = "pong", "left"
		}
		var list []*spexv1.TransitionRequest
		for i := from; i < to; i++ {
			list = append(list, &spexv1.TransitionRequest{Id: fmt.Sprintf("many-%d", i), Action: action, ToState: state, ExpectedSeq: uint64(n + 2)})
		}
		results, err := cl.TransitionBatch(ctx, list)
		if err != nil {
			return err
		}
		for _, r := range results {
			if e := r.GetError(); e != nil {
				return errors.New(e.GetMessage())
			}
		}
	}
	return nil
}
