package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func newClusterPlanCommand(a *app) *cobra.Command {
	wait := waiter{done: "settled"}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what the cluster moves, and what it would move",
		Long: `Show what the cluster is moving, what it does next, the whole way to where its
replicas belong, and what it waits for. Nothing is changed by this. A replica moves in
steps: the catalog places it, Raft adds it without a vote, it catches up and is
promoted, the leadership leaves who goes, who is removed, and unplaced.

--wait waits until nothing is left to move, and nothing is waited for either, for
instance after a node has joined and is ready.`,
		Example: `  spex cluster plan
  spex cluster plan --wait --within 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if wait.wait {
					if err := wait.settled(cmd.Context(), a, c); err != nil {
						return err
					}
				}
				plan, err := c.Plan(cmd.Context())
				if err != nil {
					return err
				}
				return a.emit(planToJSON(plan), func(w io.Writer, p painter) { drawPlan(w, p, plan) })
			})
		},
	}
	wait.flags(cmd, "wait until nothing is left to move or waited for")
	return cmd
}

// planAgain is after how long a plan without changes has to be so still: the leader of
// the catalog looks once a second, and may not have seen yet what was done just now.
const planAgain = 1500 * time.Millisecond

// settled waits until there is nothing left to move, and nothing keeps anything from
// being moved: a plan that waits for a node or a leader is not where it wants to be.
func (w waiter) settled(ctx context.Context, a *app, c *client.Client) error {
	var since time.Time // when the plan was first seen empty
	return w.poll(ctx, a, func(ctx context.Context) (string, error) {
		plan, err := c.Plan(ctx)
		if err != nil {
			return "", err
		}
		left := planLeft(plan)
		switch {
		case left != "":
			since = time.Time{}
			return left, nil
		case since.IsZero():
			since = a.now()
		case a.now().Sub(since) >= planAgain:
			return "", nil
		}
		return "nothing left to move, if it stays so", nil
	})
}

// planLeft says what keeps a plan from being settled. It does not change while only
// time goes by.
func planLeft(plan *spexv1.GetPlanResponse) string {
	left, waits := max(len(plan.GetSteps()), len(plan.GetRunning())), len(plan.GetWaiting())
	switch {
	case plan.GetPaused() && left+waits > 0:
		return "something is left to move, and the placement is paused: see 'spex cluster resume'"
	case left > 0:
		return plural(left, "change") + " left"
	case waits > 0:
		return "nothing can be moved now, and something is waited for: see 'spex cluster plan'"
	}
	return ""
}

func drawPlan(w io.Writer, p painter, plan *spexv1.GetPlanResponse) {
	fmt.Fprintf(w, "%s for each shard; silent nodes are replaced after %v.\n",
		plural(int(plan.GetReplicas()), "replica"), plan.GetDeadAfter().AsDuration())
	if plan.GetPaused() {
		fmt.Fprintf(w, "%s: nothing is moved until 'spex cluster resume'.\n", p.paint(styleWarn, "Paused"))
	}
	drawChanges(w, p, "Under way", plan.GetRunning())
	drawChanges(w, p, "Next", plan.GetNext())
	drawChanges(w, p, "The whole way", plan.GetSteps())
	if len(plan.GetWaiting()) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.paint(styleHeader, "Waiting:"))
		for _, why := range plan.GetWaiting() {
			fmt.Fprintf(w, "  %s\n", why.GetWhy())
		}
	}
	switch {
	case len(plan.GetRunning())+len(plan.GetNext())+len(plan.GetSteps()) > 0:
	case len(plan.GetWaiting()) > 0:
		fmt.Fprintf(w, "\n%s can be moved now.\n", p.paint(styleWarn, "Nothing"))
	default:
		fmt.Fprintf(w, "\n%s to move.\n", p.paint(styleGood, "Nothing"))
	}
}

func drawChanges(w io.Writer, p painter, title string, changes []*spexv1.PlanChange) {
	if len(changes) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s, %s:\n", p.paint(styleHeader, title), plural(len(changes), "change"))
	t := newTable("SHARD", "CHANGE", "NODE", "WHY")
	for _, c := range changes {
		shard := "catalog"
		if c.GetShard() != 0 {
			shard = fmt.Sprint(c.GetShard())
		}
		node := nodeLabel(c.GetNode(), c.GetNodeName())
		if c.GetFrom() != "" {
			node = nodeLabel(c.GetFrom(), c.GetFromName()) + " to " + node
		}
		t.row(shard, planKindName(c.GetKind()), node, c.GetWhy())
	}
	t.write(w, p)
}

// planKindName is the kind of a change as people and JSON see it.
func planKindName(k spexv1.PlanKind) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(k.String(), "PLAN_KIND_")), "_", "-")
}

// planJSON is the document of cluster plan.
type planJSON struct {
	Paused    bool             `json:"paused"`
	DeadAfter string           `json:"dead_after"`
	Replicas  uint32           `json:"replicas"`
	Running   []planChangeJSON `json:"running"`
	Next      []planChangeJSON `json:"next"`
	Steps     []planChangeJSON `json:"steps"`
	Waiting   []planWaitJSON   `json:"waiting"`
}

type planChangeJSON struct {
	Shard    uint32 `json:"shard"`
	Kind     string `json:"kind"`
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	FromID   string `json:"from_id"`
	FromName string `json:"from_name"`
	Why      string `json:"why"`
}

type planWaitJSON struct {
	Shard    uint32 `json:"shard"`
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	Why      string `json:"why"`
}

// nodeChangeJSON is the document of cluster drain, activate, decommission and remove.
type nodeChangeJSON struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	State    string `json:"state"`
	Changed  bool   `json:"changed"`
	// Done is there with --wait only.
	Done *bool `json:"done,omitempty"`
}

// transferJSON is the document of cluster transfer.
type transferJSON struct {
	Shard uint32 `json:"shard"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// pauseJSON is the document of cluster pause and resume.
type pauseJSON struct {
	Paused  bool `json:"paused"`
	Changed bool `json:"changed"`
}

// placementJSON is the document of cluster placement.
type placementJSON struct {
	Replicas  uint32 `json:"replicas"`
	DeadAfter string `json:"dead_after"`
	Paused    bool   `json:"paused"`
	Changed   bool   `json:"changed"`
}

func planToJSON(p *spexv1.GetPlanResponse) planJSON {
	return planJSON{
		Paused: p.GetPaused(), DeadAfter: p.GetDeadAfter().AsDuration().String(), Replicas: p.GetReplicas(),
		Running: mapSlice(p.GetRunning(), planChangeToJSON), Next: mapSlice(p.GetNext(), planChangeToJSON), Steps: mapSlice(p.GetSteps(), planChangeToJSON),
		Waiting: mapSlice(p.GetWaiting(), func(w *spexv1.PlanWait) planWaitJSON {
			return planWaitJSON{Shard: w.GetShard(), NodeID: w.GetNode(), NodeName: w.GetNodeName(), Why: w.GetWhy()}
		}),
	}
}

func planChangeToJSON(c *spexv1.PlanChange) planChangeJSON {
	return planChangeJSON{
		Shard: c.GetShard(), Kind: planKindName(c.GetKind()), NodeID: c.GetNode(), NodeName: c.GetNodeName(),
		FromID: c.GetFrom(), FromName: c.GetFromName(), Why: c.GetWhy(),
	}
}
