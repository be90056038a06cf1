package fsm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// Snapshot pins the state at the applied index.
func (c *Catalog) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	header := &statev1.CatalogHeader{
		AppliedIndex: c.applied, TimeUnixNano: c.now, LedTerm: c.ledTerm, ClusterId: c.clusterID, ClusterName: c.clusterName,
		Shards: c.shards, Replicas: c.replicas, FeatureLevel: c.featureLevel, Slots: c.slots, Settings: c.settings.Proto(),
		NextReport: c.reports.next, LostReports: c.reports.lost[attention],
	}
	header.PlacementPaused, header.DeadAfterNanos = c.paused, int64(c.deadAfter)
	states := c.states
	stage, placements, nodes, specs := c.stage.clone(), c.placements, c.nodes.Copy(), c.specs.Copy()
	reports := c.reports.clone()
	var models []*catalogModel
	c.models.Scan(func(m *catalogModel) bool {
		pinned := *m
		pinned.content, pinned.deviations, pinned.reviews = m.content.clone(), m.deviations.Copy(), m.reviews.Copy()
		if m.joint.pending.tree != nil {
			pinned.joint.pending = m.joint.pending.clone()
		}
		models = append(models, &pinned)
		return true
	})
	return &view{index: c.applied, records: func(emit func(*statev1.Record) error) error {
		if err := emit(&statev1.Record{Kind: &statev1.Record_CatalogHeader{CatalogHeader: header}}); err != nil {
			return err
		}
		if err := stage.records(emit); err != nil {
			return err
		}
		if err := each(nodes, func(n *statev1.Node) error {
			return emit(&statev1.Record{Kind: &statev1.Record_Node{Node: n}})
		}); err != nil {
			return err
		}
		if err := stateRecords(states, emit); err != nil {
			return err
		}
		for _, p := range placements {
			if err := emit(&statev1.Record{Kind: &statev1.Record_Placement{Placement: p}}); err != nil {
				return err
			}
		}
		if err := each(specs, func(v *specVersion) error {
			return emit(&statev1.Record{Kind: &statev1.Record_SpecVersion{SpecVersion: &statev1.SpecVersionRecord{
				Spec: v.key.Proto(), Specification: v.definition, AppliedAt: v.appliedAt, Deleted: v.deleted,
			}}})
		}); err != nil {
			return err
		}
		for _, m := range models {
			if err := m.records(emit); err != nil {
				return err
			}
		}
		return reports.each(func(r *statev1.ReportRecord) error {
			return emit(&statev1.Record{Kind: &statev1.Record_Report{Report: r}})
		})
	}}
}

func (m *catalogModel) records(emit func(*statev1.Record) error) error {
	if err := emit(&statev1.Record{Kind: &statev1.Record_CatalogModel{CatalogModel: &statev1.CatalogModelRecord{
		Spec: m.key.Proto(), Mode: m.mode, ModeRevision: m.revision, Version: m.version, SealDeadline: m.sealDeadline, Acknowledged: m.acknowledged,
		ShrunkVersion: m.shrunk, NextOrder: m.nextOrder,
		JointModelVersion: m.joint.modelVersion, JointThrough: m.joint.through, JointPendingVersion: m.joint.pendingVersion,
		Retiring: m.retiring, DroppedBy: m.droppedBy,
	}}}); err != nil {
		return err
	}
	if err := m.content.records(statev1.ModelRecord_SET_MODEL, emit); err != nil {
		return err
	}
	if m.joint.pending.tree != nil {
		if err := m.joint.pending.records(statev1.ModelRecord_SET_PENDING, emit); err != nil {
			return err
		}
	}
	if err := each(m.deviations, func(d *deviation) error { return emit(d.record()) }); err != nil {
		return err
	}
	return m.reviewRecords(emit)
}

// StateHash returns the SHA-256 of the state and the index that it belongs to.
func (c *Catalog) StateHash() (index uint64, sum [sha256.Size]byte, err error) {
	snap := c.Snapshot()
	defer snap.Release()
	return hashOf(snap)
}

