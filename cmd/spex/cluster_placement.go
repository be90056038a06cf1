package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/cluster"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func newClusterDrainCommand(a *app) *cobra.Command {
	wait := waiter{done: "leads nothing"}
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Take the leaderships from a node before maintenance",
		Long: `Take all leaderships from NODE, an id or a name. It keeps its replicas, gets no new
ones, and leads nothing until 'spex cluster activate NODE', also after a restart.
Clients of the shards that it led notice a short pause.

A server that is stopped with SIGTERM hands its leaderships on by itself: drain a node
that is to be restarted several times, or that is to be left out of the way for a while.`,
		Example: `  spex cluster drain n2 --wait
  spex cluster activate n2`,
		Args: oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.steer(cmd.Context(), c, args[0], spexv1.NodeState_NODE_STATE_DRAINING, wait)
			})
		},
	}
	wait.flags(cmd, "wait until the node leads nothing")
	return cmd
}

func newClusterActivateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "activate NODE",
		Short: "Use a node again that was drained or was to be decommissioned",
		Long: `Use NODE, an id or a name, again: it leads its share of the shards, and gets its share
of the replicas. This ends 'spex cluster drain', and takes back 'spex cluster
decommission' and 'spex cluster remove' for as long as the node is not forgotten.`,
		Args: oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.steer(cmd.Context(), c, args[0], spexv1.NodeState_NODE_STATE_ACTIVE, waiter{})
			})
		},
	}
}

func newClusterDecommissionCommand(a *app) *cobra.Command {
	wait := waiter{done: "is forgotten"}
	var fewer bool
	cmd := &cobra.Command{
		Use:   "decommission NODE",
		Short: "Move everything away from a node, and forget it",
		Long: `Move all replicas of NODE, an id or a name, to other nodes, one after another and never
with fewer copies than before; then forget the node. Its server may be stopped then,
and its data directory deleted. The node has to run until that is done: one that is
lost is removed with 'spex cluster remove'.

Where the other nodes are fewer than the replicas that each shard should have, the
shards would lose a replica. That is refused without --fewer-replicas; add a node
first.`,
		Example: `  spex cluster decommission n2 --wait`,
		Args:    oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if err := checkDecommission(cmd.Context(), c, args[0], fewer); err != nil {
					return err
				}
				return a.steer(cmd.Context(), c, args[0], spexv1.NodeState_NODE_STATE_DECOMMISSIONING, wait)
			})
		},
	}
	wait.flags(cmd, "wait until the node holds nothing and is forgotten")
	cmd.Flags().BoolVar(&fewer, "fewer-replicas", false, "also if the shards have fewer replicas afterwards than they should have")
	return cmd
}

func newClusterRemoveCommand(a *app) *cobra.Command {
	wait := waiter{done: "is forgotten"}
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Replace a lost node at once, and forget it",
		Long: `Say that NODE, an id or a name, is lost and does not come back: its replicas are
replaced on other nodes at once, and it is forgotten. Without this a node is replaced
when it was silent for the time that 'spex cluster placement' shows, and returns as
a node like any other when it is back.

A node that is removed is never let in again: delete its data directory before a
server is started there, and it joins as a new node. A node that still answers is
not removed; use 'spex cluster decommission'.

What never had a majority of a shard's replicas on the other nodes is not brought
back by this: a shard without a majority stays as it is.`,
		Example: `  spex cluster remove n3 --wait`,
		Args:    oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if err := checkRemove(cmd.Context(), c, args[0]); err != nil {
					return err
				}
				return a.steer(cmd.Context(), c, args[0], spexv1.NodeState_NODE_STATE_REMOVED, wait)
			})
		},
	}
	wait.flags(cmd, "wait until the node is replaced and forgotten")
	return cmd
}

func newClusterTransferCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer SHARD [NODE]",
		Short: "Move the leadership of a shard",
		Long: `Move the leadership of SHARD, a number or "catalog", to NODE, an id or a name, which
must have a vote in it. Without NODE the leader chooses. Unless the placement is
paused, leaders are spread evenly again afterwards, which may undo it.`,
		Example: `  spex cluster transfer 3 n2
  spex cluster transfer catalog`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("give a SHARD and perhaps a NODE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := parseShard(args[0])
			if err != nil {
				return err
			}
			node := strings.Join(args[1:], "")
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.TransferLeadership(cmd.Context(), shard, node)
				if err != nil {
					return err
				}
				out := transferJSON{Shard: shard, From: resp.GetFrom(), To: resp.GetTo()}
				return a.emit(out, func(w io.Writer, _ painter) {
					if out.From == out.To {
						fmt.Fprintf(w, "%s was led by %s already.\n", groupLabel(shard), cluster.NodeName(out.To))
						return
					}
					fmt.Fprintf(w, "%s is led by %s now, and was by %s.\n", groupLabel(shard), cluster.NodeName(out.To), cluster.NodeName(out.From))
				})
			})
		},
	}
}

