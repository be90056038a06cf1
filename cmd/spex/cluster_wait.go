package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// waitPoll is how often it is looked whether something is done.
const waitPoll = 250 * time.Millisecond

// waiter waits until the cluster has done what it was told.
type waiter struct {
	wait   bool
	within time.Duration
	// done says in the end what came about.
	done string
	// begun is set when the cluster was told to do something, and does it without the wait too.
	begun bool
}

func (w *waiter) flags(cmd *cobra.Command, usage string) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, usage)
	cmd.Flags().DurationVar(&w.within, "within", 0, "with --wait: give up after this `time`, with exit status 1; 0 waits for ever")
}

func (w *waiter) check() error {
	if w.within != 0 && !w.wait {
		return usagef("--within goes with --wait")
	}
	return nil
}

// healthy waits until the cluster is healthy.
func (w waiter) healthy(ctx context.Context, a *app, c *client.Client) error {
	return w.poll(ctx, a, func(ctx context.Context) (string, error) {
		s, err := c.Status(ctx, false)
		if err != nil {
			return "", err
		}
		return firstProblem(statusToJSON(s).Problems), nil
	})
}

// until waits until a node is done with its state. What is left to do is noted
// whenever it changes. A call that fails meanwhile is made again: leaders move.
func (w waiter) until(ctx context.Context, a *app, c *client.Client, node string, state spexv1.NodeState) error {
	return w.poll(ctx, a, func(ctx context.Context) (left string, err error) {
		s, err := c.Status(ctx, false)
		if err != nil {
			return "", err
		}
		left = holds(s, node)
		if state == spexv1.NodeState_NODE_STATE_DRAINING {
			left = leads(s, node)
		}
		if left != "" && s.GetPlacementPaused() {
			left += ", and the placement is paused: see 'spex cluster resume'"
		}
		return left, nil
	})
}

// poll asks what is left until the answer is empty.
func (w waiter) poll(ctx context.Context, a *app, ask func(ctx context.Context) (left string, err error)) error {
	var expired <-chan time.Time
	if w.within > 0 {
		timer := time.NewTimer(w.within)
		defer timer.Stop()
		expired = timer.C
	}
	ticker := time.NewTicker(waitPoll)
	defer ticker.Stop()
	said := ""
	for {
		left, err := ask(ctx)
		switch {
		case err == nil && left == "":
			return nil
		case ctx.Err() != nil:
			return w.interrupted(ctx, a)
		case err != nil:
			left = a.describe(err)
		}
		if left != said {
			a.notef("waiting: %s", left)
			said = left
		}
		select {
		case <-ticker.C:
		case <-expired:
			return answerNo("not done within %v: %s", w.within, left)
		case <-ctx.Done():
			return w.interrupted(ctx, a)
		}
	}
}

// interrupted ends the wait, which is not what people may think that they end.
func (w waiter) interrupted(ctx context.Context, a *app) error {
	if w.begun {
		a.notef("the wait is over, and the cluster goes on: 'spex cluster plan' shows with what, 'spex cluster activate' takes the node back")
	}
	return ctx.Err()
}

// leads says what a node still leads.
func leads(s *spexv1.GetStatusResponse, node string) string {
	var groups []string
	for _, g := range append([]*spexv1.ShardStatus{s.GetCatalog()}, s.GetShards()...) {
		if g.GetLeader() == node {
			groups = append(groups, groupLabel(g.GetId()))
		}
	}
	if len(groups) == 0 {
		return ""
	}
	return fmt.Sprintf("%s leads %s", labelOf(s, node), some(groups))
}

// holds says what a node still holds, and "" once it is forgotten.
func holds(s *spexv1.GetStatusResponse, node string) string {
	var groups []string
	for _, g := range s.GetShards() {
		for _, r := range g.GetReplicas() {
			if r.GetNodeId() == node {
				groups = append(groups, groupLabel(g.GetId()))
			}
		}
	}
	if len(groups) > 0 {
		return fmt.Sprintf("%s holds %s", labelOf(s, node), some(groups))
	}
	for _, n := range s.GetNodes() {
		if n.GetId() == node {
			return labelOf(s, node) + " holds no shard and is not forgotten yet"
		}
	}
	return ""
}

// some writes the first of many.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func labelOf(s *spexv1.GetStatusResponse, node string) string {
	for _, n := range s.GetNodes() {
		if n.GetId() == node {
			return nodeLabel(n.GetId(), n.GetName())
		}
	}
	return node
}
