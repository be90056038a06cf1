package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

const (
	// syncPause keeps a busy shard from sending every learned step by itself.
	syncPause = 50 * time.Millisecond
	// maxReportBytes keeps a report well below what one entry of the catalog holds.
	maxReportBytes = 128 << 10
	// syncBatch bounds the changes of modes that are proposed together.
	syncBatch = 256
	// payloadBudgets is how many route budgets a large payload may take.
	payloadBudgets = 6
)

// syncLoop keeps the shard and the catalog in step while this node leads the
// shard: it compares what both hold, and closes the difference.
func (r *replica) syncLoop(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		changed := r.node.catalog.changes.Changed()
		more, err := r.syncOnce(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.Info("the shard and the catalog are not in step yet", "error", err)
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
			r.inStep.Store(0)
		case <-ctx.Done():
			return
		}
	}
}

// syncOnce does one round; more is set when it left something to do. A model
// that cannot be brought along holds up no other.
func (r *replica) syncOnce(ctx context.Context) (more bool, err error) {
	more, err = r.handOver(ctx)
	if err != nil {
		return false, err
	}
	// What is handed over may be what an acknowledgement waits for; it changes
	// the catalog, so that the comparison below is not left out.
	at := r.node.catalog.machine.Applied()
	if r.inStep.Load() == at {
		return more, nil
	}
	models := r.node.catalog.machine.Models()
	err = errors.Join(r.follow(ctx, models), r.acknowledge(ctx, models), r.drop(ctx, models))
	if err == nil && !more {
		r.inStep.Store(at)
	}
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
	if err := r.report(ctx, report); err != nil {
		return false, err
	}
	failpoint.Hit("cluster/outbox-before-acknowledge")
	through := report.Items[len(report.Items)-1].GetId()
	err = r.propose(ctx, []*statev1.Command{{Principal: shard.SyncPrincipal, Kind: &statev1.Command_AcknowledgeOutbox{AcknowledgeOutbox: &statev1.AcknowledgeOutbox{Through: through}}}})
	return len(report.Items) < len(items) || len(items) == 1000, err
}

// follow brings the shard to the catalog's settings, and versions and modes of the models.
func (r *replica) follow(ctx context.Context, models []fsm.ModelStatus) error {
	var errs []error
	var modes []*statev1.Command
	if cluster := r.node.catalog.machine.Cluster(); cluster.ID != "" && !r.machine.Follows(cluster.Settings) {
		modes = append(modes, &statev1.Command{Principal: shard.SyncPrincipal, Kind: &statev1.Command_SetRetention{SetRetention: cluster.Settings.Retention()}})
	}
	for _, m := range models {
		st, known := r.machine.Spec(m.Key)
		if !known && !closing(m) {
			// The shard learns about a specification when its first instance begins.
			continue
		}
		if st.Installed && st.ModelVersion < m.Version {
			if err := r.extend(ctx, m.Key, st.ModelVersion); err != nil {
				errs = append(errs, fmt.Errorf("extend the model of version %d of %q: %w", m.Key.Version, m.Key.Name, err))
				if ctx.Err() != nil {
					break
				}
				continue
			}
		}
		if st.Installed && !st.Followed {
			if err := r.addTable(ctx, m); err != nil {
				errs = append(errs, fmt.Errorf("follow the instances of version %d of %q: %w", m.Key.Version, m.Key.Name, err))
			}
		}
		if st.ModeRevision < m.ModeRevision {
			modes = append(modes, &statev1.Command{Principal: shard.SyncPrincipal, Kind: &statev1.Command_SetModelMode{SetModelMode: &statev1.SetModelMode{
				Spec: m.Key.Proto(), Mode: m.Mode, ModeRevision: m.ModeRevision, ModelVersion: m.Version,
			}}})
		}
	}
	for batch := range slices.Chunk(modes, syncBatch) {
		if err := r.propose(ctx, batch); err != nil {
			errs = append(errs, fmt.Errorf("change the mode of models: %w", err))
		}
	}
	return errors.Join(errs...)
}

// addTable brings the frontier table of a specification that was installed
// before there were any.
func (r *replica) addTable(ctx context.Context, m fsm.ModelStatus) error {
	view, ok := r.node.catalog.machine.Spec(m.Key.Namespace, m.Key.Name, m.Key.Version)
	if !ok {
		return errors.New("the catalog does not have it")
	}
	table, err := fsm.FrontierTableOf(view.Definition)
	if err != nil {
		return err
	}
	return r.proposePayload(ctx, &statev1.SpecificationContent{Specification: view.Definition, FrontierTable: table}, func(p *statev1.Payload) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
			Spec: m.Key.Proto(), Payload: p, Mode: m.Mode, ModeRevision: m.ModeRevision,
		}}}
	})
}

// closing tells the modes that every shard has to log before they count, whether
// it knows the specification or not.
func closing(m fsm.ModelStatus) bool {
	return m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED
}

// acknowledge tells the catalog which modes the shard has adopted.
func (r *replica) acknowledge(ctx context.Context, models []fsm.ModelStatus) error {
	report, size := &statev1.ReportShard{Shard: r.id}, 0
	send := func() error {
		if len(report.Acknowledgements) == 0 {
			return nil
		}
		failpoint.Hit("cluster/mode-before-acknowledge")
		err := r.report(ctx, report)
		report, size = &statev1.ReportShard{Shard: r.id}, 0
		return err
	}
	for _, m := range models {
		if slices.Contains(m.Acknowledged, r.id) || !r.adopted(m) {
			continue
		}
		ack := &statev1.ModelAcknowledgement{Spec: m.Key.Proto(), ModeRevision: m.ModeRevision}
		if size += proto.Size(ack); size > maxReportBytes {
			if err := send(); err != nil {
				return err
			}
			size = proto.Size(ack)
		}
		report.Acknowledgements = append(report.Acknowledgements, ack)
	}
	return send()
}