// Restore replaces the state by a snapshot's. On an error the state is as it was.
func (c *Catalog) Restore(r io.Reader) error {
	next := &catalogRestore{Catalog: NewCatalog()}
	if err := readSnapshot(r, func(raw []byte) error { return decodeRecord(raw, next.apply) }); err != nil {
		return fmt.Errorf("restore catalog: %w", err)
	}
	if err := next.finish(); err != nil {
		return fmt.Errorf("restore catalog: %w: %w", ErrSnapshot, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied, c.now, c.ledTerm, c.stage = next.applied, next.now, next.ledTerm, next.stage
	c.clusterID, c.clusterName = next.clusterID, next.clusterName
	c.shards, c.replicas, c.featureLevel = next.shards, next.replicas, next.featureLevel
	c.settings, c.reports = next.settings, next.reports
	c.slots, c.shardOf, c.nodes, c.placements = next.slots, next.shardOf, next.nodes, next.placements
	c.specs, c.models = next.specs, next.models
	c.placing = next.placing
	return nil
}

type catalogRestore struct {
	*Catalog
	header bool
	model  *catalogModel
}

// finish checks, after the last record, what Apply takes for granted.
func (b *catalogRestore) finish() error {
	switch {
	case !b.header:
		return errors.New("no header")
	case b.clusterID == "" && len(b.placements) != 0, b.clusterID != "" && !placed(b.placements, b.shards):
		return errors.New("the placements are not complete")
	case b.reports.ahead():
		return errors.New("the reports are ahead of their count")
	}
	b.models.Scan(func(m *catalogModel) bool {
		m.recount()
		return true
	})
	if b.specs.Len() != b.models.Len() {
		return fmt.Errorf("%d models for %d specifications", b.models.Len(), b.specs.Len())
	}
	return each(b.specs, func(v *specVersion) error {
		if _, ok := b.models.Get(&catalogModel{key: v.key}); !ok {
			return fmt.Errorf("version %d of %q has no model", v.key.Version, v.key.Name)
		}
		return nil
	})
}

func (b *catalogRestore) apply(r *statev1.Record) error {
	head, ok := r.GetKind().(*statev1.Record_CatalogHeader)
	if ok == b.header {
		return errHeader
	}
	if ok {
		h := head.CatalogHeader
		b.header = true
		b.applied, b.now, b.ledTerm = h.GetAppliedIndex(), h.GetTimeUnixNano(), h.GetLedTerm()
		b.clusterID, b.clusterName = h.GetClusterId(), h.GetClusterName()
		b.shards, b.replicas, b.featureLevel = h.GetShards(), h.GetReplicas(), h.GetFeatureLevel()
		b.settings = SettingsOf(h.GetSettings())
		b.reports.retention, b.reports.next, b.reports.lost[attention] = b.settings.ReportRetention, max(h.GetNextReport(), 1), h.GetLostReports()
		b.paused, b.deadAfter = h.GetPlacementPaused(), time.Duration(h.GetDeadAfterNanos())
		if b.clusterID != "" {
			var ok bool
			if b.shardOf, ok = spreadSlots(h.GetSlots(), b.shards); !ok {
				return fmt.Errorf("the slot table is not complete")
			}
			b.slots = h.GetSlots()
		}
		return nil
	}
	switch kind := r.GetKind().(type) {
	case *statev1.Record_Stage:
		return b.stage.restore(kind.Stage)
	case *statev1.Record_Node:
		b.nodes.Set(kind.Node)
	case *statev1.Record_NodeState:
		b.placing.set(kind.NodeState.GetNode(), kind.NodeState.GetState())
	case *statev1.Record_Placement:
		b.placements = append(b.placements, kind.Placement)
	case *statev1.Record_SpecVersion:
		v := kind.SpecVersion
		b.specs.Set(&specVersion{key: SpecKeyOf(v.GetSpec()), definition: v.GetSpecification(), appliedAt: v.GetAppliedAt(), deleted: v.GetDeleted()})
	case *statev1.Record_CatalogModel:
		m := kind.CatalogModel
		b.model = newCatalogModel(SpecKeyOf(m.GetSpec()))
		b.model.mode, b.model.revision, b.model.version = m.GetMode(), m.GetModeRevision(), m.GetVersion()
		b.model.sealDeadline, b.model.acknowledged, b.model.shrunk = m.GetSealDeadline(), m.GetAcknowledged(), m.GetShrunkVersion()
		b.model.nextOrder = m.GetNextOrder()
		b.model.retiring, b.model.droppedBy = m.GetRetiring(), m.GetDroppedBy()
		b.model.joint = jointState{modelVersion: m.GetJointModelVersion(), through: m.GetJointThrough(), pending: newTransitionSet(), pendingVersion: m.GetJointPendingVersion()}
		b.models.Set(b.model)
	case *statev1.Record_Model:
		set, ok := b.set(kind.Model.GetSet())
		if !ok {
			return fmt.Errorf("a set of transitions without its model")
		}
		for _, v := range kind.Model.GetTransitions() {
			set.add(transitionOf(v.GetTransition()), v.GetVersion())
		}
	case *statev1.Record_Deviation:
		if b.model == nil {
			return fmt.Errorf("a deviation without its model")
		}
		d := restoreDeviation(kind.Deviation)
		if d.order == 0 { // of a snapshot from before there was an order
			b.model.arrive(d)
			return nil
		}
		b.model.deviations.Set(d)
		b.model.arrivals.Set(arrival{d.order, d.t})
	case *statev1.Record_Report:
		b.reports.restore(kind.Report)
	case *statev1.Record_Review, *statev1.Record_ModelEvent:
		return b.restoreReview(r)
	default:
		return fmt.Errorf("%T does not belong into the snapshot of a catalog", kind)
	}
	return nil
}

// set is where a run of transitions belongs.
func (b *catalogRestore) set(id statev1.ModelRecord_Set) (set transitionSet, ok bool) {
	switch {
	case b.model == nil:
		return set, false
	case id == statev1.ModelRecord_SET_MODEL:
		return b.model.content, true
	case id == statev1.ModelRecord_SET_PENDING:
		return b.model.joint.pending, true
	}
	return set, false
}
