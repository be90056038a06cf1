package cluster

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// syncPause keeps a busy shard from sending every learned step by itself.
	syncPause = 50 * time.Millisecond
	// maxReportBytes keeps a report well below what one entry of the catalog holds.
	maxReportBytes = 128 << 10
)

// syncLoop keeps the shard and the catalog in step while this node leads the
// shard: it compares what both hold, and closes the difference.
func (r *replica) syncLoop(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		changed := r.node.catalog.changes.changed()
		more, err := r.syncOnce(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("the shard and the catalog are not in step yet", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
		if sleep(ctx, syncPause) != nil {
			return
		}
		if more && err == nil {
			continue
		}
		select {
		case <-changed:
		case <-r.syncWake:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// syncOnce does one round; more is set when it left something to do.
func (r *replica) syncOnce(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
	defer cancel()
	more, err = r.handOver(ctx)
	if err != nil {
		return false, err
	}
	var acks []*statev1.ModelAcknowledgement
	for _, m := range r.node.catalog.machine.Models() {
		ack, err := r.follow(ctx, m)
		if err != nil {
			return false, err
		}
		if ack {
			acks = append(acks, &statev1.ModelAcknowledgement{Spec: m.Key.Proto(), ModeRevision: m.ModeRevision})
		}
	}
	if len(acks) == 0 {
		return more, nil
	}
	failpoint.Hit("cluster/mode-before-acknowledge")
	_, err = r.node.catalog.propose(ctx, reportCommand(&statev1.ReportShard{Shard: r.id, Acknowledgements: acks}))
	return more, err
}

// handOver brings the oldest items of the outbox to the catalog. The items stay
// in the outbox until the shard has logged that the catalog has them.
func (r *replica) handOver(ctx context.Context) (more bool, err error) {
	report := &statev1.ReportShard{Shard: r.id}
	size := 0
	items := r.machine.Outbox(1000)
	for _, item := range items {
		if size += proto.Size(item); size > maxReportBytes && len(report.Items) > 0 {
			break
		}
		report.Items = append(report.Items, item)
	}
	if len(report.Items) == 0 {
		return false, nil
	}
	if _, err := r.node.catalog.propose(ctx, reportCommand(report)); err != nil {
		return false, err
	}
	failpoint.Hit("cluster/outbox-before-acknowledge")
	through := report.Items[len(report.Items)-1].GetId()
	err = r.propose(ctx, []*statev1.Command{{Principal: "spex/sync", Kind: &statev1.Command_AcknowledgeOutbox{AcknowledgeOutbox: &statev1.AcknowledgeOutbox{Through: through}}}})
	return len(report.Items) < len(items) || len(items) == 1000, err
}

func reportCommand(report *statev1.ReportShard) *statev1.Command {
	return &statev1.Command{Principal: "spex/sync", Kind: &statev1.Command_ReportShard{ReportShard: report}}
}

// follow brings the shard to the catalog's version and mode of one model, and
// says whether the catalog waits for the shard's acknowledgement of that mode.
func (r *replica) follow(ctx context.Context, m fsm.ModelStatus) (ack bool, err error) {
	st, known := r.machine.Spec(m.Key)
	closing := m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED
	if !known && !closing {
		// The shard learns about a specification when its first instance begins.
		return false, nil
	}
	if st.Installed && st.ModelVersion < m.Version {
		if err := r.extend(ctx, m.Key, st.ModelVersion); err != nil {
			return false, err
		}
	}
	if st.ModeRevision < m.ModeRevision {
		if err := r.propose(ctx, []*statev1.Command{{Principal: "spex/sync", Kind: &statev1.Command_SetModelMode{SetModelMode: &statev1.SetModelMode{
			Spec: m.Key.Proto(), Mode: m.Mode, ModeRevision: m.ModeRevision, ModelVersion: m.Version,
		}}}}); err != nil {
			return false, err
		}
		st.ModeRevision = m.ModeRevision
	}
	if !closing || st.ModeRevision != m.ModeRevision || slices.Contains(m.Acknowledged, r.id) {
		return false, nil
	}
	// From the sealing mode on nothing joins the learned set, so what is in the
	// outbox now is the last that the seal has to wait for.
	return m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED || !r.machine.Unsent(m.Key), nil
}

// extend brings what a model has gained since a version.
func (r *replica) extend(ctx context.Context, key fsm.SpecKey, from uint64) error {
	content, _, ok := r.node.catalog.machine.ModelContent(key, from)
	if !ok {
		return nil
	}
	return r.proposePayload(ctx, content, func(p *statev1.Payload) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_ExtendModel{ExtendModel: &statev1.ExtendModel{Spec: key.Proto(), Payload: p}}}
	})
}

func (r *replica) proposePayload(ctx context.Context, content proto.Message, command func(*statev1.Payload) *statev1.Command) error {
	payload, chunks, err := fsm.NewPayload(content)
	if err != nil {
		return err
	}
	var cmds []*statev1.Command
	for _, c := range chunks {
		cmds = append(cmds, &statev1.Command{Principal: "spex/sync", Kind: &statev1.Command_StageChunk{StageChunk: c}})
	}
	if len(cmds) > 0 {
		if err := r.propose(ctx, cmds); err != nil {
			return err
		}
		failpoint.Hit("cluster/payload-staged")
	}
	cmd := command(payload)
	cmd.Principal = "spex/sync"
	return r.propose(ctx, []*statev1.Command{cmd})
}

// install brings a version of a specification with its model to the shard, if
// it is not there. The catalog's replica here may be behind the shard in the
// mode of the model; then the shard refuses, and the catalog is read anew.
func (r *replica) install(ctx context.Context, key fsm.SpecKey) error {
	r.installs.Lock()
	defer r.installs.Unlock()
	if st, ok := r.machine.Spec(key); ok && st.Installed {
		return nil
	}
	for attempt := 0; ; attempt++ {
		view, err := r.node.catalog.spec(ctx, key.Namespace, key.Name, key.Version)
		if err != nil {
			return err
		}
		content, m, ok := r.node.catalog.machine.ModelContent(key, 0)
		if !ok {
			return r.node.unavailable("the catalog has no model for version %d of %q", key.Version, key.Name)
		}
		err = r.proposePayload(ctx, &statev1.SpecificationContent{Specification: view.Definition, Model: content}, func(p *statev1.Payload) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
				Spec: key.Proto(), Payload: p, Mode: m.Mode, ModeRevision: m.ModeRevision,
			}}}
		})
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_MODEL_MODE || attempt == 3 {
			return inDoubt(err)
		}
		if err := r.node.catalog.refresh(ctx); err != nil {
			return err
		}
	}
}
