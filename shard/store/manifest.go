package store

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// manifestFormat is the layout of a data directory.
const manifestFormat = 1

// stableManifestKey and stableSnapshotKey are our keys beside raft's own
// (CurrentTerm, LastVoteTerm, LastVoteCand) in a bolt file.
var (
	stableManifestKey = []byte("spex/manifest")
	stableSnapshotKey = []byte("spex/snapshot")
	raftTermKey       = []byte("CurrentTerm")
)

// Stages of a group, kept on the log side only. A group is created in three
// durable steps: the log side says creating, the stable store gets its copy,
// the log side says ready. Only a group that never was ready may be completed;
// a ready one that misses a side has lost it.
const (
	stageCreating = "creating"
	stageReady    = "ready"
	stageRemoving = "removing"
)

// manifest says whose data this is. Each group has one in its log store and
// one in its stable store, equal but for the stage; the shared log store has
// one without group and replica.
type manifest struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Group   uint32 `json:"group"`
	Replica string `json:"replica,omitempty"` // new for every creation
	Stage   string `json:"stage,omitempty"`
	// Returned is set when a replica of the group was removed here before.
	Returned bool `json:"returned,omitempty"`
}

func (m manifest) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and integers cannot fail to encode
	}
	return b
}

func (m manifest) at(stage string) manifest {
	m.Stage = stage
	return m
}

// decodeManifest returns nil for nil.
func decodeManifest(b []byte) (*manifest, error) {
	if b == nil {
		return nil, nil
	}
	var m manifest
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: not readable: %w", ErrManifest, err)
	}
	if m.Format > manifestFormat {
		return nil, fmt.Errorf("%w: format %d, this release writes %d", ErrFormat, m.Format, manifestFormat)
	}
	if m.Format < 1 || m.Cluster == "" || m.Node == "" {
		return nil, fmt.Errorf("%w: incomplete: %.200q", ErrManifest, b)
	}
	return &m, nil
}

// checkOwner refuses what another cluster or node wrote.
func (m *manifest) checkOwner(o Options, group int64, path string) error {
	if m.Cluster != o.ClusterID {
		return &RefusedError{Reason: ErrOtherCluster, Group: group, Path: path,
			Problem: fmt.Sprintf("it was written in cluster %q, this is cluster %q", m.Cluster, o.ClusterID),
			Mend:    "start with the data directory of this cluster, or an empty one"}
	}
	if m.Node != o.NodeID {
		return &RefusedError{Reason: ErrOtherNode, Group: group, Path: path,
			Problem: fmt.Sprintf("it was written by node %q, this is node %q", m.Node, o.NodeID),
			Mend:    "start with this node's own data directory, or an empty one to join as a new node"}
	}
	return nil
}