// parseShard reads the number of a shard, or "catalog".
func parseShard(s string) (uint32, error) {
	if s == "catalog" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, usagef(`%q is not a shard: give its number, from 1, or "catalog"`, s)
	}
	return uint32(n), nil
}

func newClusterPauseCommand(a *app) *cobra.Command {
	return newPauseCommand(a, true, &cobra.Command{
		Use:   "pause",
		Short: "Keep all replicas and leaders where they are",
		Long: `Keep the cluster from moving replicas and leaders by itself, until 'spex cluster
resume': nodes that join get nothing, nodes that die are not replaced, drains and
decommissions stand still. What is under way for one group is finished. Elections
after failures are not touched.`,
	})
}

func newClusterResumeCommand(a *app) *cobra.Command {
	return newPauseCommand(a, false, &cobra.Command{
		Use:   "resume",
		Short: "End 'spex cluster pause'",
		Long:  `Let the cluster move replicas and leaders to where they belong again.`,
	})
}

func newPauseCommand(a *app, paused bool, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withClient(cmd.Context(), func(c *client.Client) error {
			resp, err := c.SetPlacement(cmd.Context(), client.PlacementChange{Paused: &paused})
			if err != nil {
				return err
			}
			out := pauseJSON{Paused: paused, Changed: resp.GetChanged()}
			return a.emit(out, func(w io.Writer, _ painter) {
				word, already := "goes on", ""
				if paused {
					word = "is paused"
				}
				if !out.Changed {
					already = ", as it was before"
				}
				fmt.Fprintf(w, "The placement %s%s.\n", word, already)
			})
		})
	}
	return cmd
}

