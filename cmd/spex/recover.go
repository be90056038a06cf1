package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/cluster"
)

// recoverJSON is what `spex recover` did, or would do.
type recoverJSON struct {
	NodeID string `json:"node_id"`
	// Done is false for a dry run.
	Done   bool               `json:"done"`
	Groups []recoverGroupJSON `json:"groups"`
}

// recoverGroupJSON is one Raft group; id 0 is the catalog.
type recoverGroupJSON struct {
	ID            uint32   `json:"id"`
	Voters        []string `json:"voters"`
	LastTerm      uint64   `json:"last_term"`
	LastIndex     uint64   `json:"last_index"`
	SnapshotIndex uint64   `json:"snapshot_index"`
}

func newRecoverCommand(a *app) *cobra.Command {
	var dir string
	var groups []uint
	var all, accept bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Give up lost voters of a group, on the disk of a stopped node",
		Long: `Make a stopped node the only voter of shards, or of the catalog, that have lost the
majority of their voters FOR GOOD: their disks are gone and will not come back.

THIS CAN LOSE ACKNOWLEDGED STEPS: those that only the lost nodes had. Steps that were
never acknowledged may appear. If a lost node comes back afterwards with its old
data, or if this is done on two nodes for one group, the group exists twice.

Without --accept-data-loss nothing is changed: the command says what it found. Run
it on every node that is left, and recover each group on the one node whose last
term, and then last index, is highest. The page docs/recovery.md has the steps.`,
		Example: `  spex recover --data-dir /var/lib/spex --all
  spex recover --data-dir /var/lib/spex --group 0,3 --accept-data-loss`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case dir == "":
				return usagef("--data-dir is missing: name the data directory of a node that does not run")
			case all == (len(groups) > 0):
				return usagef("name the groups with --group (0 is the catalog), or say --all")
			}
			o := cluster.RecoverOptions{Dir: dir, Dry: !accept, Logger: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			for _, g := range groups {
				o.Groups = append(o.Groups, uint32(g))
			}
			id, done, err := cluster.RecoverGroups(o)
			if len(done) > 0 || err == nil {
				out := recoverToJSON(id, accept, done)
				if emitErr := a.emit(out, func(w io.Writer, p painter) { drawRecovery(w, p, out) }); err == nil {
					err = emitErr
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data-dir", "", "data `directory` of a node that does not run")
	f.UintSliceVar(&groups, "group", nil, "`numbers` of shards, comma separated; 0 is the catalog")
	f.BoolVar(&all, "all", false, "all groups of the node that have other voters")
	f.BoolVar(&accept, "accept-data-loss", false, "do it; without this nothing is changed")
	return cmd
}

func recoverToJSON(id string, done bool, list []*cluster.Recovery) recoverJSON {
	out := recoverJSON{NodeID: id, Done: done, Groups: []recoverGroupJSON{}}
	for _, r := range list {
		out.Groups = append(out.Groups, recoverGroupJSON{ID: r.Group, Voters: r.Voters, LastTerm: r.LastTerm, LastIndex: r.LastIndex, SnapshotIndex: r.SnapshotIndex})
	}
	return out
}

func drawRecovery(w io.Writer, p painter, r recoverJSON) {
	if len(r.Groups) == 0 {
		fmt.Fprintf(w, "No group on node %s has other voters: there is nothing to recover.\n", r.NodeID)
		return
	}
	t := newTable("GROUP", "LAST TERM", "LAST INDEX", "SNAPSHOT", "VOTERS UNTIL NOW")
	for _, g := range r.Groups {
		t.row(groupLabel(g.ID), g.LastTerm, g.LastIndex, g.SnapshotIndex, strings.Join(g.Voters, " "))
	}
	t.write(w, p)
	if r.Done {
		fmt.Fprintf(w, "\n%s of these groups now. Never start the other nodes with their old data again.\n",
			p.paint(styleBad, fmt.Sprintf("Node %s is the only voter", r.NodeID)))
		return
	}
	fmt.Fprintf(w, "\nNothing was changed. With --accept-data-loss node %s becomes the only voter of these groups,\n"+
		"and %s. Compare the last term and index with the other nodes that are left first.\n",
		r.NodeID, p.paint(styleBad, "steps that only the lost voters have are lost for good"))
}
