package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
)

func newClusterCommand(a *app) *cobra.Command {
	return groupCommand(&cobra.Command{
		Use:   "cluster COMMAND",
		Short: "Look at the cluster, change its settings, and move its parts",
	}, newClusterStatusCommand(a), newClusterSettingsCommand(a), newClusterPlanCommand(a), newClusterDrainCommand(a), newClusterActivateCommand(a),
		newClusterDecommissionCommand(a), newClusterRemoveCommand(a), newClusterTransferCommand(a),
		newClusterPauseCommand(a), newClusterResumeCommand(a), newClusterPlacementCommand(a))
}

func newClusterStatusCommand(a *app) *cobra.Command {
	var hash bool
	var wait waiter
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show nodes, shards, leaders, terms, applied indexes and lag",
		Long: `Show the nodes of the cluster and its Raft groups: the catalog and the shards with
their leader, term, applied index, and how many entries each replica lags behind.

--state-hash makes every replica compute a hash of its state, which costs a walk
over all of it. Replicas with the same index must have the same hash.
A replica that has not answered in time is shown as unreachable: give a longer
--timeout where states are large.

--wait waits until the cluster is healthy, as between the restarts of two nodes.`,
		Example: `  spex cluster status
  spex cluster status --wait --within 5m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if wait.wait {
					if err := wait.healthy(cmd.Context(), a, c); err != nil {
						return err
					}
				}
				resp, err := c.Status(cmd.Context(), hash)
				if err != nil {
					return err
				}
				out := statusToJSON(resp)
				return a.emit(out, func(w io.Writer, p painter) { drawStatus(w, p, out, hash) })
			})
		},
	}
	cmd.Flags().BoolVar(&hash, "state-hash", false, "show the state hash of every replica")
	wait.flags(cmd, "wait until the cluster is healthy")
	return cmd
}

// hashConflict finds two replicas whose hashes of one index differ.
func hashConflict(g shardJSON) (a, b replicaJSON, differ bool) {
	seen := map[uint64]replicaJSON{}
	for _, r := range g.Replicas {
		if r.StateHash == "" {
			continue
		}
		if other, ok := seen[r.StateHashIndex]; ok && other.StateHash != r.StateHash {
			return other, r, true
		}
		seen[r.StateHashIndex] = r
	}
	return a, b, false
}

func drawStatus(w io.Writer, p painter, s statusJSON, hash bool) {
	name := s.ClusterName
	if name == "" {
		name = "cluster"
	}
	fmt.Fprintf(w, "%s  %s, feature level %d\n\n", p.paint(styleHeader, name), s.ClusterID, s.FeatureLevel)
	drawNodes(w, p, s.Nodes)
	fmt.Fprintln(w)
	drawGroups(w, p, append([]shardJSON{s.Catalog}, s.Shards...))
	if hash {
		fmt.Fprintln(w)
		drawHashes(w, p, append([]shardJSON{s.Catalog}, s.Shards...))
	}
	fmt.Fprintln(w)
	if s.Paused {
		fmt.Fprintf(w, "%s: replicas and leaders stay where they are until 'spex cluster resume'.\n", p.paint(styleWarn, "Paused"))
	}
	if s.Healthy {
		fmt.Fprintf(w, "%s: %s, %s, each with a leader.\n", p.paint(styleGood, "Healthy"),
			plural(len(s.Nodes), "node"), plural(len(s.Shards), "shard"))
		return
	}
	fmt.Fprintf(w, "%s\n", p.paint(styleBad, "Not healthy:"))
	for _, problem := range s.Problems {
		fmt.Fprintf(w, "  %s\n", problem)
	}
}

func drawNodes(w io.Writer, p painter, nodes []nodeJSON) {
	t := newTable("NODE", "CLIENTS", "PEERS", "STATE", "REPLICAS", "LEADS", "CATALOG", "VERSION")
	for _, n := range nodes {
		state := cell{n.Gossip, styleGood}
		switch {
		case !n.Reachable && n.Gossip == "alive":
			state = cell{"alive, no answer", styleBad}
		case !n.Reachable:
			state = cell{n.Gossip, styleBad}
		}
		if n.State != "active" {
			state.text += ", " + n.State
			if state.style == styleGood {
				state.style = styleWarn
			}
		}
		catalog := "learner"
		if n.CatalogVoter {
			catalog = "voter"
		}
		t.row(nodeLabel(n.ID, n.Name), n.ClientAddress, n.PeerAddress, state, n.Replicas, n.Leaders, catalog, n.Version)
	}
	t.write(w, p)
}

func drawGroups(w io.Writer, p painter, groups []shardJSON) {
	t := newTable("SHARD", "LEADER", "TERM", "APPLIED", "LAG", "INSTANCES", "AWAITING", "SURVIVES", "REPLICAS")
	for _, g := range groups {
		leader := cell{text: nodeLabel(g.Leader, g.LeaderName)}
		if g.Leader == "" {
			leader = cell{"none", styleBad}
		}
		var applied, lag uint64
		members := make([]string, len(g.Replicas))
		for i, r := range g.Replicas {
			applied, lag = max(applied, r.AppliedIndex), max(lag, r.Lag)
			members[i] = nodeLabel(r.NodeID, r.NodeName)
			switch {
			case r.State != "leader" && r.State != "follower":
				members[i] += " (" + r.State + ")"
			case !r.Voter && g.FailureTolerance != nil:
				members[i] += " (no vote)"
			}
		}
		survives := cell{}
		if g.FailureTolerance != nil {
			survives.text = fmt.Sprint(max(*g.FailureTolerance, 0))
		}
		label := "catalog"
		if g.ID != 0 {
			label = fmt.Sprint(g.ID)
		}
		t.row(label, leader, g.Term, applied, lag, g.Instances, g.Awaiting, survives, strings.Join(members, " "))
	}
	t.write(w, p)
}

func drawHashes(w io.Writer, p painter, groups []shardJSON) {
	t := newTable("SHARD", "NODE", "INDEX", "STATE HASH")
	for _, g := range groups {
		for _, r := range g.Replicas {
			t.row(groupLabel(g.ID), nodeLabel(r.NodeID, r.NodeName), r.StateHashIndex, r.StateHash)
		}
	}
	t.write(w, p)
}

// nodeLabel is what people call a node.
func nodeLabel(id, name string) string {
	if name != "" {
		return name
	}
	return id
}

func groupLabel(id uint32) string {
	if id == 0 {
		return "catalog"
	}
	return fmt.Sprintf("shard %d", id)
}
