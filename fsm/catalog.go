package fsm

import (
	"slices"
	"time"

	"github.com/tidwall/btree"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
)

// Catalog is the state machine of group 0: cluster identity, nodes, placement,
// specifications and implementation models.
type Catalog struct {
	machine

	clusterID, clusterName         string
	shards, replicas, featureLevel uint32
	settings                       Settings
	reports                        reportLog
	// slots covers 0..ring.Slots-1 in order. It is replaced, never changed.
	slots []*statev1.SlotRange
	// shardOf is slots spread out, for look-ups.
	shardOf []uint32
	nodes   *btree.BTreeG[*statev1.Node]
	// placements is indexed by shard id - 1. It is replaced, never changed.
	placements []*statev1.ShardPlacement
	specs      *btree.BTreeG[*specVersion]
	models     *btree.BTreeG[*catalogModel]
	placing
}

// CatalogResult is the value of every result of the catalog.
type CatalogResult struct {
	Index uint64
	// Version is the version of the specification for ApplySpecification and
	// DeleteSpecification, the version of the model for ImportModel and for
	// reviews, and the mode revision for ChangeModelMode; 0 for the rest.
	Version uint64
	// Changed is false when the state was as asked for already.
	Changed bool
	// Added and Removed count the transitions that an import or an acceptance
	// brought, and that an import took out.
	Added, Removed int
}

// NewCatalog returns the machine of a catalog before FormCluster.
func NewCatalog() *Catalog {
	return &Catalog{
		nodes:   newTree(func(a, b *statev1.Node) bool { return a.GetId() < b.GetId() }),
		specs:   newTree(func(a, b *specVersion) bool { return a.key.Compare(b.key) < 0 }),
		models:  newTree(func(a, b *catalogModel) bool { return a.key.Compare(b.key) < 0 }),
		reports: newReportLog(),
	}
}

// Apply applies the data of one log entry and returns a *CatalogResult for each
// of its commands, nil for Lead and StageChunk. See Shard.Apply for errors.
func (c *Catalog) Apply(index uint64, data []byte) ([]Result, error) {
	return c.applyEntry(index, data, handlers{supports: catalogSupports, apply: c.apply})
}

func (c *Catalog) apply(cmd *statev1.Command) Result {
	switch kind := cmd.GetKind().(type) {
	case *statev1.Command_FormCluster:
		return c.applyForm(kind.FormCluster)
	case *statev1.Command_RegisterNode:
		return c.applyRegister(kind.RegisterNode)
	case *statev1.Command_MarkShardFormed:
		return c.applyFormed(kind.MarkShardFormed)
	case *statev1.Command_ApplySpecification:
		return c.applySpecification(kind.ApplySpecification)
	case *statev1.Command_DeleteSpecification:
		return c.applyDeleteSpecification(kind.DeleteSpecification)
	case *statev1.Command_ImportModel:
		return c.applyImport(kind.ImportModel, cmd.GetPrincipal())
	case *statev1.Command_ChangeModelMode:
		return c.applyChangeMode(kind.ChangeModelMode, cmd.GetPrincipal())
	case *statev1.Command_ReportShard:
		return c.applyReport(kind.ReportShard)
	case *statev1.Command_JudgeDeviation:
		return c.applyJudge(kind.JudgeDeviation)
	case *statev1.Command_AcceptDeviations:
		return c.applyAccept(kind.AcceptDeviations, cmd.GetPrincipal())
	case *statev1.Command_RejectDeviations:
		return c.applyReject(kind.RejectDeviations, cmd.GetPrincipal())
	case *statev1.Command_WithdrawAcceptances:
		return c.applyWithdraw(kind.WithdrawAcceptances, cmd.GetPrincipal())
	case *statev1.Command_ChangeSettings:
		return c.applySettings(kind.ChangeSettings)
	case *statev1.Command_RetireSpecification:
		return c.applyRetire(kind.RetireSpecification)
	}
	if res, ok := c.placementCommand(cmd); ok {
		return res
	}
	panic("a command passed catalogSupports that Apply does not know")
}

