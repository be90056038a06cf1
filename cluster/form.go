package cluster

import (
	"fmt"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	"github.com/spexio/spex/ring"
)

// maxCatalogVoters bounds the voters of the catalog; every other node has it
// without a vote.
const maxCatalogVoters = 5

// NewCluster composes the content of a new cluster's catalog from what its
// members pledged to: the slots, and the first placement of every shard, which
// stays frozen until the shard is formed.
func NewCluster(clusterName string, o Outcome) (*statev1.FormCluster, error) {
	ids := make([]string, len(o.Members))
	form := &statev1.FormCluster{ClusterId: o.ClusterID, ClusterName: clusterName, Shards: o.Shards, Replicas: o.Replicas, FeatureLevel: fsm.FeatureLevel}
	for i, m := range o.Members {
		ids[i] = m.ID
		form.Nodes = append(form.Nodes, m.Node())
	}
	placement, err := ring.Place(ids, int(o.Shards), int(o.Replicas))
	if err != nil {
		return nil, fmt.Errorf("place the shards: %w", err)
	}
	slots, err := ring.NewSlotTable(int(o.Shards))
	if err != nil {
		return nil, fmt.Errorf("spread the slots: %w", err)
	}
	for _, r := range slots.Ranges() {
		form.Slots = append(form.Slots, &statev1.SlotRange{First: uint32(r.First), Last: uint32(r.Last), Shard: r.Shard})
	}
	for id := uint32(1); id <= o.Shards; id++ {
		form.Placements = append(form.Placements, &statev1.ShardPlacement{Shard: id, Replicas: placement.Replicas(id)})
	}
	return form, nil
}

// CatalogVoters splits the first members into the catalog's voters and the
// rest. An even number of voters tolerates no more failures than one less, so
// four members get three; two both vote, so that every write is on two disks.
func CatalogVoters(members []Member) (voters, nonvoters []string) {
	n := min(len(members), maxCatalogVoters)
	if n == 4 {
		n = 3
	}
	for i, m := range members {
		if i < n {
			voters = append(voters, m.ID)
		} else {
			nonvoters = append(nonvoters, m.ID)
		}
	}
	return voters, nonvoters
}
