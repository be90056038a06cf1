package cluster

import (
	"context"
	"time"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// retireEvery is how often the catalog's leader looks for versions of
	// specifications that are beyond the setting.
	retireEvery = time.Second
	// retireBatch bounds the versions that begin to be retired at a time.
	retireBatch = 100
)

// Settings tells how much the cluster keeps of what has been.
func (n *Node) Settings(ctx context.Context, _ *spexv1.GetSettingsRequest) (*spexv1.GetSettingsResponse, error) {
	if err := n.catalog.refresh(ctx); err != nil {
		return nil, err
	}
	return &spexv1.GetSettingsResponse{
		Settings: api.ClusterSettings(n.catalog.machine.Settings()), Defaults: api.ClusterSettings(fsm.Settings{}),
	}, nil
}

// ChangeSettings changes the settings that are present in the request.
func (n *Node) ChangeSettings(ctx context.Context, req *spexv1.ChangeSettingsRequest) (*spexv1.ChangeSettingsResponse, error) {
	res, err := n.catalog.propose(ctx, &statev1.Command{Kind: &statev1.Command_ChangeSettings{ChangeSettings: api.ChangeSettings(req)}})
	if err != nil {
		return nil, err
	}
	return &spexv1.ChangeSettingsResponse{
		Settings: api.ClusterSettings(n.catalog.machine.Settings()), Changed: res.Changed, CatalogIndex: res.Index,
	}, nil
}

// retireLoop begins to retire versions of specifications that are beyond the
// setting, while this node leads the catalog.
func (c *catalog) retireLoop(ctx context.Context) {
	ticker := time.NewTicker(retireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if _, leading := c.group.Leading(); !leading {
			continue
		}
		if err := c.retire(ctx); err != nil && ctx.Err() == nil {
			c.node.log.Warn("old versions of specifications could not be retired; it will be tried again", "error", err)
		}
	}
}

func (c *catalog) retire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.node.cfg.RouteBudget)
	defer cancel()
	for _, key := range c.machine.Retirable(retireBatch) {
		res, err := c.propose(ctx, &statev1.Command{Principal: "spex/retire", Kind: &statev1.Command_RetireSpecification{
			RetireSpecification: &statev1.RetireSpecification{Spec: key.Proto()},
		}})
		if err != nil {
			return err
		}
		if res.Changed {
			c.node.log.Info("an old version of a specification is being retired", "namespace", key.Namespace, "spec", key.Name, "version", key.Version)
		}
	}
	return nil
}

// drop lets go of the versions that are being retired and that nothing on the
// shard refers to any more, and tells the catalog.
func (r *replica) drop(ctx context.Context, models []fsm.ModelStatus) error {
	var cmds []*statev1.Command
	for _, m := range models {
		if m.Retiring && r.machine.Droppable(m.Key) {
			cmds = append(cmds, &statev1.Command{Principal: "spex/retire", Kind: &statev1.Command_DropSpecification{
				DropSpecification: &statev1.DropSpecification{Spec: m.Key.Proto()},
			}})
		}
	}
	if len(cmds) > 0 {
		if err := r.propose(ctx, cmds[:min(len(cmds), syncBatch)]); err != nil {
			return err
		}
	}
	report := &statev1.ReportShard{Shard: r.id}
	for _, m := range models {
		if st, _ := r.machine.Spec(m.Key); m.Retiring && st.Dropped && !m.DroppedByShard(r.id) && len(report.Dropped) < syncBatch {
			report.Dropped = append(report.Dropped, m.Key.Proto())
		}
	}
	if len(report.Dropped) == 0 {
		return nil
	}
	return r.report(ctx, report)
}
