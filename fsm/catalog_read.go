package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Cluster is what the catalog says of the cluster as a whole.
type Cluster struct {
	ID, Name                       string
	Shards, Replicas, FeatureLevel uint32
	// Settings are what can be changed; zeros stand for the defaults.
	Settings Settings
}

// Cluster returns the cluster's identity; its ID is empty before FormCluster.
func (c *Catalog) Cluster() Cluster {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Cluster{ID: c.clusterID, Name: c.clusterName, Shards: c.shards, Replicas: c.replicas, FeatureLevel: c.featureLevel, Settings: c.settings}
}

// ShardOf returns the shard that a slot belongs to, and 0 before FormCluster.
func (c *Catalog) ShardOf(slot int) uint32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if slot < 0 || slot >= len(c.shardOf) {
		return 0
	}
	return c.shardOf[slot]
}

// Node returns a node by its id. The message must not be changed.
func (c *Catalog) Node(id string) (*statev1.Node, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes.Get(&statev1.Node{Id: id})
}

// Nodes lists the nodes by id. The messages must not be changed.
func (c *Catalog) Nodes() []*statev1.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes.Items()
}

// Placements lists the placement of every shard, from shard 1. The slice and
// the messages must not be changed.
func (c *Catalog) Placements() []*statev1.ShardPlacement {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.placements
}

// Placement returns the placement of a shard, and nil when there is no such shard.
func (c *Catalog) Placement(shard uint32) *statev1.ShardPlacement {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if shard == 0 || int(shard) > len(c.placements) {
		return nil
	}
	return c.placements[shard-1]
}

// SpecView is one version of a specification with its model.
type SpecView struct {
	Key        SpecKey
	Definition *typesv1.Specification
	AppliedAt  time.Time
	Model      ModelStatus
}

// ModelStatus is what the catalog says of a model, without its content.
type ModelStatus struct {
	Key          SpecKey
	Mode         typesv1.ModelMode
	ModeRevision uint64
	Version      uint64
	Transitions  int
	// Deviations counts the distinct ones that nobody has reviewed.
	Deviations int
	// NextExpiry is when the next acceptance ends; zero means that none does.
	NextExpiry time.Time
	// SealDeadline is zero unless the model is being sealed.
	SealDeadline time.Time
	// Retiring is set for good once the version is being retired, and DroppedBy lists
	// the shards that need it no more, sorted.
	Retiring  bool
	DroppedBy []uint32
	// Acknowledged lists the shards that have logged the mode revision, sorted.
	Acknowledged []uint32
}

// DroppedByShard reports whether a shard has said that it needs a version that is
// being retired no more.
func (m *ModelStatus) DroppedByShard(shard uint32) bool {
	_, found := slices.BinarySearch(m.DroppedBy, shard)
	return found
}

func (m *catalogModel) status() ModelStatus {
	st := ModelStatus{
		Key: m.key, Mode: m.mode, ModeRevision: m.revision, Version: m.version,
		Transitions: m.content.len(), Deviations: m.unreviewed, Acknowledged: m.acknowledged,
		Retiring: m.retiring, DroppedBy: m.droppedBy,
	}
	if m.sealDeadline != 0 {
		st.SealDeadline = time.Unix(0, m.sealDeadline)
	}
	if m.nextExpiry != 0 {
		st.NextExpiry = time.Unix(0, m.nextExpiry)
	}
	return st
}

func (c *Catalog) specView(v *specVersion) SpecView {
	view := SpecView{Key: v.key, Definition: v.definition, AppliedAt: time.Unix(0, v.appliedAt)}
	if m, ok := c.models.Get(&catalogModel{key: v.key}); ok {
		view.Model = m.status()
	}
	return view
}

// Spec returns a version of a specification, deleted or not; version 0 means the
// newest of a specification that is not deleted.
func (c *Catalog) Spec(namespace, name string, version uint64) (SpecView, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if version != 0 {
		if v, ok := c.specs.Get(&specVersion{key: SpecKey{namespace, name, version}}); ok {
			return c.specView(v), true
		}
		return SpecView{}, false
	}
	if v := c.latest(namespace, name); v != nil && !v.deleted {
		return c.specView(v), true
	}
	return SpecView{}, false
}

// NoSpec says that a version of a specification does not exist; version 0 means any.
func NoSpec(namespace, name string, version uint64) *Error {
	if version != 0 {
		return Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no version %d of the specification %q in the namespace %q", version, name, namespace)
	}
	return Errorf(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, "there is no specification %q in the namespace %q: apply it first", name, namespace)
}

// VersionForNew finds the version of a specification that a new instance gets: the
// one asked for, or the newest for 0. refused says why no new one of it may begin.
// The shard is to be told so and decides: the instance may have begun before.
func (c *Catalog) VersionForNew(namespace, name string, version uint64) (v uint64, refused string) {
	newest, ok := c.Spec(namespace, name, 0)
	if !ok {
		return version, NoSpec(namespace, name, 0).Message
	}
	if version == 0 {
		return newest.Key.Version, ""
	}
	switch asked, ok := c.Spec(namespace, name, version); {
	case !ok:
		return version, NoSpec(namespace, name, version).Message
	case asked.Model.Retiring:
		return version, fmt.Sprintf("version %d of the specification %q is being retired: use a newer one", version, name)
	}
	return version, ""
}

// Specs lists the newest versions of a namespace's specifications by name.
func (c *Catalog) Specs(namespace string) []SpecView {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []SpecView
	c.specs.Ascend(&specVersion{key: SpecKey{Namespace: namespace}}, func(v *specVersion) bool {
		if v.key.Namespace != namespace {
			return false
		}
		if n := len(list); n > 0 && list[n-1].Key.Name == v.key.Name {
			list = list[:n-1]
		}
		if !v.deleted {
			list = append(list, c.specView(v))
		}
		return true
	})
	return list
}

// Models lists the state of every model, in the order of their keys.
func (c *Catalog) Models() []ModelStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]ModelStatus, 0, c.models.Len())
	c.models.Scan(func(m *catalogModel) bool {
		list = append(list, m.status())
		return true
	})
	return list
}

// Model returns the state of one model.
func (c *Catalog) Model(key SpecKey) (ModelStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return ModelStatus{}, false
	}
	return m.status(), true
}

// ModelContent returns what a model has gained since a version, for the shards,
// together with the state that belongs to it. When the model has also lost
// something since, it is all that the model has.
func (c *Catalog) ModelContent(key SpecKey, from uint64) (*statev1.ModelContent, ModelStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return nil, ModelStatus{}, false
	}
	complete := from < m.shrunk
	if complete {
		from = 0
	}
	return &statev1.ModelContent{Version: m.version, FromVersion: from, Transitions: m.content.between(from, m.version), Complete: complete}, m.status(), true
}

// ModelTransitions lists the transitions of a model in order.
func (c *Catalog) ModelTransitions(key SpecKey) ([]model.Transition, ModelStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok := c.models.Get(&catalogModel{key: key})
	if !ok {
		return nil, ModelStatus{}, false
	}
	return m.content.through(m.version), m.status(), true
}