func catalogSupports(cmd *statev1.Command) bool {
	switch cmd.GetKind().(type) {
	case *statev1.Command_FormCluster, *statev1.Command_RegisterNode, *statev1.Command_MarkShardFormed,
		*statev1.Command_ApplySpecification, *statev1.Command_DeleteSpecification, *statev1.Command_ImportModel,
		*statev1.Command_ChangeModelMode, *statev1.Command_ReportShard, *statev1.Command_JudgeDeviation,
		*statev1.Command_AcceptDeviations, *statev1.Command_RejectDeviations, *statev1.Command_WithdrawAcceptances,
		*statev1.Command_ChangeSettings, *statev1.Command_RetireSpecification,
		*statev1.Command_SetNodeState, *statev1.Command_ForgetNode, *statev1.Command_PlaceReplica, *statev1.Command_UnplaceReplica, *statev1.Command_SetPlacement:
		return true
	}
	return false
}

func (c *Catalog) done(version uint64, changed bool) Result {
	return Result{Value: &CatalogResult{Index: c.applied, Version: version, Changed: changed}}
}

// applyForm begins the life of the cluster, once.
func (c *Catalog) applyForm(f *statev1.FormCluster) Result {
	switch c.clusterID {
	case "":
	case f.GetClusterId():
		return c.done(0, false)
	default:
		return refuse(typesv1.Reason_REASON_WRONG_CLUSTER, "this catalog belongs to the cluster %s already", c.clusterID)
	}
	if err := SettingsOf(f.GetSettings()).Check(); err != nil {
		return Result{Err: err}
	}
	shardOf, ok := spreadSlots(f.GetSlots(), f.GetShards())
	if !ok || f.GetClusterId() == "" || !placed(f.GetPlacements(), f.GetShards()) {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the new cluster has no id, or its slots or placements are not complete")
	}
	deadAfter := time.Duration(f.GetDeadAfterNanos())
	if err := CheckPlacing(&deadAfter, nil); err != nil {
		return Result{Err: err}
	}
	if slices.ContainsFunc(f.GetNodes(), func(n *statev1.Node) bool { return n.GetId() == "" }) {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a node without an id")
	}
	c.clusterID, c.clusterName = f.GetClusterId(), f.GetClusterName()
	c.shards, c.replicas, c.featureLevel = f.GetShards(), f.GetReplicas(), f.GetFeatureLevel()
	c.settings = SettingsOf(f.GetSettings())
	c.reports.retention = c.settings.ReportRetention
	c.slots, c.shardOf, c.placements = f.GetSlots(), shardOf, f.GetPlacements()
	c.deadAfter = deadAfter
	for _, n := range f.GetNodes() {
		c.nodes.Set(n)
	}
	return c.done(0, true)
}

// placed checks that there is one placement a shard, in order.
func placed(placements []*statev1.ShardPlacement, shards uint32) bool {
	for i, p := range placements {
		if p.GetShard() != uint32(i+1) || len(p.GetReplicas()) == 0 {
			return false
		}
	}
	return len(placements) == int(shards)
}

// spreadSlots checks that the ranges cover every slot once, in order, with
// shards that exist.
func spreadSlots(ranges []*statev1.SlotRange, shards uint32) ([]uint32, bool) {
	shardOf := make([]uint32, 0, ring.Slots)
	for _, r := range ranges {
		if int(r.GetFirst()) != len(shardOf) || r.GetLast() < r.GetFirst() || r.GetLast() >= ring.Slots || r.GetShard() == 0 || r.GetShard() > shards {
			return nil, false
		}
		for range r.GetLast() - r.GetFirst() + 1 {
			shardOf = append(shardOf, r.GetShard())
		}
	}
	return shardOf, len(shardOf) == ring.Slots
}

func (c *Catalog) applyFormed(m *statev1.MarkShardFormed) Result {
	i := int(m.GetShard()) - 1
	if i < 0 || i >= len(c.placements) {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "there is no shard %d", m.GetShard())
	}
	if c.placements[i].GetFormed() {
		return c.done(0, false)
	}
	c.placements = slices.Clone(c.placements)
	c.placements[i] = &statev1.ShardPlacement{Shard: m.GetShard(), Replicas: c.placements[i].GetReplicas(), Formed: true}
	return c.done(0, true)
}