// adopted says whether the shard works in the catalog's mode of a model, and
// somebody may wait for it to say so.
func (r *replica) adopted(m fsm.ModelStatus) bool {
	st, known := r.machine.Spec(m.Key)
	switch m.Mode {
	case typesv1.ModelMode_MODEL_MODE_SEALED:
		return st.ModeRevision == m.ModeRevision
	case typesv1.ModelMode_MODEL_MODE_SEALING:
		// From the sealing mode on nothing joins the learned set, so what is in the
		// outbox now is the last that the seal has to wait for.
		return st.ModeRevision == m.ModeRevision && !r.machine.Unsent(m.Key)
	case typesv1.ModelMode_MODEL_MODE_LEARNING:
		// Nobody waits for the first mode of a model.
		return m.ModeRevision > 1 && (!known || st.ModeRevision == m.ModeRevision)
	}
	return false
}

// report hands something to the catalog.
func (r *replica) report(ctx context.Context, report *statev1.ReportShard) error {
	ctx, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
	defer cancel()
	_, err := r.node.catalog.propose(ctx, &statev1.Command{Principal: shard.SyncPrincipal, Kind: &statev1.Command_ReportShard{ReportShard: report}})
	return err
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
		cmds = append(cmds, &statev1.Command{Principal: shard.SyncPrincipal, Kind: &statev1.Command_StageChunk{StageChunk: c}})
	}
	// The largest ones are a hundred times an entry.
	budget := payloadBudgets * r.node.cfg.RouteBudget
	if len(cmds) > 0 {
		if err := r.proposeWithin(ctx, budget, cmds); err != nil {
			return err
		}
		failpoint.Hit("cluster/payload-staged")
	}
	cmd := command(payload)
	cmd.Principal = shard.SyncPrincipal
	return r.proposeWithin(ctx, budget, []*statev1.Command{cmd})
}

// installation is the bringing of a specification to the shard. err is set
// before done is closed.
type installation struct {
	done chan struct{}
	err  error
}

// install brings a version of a specification with its model to the shard, if
// it is not there. It is done once for all who ask at the same time, and goes on
// when they have gone: their deadlines may be shorter than a large one takes.
func (r *replica) install(ctx context.Context, key fsm.SpecKey) error {
	r.mu.Lock()
	i := r.installs[key]
	first := i == nil && r.ctx.Err() == nil
	if first {
		i = &installation{done: make(chan struct{})}
		r.installs[key] = i
		r.tasks.Add(1)
	}
	r.mu.Unlock()
	if i == nil {
		return r.node.unavailable("the node is stopping")
	}
	if first {
		r.node.cfg.beside.do(func() {
			defer r.tasks.Done()
			i.err = r.installNow(r.ctx, key)
			r.mu.Lock()
			delete(r.installs, key)
			r.mu.Unlock()
			close(i.done)
		})
	}
	select {
	case <-i.done:
		return i.err
	case <-ctx.Done():
		return r.node.unavailable("the specification %q could not be brought to shard %d in time: it goes on, ask again", key.Name, r.id)
	}
}

// installNow is install for one. The catalog's replica here may be behind the
// shard in the mode of the model; then the shard refuses, and the catalog is
// read anew.
func (r *replica) installNow(ctx context.Context, key fsm.SpecKey) error {
	ctx, cancel := context.WithTimeout(ctx, 2*payloadBudgets*r.node.cfg.RouteBudget)
	defer cancel()
	for attempt := 0; ; attempt++ {
		if st, ok := r.machine.Spec(key); ok && st.Installed {
			return nil
		}
		view, err := r.node.catalog.spec(ctx, key.Namespace, key.Name, key.Version)
		if err != nil {
			return err
		}
		content, m, ok := r.node.catalog.machine.ModelContent(key, 0)
		if !ok {
			return r.node.unavailable("the catalog has no model for version %d of %q", key.Version, key.Name)
		}
		table, err := fsm.FrontierTableOf(view.Definition)
		if err != nil {
			return err
		}
		err = r.proposePayload(ctx, &statev1.SpecificationContent{Specification: view.Definition, Model: content, FrontierTable: table}, func(p *statev1.Payload) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
				Spec: key.Proto(), Payload: p, Mode: m.Mode, ModeRevision: m.ModeRevision,
			}}}
		})
		// The catalog may have changed since it was read.
		r.inStep.Store(0)
		r.syncWake.set()
		switch reason := fsm.ReasonOf(err); {
		case attempt == maxUploadAttempts:
			return notApplied(inDoubt(err))
		case reason == typesv1.Reason_REASON_UPLOAD_INCOMPLETE:
		case reason == typesv1.Reason_REASON_MODEL_MODE:
			if err := r.node.catalog.refresh(ctx); err != nil {
				return err
			}
		default:
			return notApplied(inDoubt(err))
		}
	}
}

// notApplied says of an error that the request on whose behalf it came about
// has not begun: installing a specification changes nothing that it asked for.
func notApplied(err error) error {
	e := asError(err)
	if e == nil {
		return err
	}
	before := *e
	before.NotApplied = true
	return &before
}
