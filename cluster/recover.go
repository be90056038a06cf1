package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spexio/spex/shard/store"
)

// Recovery is what was done for one group, or would be.
type Recovery = store.Recovery

// RecoverOptions say what RecoverGroups does.
type RecoverOptions struct {
	// Dir is the data directory of a node that does not run.
	Dir string
	// Groups are the groups to recover, 0 being the catalog; none means all that are here.
	Groups []uint32
	// Dry only tells what would be done.
	Dry    bool
	Logger *slog.Logger
}

// RecoverGroups makes the node of a data directory the only voter of groups that
// have lost the majority of their voters for good; see store.Group.Recover for what
// is lost. Groups of which it is the only voter, or no member, are left out
// when all groups are meant, and an error when they were named. It is for the
// hands of an operator alone.
func RecoverGroups(o RecoverOptions) (nodeID string, done []*Recovery, err error) {
	raw, err := os.ReadFile(filepath.Join(o.Dir, identityFile))
	if err != nil {
		return "", nil, fmt.Errorf("%s is not the data directory of a node: %w", o.Dir, err)
	}
	var rec identityRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return "", nil, fmt.Errorf("%s: %w", filepath.Join(o.Dir, identityFile), err)
	}
	// Opening it checks the file and keeps a server out until we are done.
	id, err := OpenIdentity(IdentityOptions{Dir: o.Dir, Name: rec.Name, ClusterName: rec.ClusterName})
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, id.Close()) }()
	if id.ClusterID() == "" {
		return "", nil, fmt.Errorf("%s: the node has never belonged to a cluster: %w", o.Dir, store.ErrNothingToRecover)
	}
	var fatal error
	st, err := store.Open(filepath.Join(o.Dir, "raft"), store.Options{
		NodeID: id.NodeID(), ClusterID: id.ClusterID(), Logger: o.Logger, OnFatal: func(err error) { fatal = err },
	})
	if err != nil {
		return "", nil, fmt.Errorf("open the storage: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close(), fatal) }()
	groups, all := o.Groups, len(o.Groups) == 0
	if all {
		if groups, err = st.Groups(); err != nil {
			return "", nil, err
		}
	}
	for _, group := range groups {
		r, err := recoverGroup(st, group, o.Dry)
		if all && (errors.Is(err, store.ErrNothingToRecover) || errors.Is(err, store.ErrNotMember)) {
			continue
		}
		if err != nil {
			return id.NodeID(), done, err
		}
		done = append(done, r)
	}
	return id.NodeID(), done, nil
}

func recoverGroup(st *store.Store, id uint32, dry bool) (*Recovery, error) {
	here, err := st.Groups()
	if err != nil {
		return nil, err
	}
	for _, h := range here {
		if h == id {
			g, err := st.Group(id)
			if err != nil {
				return nil, err
			}
			return g.Recover(dry)
		}
	}
	// Asking the store for it would make it.
	return nil, fmt.Errorf("group %d: %w: it is not on this node", id, store.ErrNothingToRecover)
}