func newClusterPlacementCommand(a *app) *cobra.Command {
	var deadAfter time.Duration
	var replicas uint32
	cmd := &cobra.Command{
		Use:   "placement",
		Short: "Show and change what the placement of replicas goes by",
		Long: `Show how many replicas each shard should have, after which silence the replicas of a
node are replaced, and whether the placement is paused; and change the first two.`,
		Example: `  spex cluster placement
  spex cluster placement --dead-after 30m
  spex cluster placement --replicas 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var change client.PlacementChange
			if cmd.Flags().Changed("dead-after") {
				if deadAfter < 0 {
					return usagef("--dead-after must not be negative")
				}
				change.DeadAfter = &deadAfter
			}
			if cmd.Flags().Changed("replicas") {
				if replicas < 1 {
					return usagef("--replicas must be at least 1")
				}
				change.Replicas = &replicas
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				changed := false
				if change != (client.PlacementChange{}) {
					resp, err := c.SetPlacement(cmd.Context(), change)
					if err != nil {
						return err
					}
					changed = resp.GetChanged()
				}
				plan, err := c.Plan(cmd.Context())
				if err != nil {
					return err
				}
				out := placementJSON{Paused: plan.GetPaused(), DeadAfter: plan.GetDeadAfter().AsDuration().String(), Replicas: plan.GetReplicas(), Changed: changed}
				return a.emit(out, func(w io.Writer, p painter) {
					t := newTable("SETTING", "VALUE", "MEANING")
					t.row("replicas", out.Replicas, "nodes that should hold each shard")
					t.row("dead-after", out.DeadAfter, "silence after which the replicas of a node are replaced")
					t.row("paused", out.Paused, "whether replicas and leaders stay where they are")
					t.write(w, p)
				})
			})
		},
	}
	cmd.Flags().DurationVar(&deadAfter, "dead-after", 0, "replace the replicas of a node after this `time` of silence; 0 is the default; with less than a restart takes, each restart copies data")
	cmd.Flags().Uint32Var(&replicas, "replicas", 0, "`number` of nodes that should hold each shard")
	return cmd
}

// oneNode is the arguments of a command about one node.
func oneNode(_ *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("give one NODE: its id, or its name; see 'spex cluster status'")
	}
	return nil
}

// steer changes the state of a node, waits if it is told to, and says so.
func (a *app) steer(ctx context.Context, c *client.Client, node string, state spexv1.NodeState, wait waiter) error {
	if err := wait.check(); err != nil {
		return err
	}
	resp, err := c.SetNodeState(ctx, node, state)
	if err != nil {
		return err
	}
	out := nodeChangeJSON{NodeID: resp.GetNodeId(), NodeName: resp.GetNodeName(), State: stateName(state), Changed: resp.GetChanged()}
	wait.begun = true
	a.warnFewer(ctx, c, state)
	if wait.wait {
		if err := wait.until(ctx, a, c, out.NodeID, state); err != nil {
			return err
		}
		done := true
		out.Done = &done
	}
	return a.emit(out, func(w io.Writer, p painter) {
		label := nodeLabel(out.NodeID, out.NodeName)
		already := ""
		if !out.Changed {
			already = ", as it was before"
		}
		switch {
		case wait.wait:
			fmt.Fprintf(w, "%s %s.\n", label, p.paint(styleGood, wait.done))
		case state == spexv1.NodeState_NODE_STATE_ACTIVE:
			fmt.Fprintf(w, "%s is active%s.\n", label, already)
		default:
			fmt.Fprintf(w, "%s is %s now%s. 'spex cluster plan' shows what follows.\n", label, out.State, already)
		}
	})
}

// stateName is a node's state as people and JSON see it.
func stateName(s spexv1.NodeState) string {
	name := strings.ToLower(strings.TrimPrefix(s.String(), "NODE_STATE_"))
	if name == "unspecified" {
		return "active"
	}
	return name
}

// findNode finds a node by its id or by a name that one node has.
func findNode(s *spexv1.GetStatusResponse, node string) *spexv1.NodeStatus {
	var found *spexv1.NodeStatus
	for _, n := range s.GetNodes() {
		if n.GetId() == node {
			return n
		}
		if n.GetName() == node {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// checkDecommission refuses to leave fewer nodes than there should be replicas.
func checkDecommission(ctx context.Context, c *client.Client, node string, fewer bool) error {
	s, err := c.Status(ctx, false)
	if err != nil || fewer {
		return err
	}
	n := findNode(s, node)
	if n == nil {
		return nil // the server says what is wrong with it
	}
	left := staying(s, n.GetId())
	if left == 0 {
		return answerNo("%s is the last node: there is nowhere to move anything to", nodeLabel(n.GetId(), n.GetName()))
	}
	if asked := int(s.GetReplicasAsked()); left < asked {
		return answerNo("without %s there are %s for the %s that each shard should have, not counting those that do not answer or leave too: add a node first, or say --fewer-replicas",
			nodeLabel(n.GetId(), n.GetName()), plural(left, "node"), plural(asked, "replica"))
	}
	return nil
}

// staying counts the nodes other than one that answer and are not about to leave.
func staying(s *spexv1.GetStatusResponse, but string) int {
	n := 0
	for _, other := range s.GetNodes() {
		if state := stateName(other.GetState()); other.GetId() != but && other.GetReachable() && (state == "active" || state == "draining") {
			n++
		}
	}
	return n
}

// warnFewer says when nodes leave, or are lost, and too few stay: by --fewer-replicas,
// or because somebody else takes another node away at the same time.
func (a *app) warnFewer(ctx context.Context, c *client.Client, state spexv1.NodeState) {
	if state != spexv1.NodeState_NODE_STATE_DECOMMISSIONING && state != spexv1.NodeState_NODE_STATE_REMOVED {
		return
	}
	s, err := c.Status(ctx, false)
	if err != nil {
		return // the wait, or the plan, says more
	}
	if left, asked := staying(s, ""), int(s.GetReplicasAsked()); left < asked {
		a.warnf("%s for the %s that each shard should have: shards keep fewer copies until a node is added. 'spex cluster activate' takes a node back that is not forgotten yet",
			are(left, "node stays", "nodes stay"), plural(asked, "replica"))
	}
}

func are(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// checkRemove refuses to call a node lost that answers.
func checkRemove(ctx context.Context, c *client.Client, node string) error {
	s, err := c.Status(ctx, false)
	if err != nil {
		return err
	}
	if n := findNode(s, node); n.GetReachable() {
		return answerNo("%s answers: use 'spex cluster decommission %s', which moves its replicas away first, or stop its server", nodeLabel(n.GetId(), n.GetName()), node)
	}
	return nil
}
