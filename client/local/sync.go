package local

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// sync brings the shard and the catalog in step, until there is nothing left to
// do: what was learned reaches the model, modes reach the shard, and a seal ends.
// Only the loop calls it.
func (e *engine) sync() error {
	for changed := false; ; changed = true {
		handed, err := e.handOver()
		if err != nil {
			return err
		}
		followed := false
		for _, m := range e.catalog.Models() {
			changed, err := e.follow(m)
			if err != nil {
				return err
			}
			followed = followed || changed
		}
		if !handed && !followed {
			if changed {
				e.judgeTogether()
			}
			return nil
		}
	}
}

func (e *engine) handOver() (bool, error) {
	items := e.shard.Outbox(1000)
	if len(items) == 0 {
		return false, nil
	}
	if _, err := e.apply(toCatalog, false, &statev1.Command{Principal: principal, Kind: &statev1.Command_ReportShard{ReportShard: &statev1.ReportShard{Shard: shardID, Items: items}}}); err != nil {
		return false, err
	}
	_, err := e.apply(toShard, false, &statev1.Command{Principal: principal, Kind: &statev1.Command_AcknowledgeOutbox{AcknowledgeOutbox: &statev1.AcknowledgeOutbox{Through: items[len(items)-1].GetId()}}})
	return true, err
}

// follow brings one model's content and mode to the shard, and tells the catalog
// that the shard has them.
func (e *engine) follow(m fsm.ModelStatus) (changed bool, err error) {
	st, known := e.shard.Spec(m.Key)
	closing := m.Mode == typesv1.ModelMode_MODEL_MODE_SEALING || m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED
	if !known && !closing {
		return false, nil
	}
	if st.Installed && st.ModelVersion < m.Version {
		content, _, _ := e.catalog.ModelContent(m.Key, st.ModelVersion)
		err := e.payload(toShard, content, func(p *statev1.Payload) *statev1.Command {
			return &statev1.Command{Kind: &statev1.Command_ExtendModel{ExtendModel: &statev1.ExtendModel{Spec: m.Key.Proto(), Payload: p}}}
		}, nil)
		if err != nil {
			return false, err
		}
		changed = true
	}
	if st.ModeRevision < m.ModeRevision && m.Mode != typesv1.ModelMode_MODEL_MODE_ABSENT {
		if _, err := e.one(toShard, &statev1.Command{Kind: &statev1.Command_SetModelMode{SetModelMode: &statev1.SetModelMode{
			Spec: m.Key.Proto(), Mode: m.Mode, ModeRevision: m.ModeRevision, ModelVersion: m.Version,
		}}}); err != nil {
			return false, err
		}
		changed = true
	}
	if slices.Contains(m.Acknowledged, shardID) || !closing {
		return changed, nil
	}
	// The outbox was handed over before, and nothing is learned meanwhile.
	_, err = e.one(toCatalog, &statev1.Command{Kind: &statev1.Command_ReportShard{ReportShard: &statev1.ReportShard{
		Shard: shardID, Acknowledgements: []*statev1.ModelAcknowledgement{{Spec: m.Key.Proto(), ModeRevision: m.ModeRevision}},
	}}})
	return true, err
}

// payload applies a command with a payload that may be larger than an entry.
// take, if any, gets the value of the result.
func (e *engine) payload(to target, content proto.Message, command func(*statev1.Payload) *statev1.Command, take func(any)) error {
	payload, chunks, err := fsm.NewPayload(content)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if _, err := e.one(to, &statev1.Command{Kind: &statev1.Command_StageChunk{StageChunk: c}}); err != nil {
			return err
		}
	}
	value, err := e.one(to, command(payload))
	if err == nil && take != nil {
		take(value)
	}
	return err
}

// install brings a version of a specification with its model to the shard.
func (e *engine) install(key fsm.SpecKey) error {
	if st, ok := e.shard.Spec(key); ok && st.Installed {
		return nil
	}
	view, ok := e.catalog.Spec(key.Namespace, key.Name, key.Version)
	content, m, found := e.catalog.ModelContent(key, 0)
	if !ok || !found {
		return fsm.NoSpec(key.Namespace, key.Name, key.Version)
	}
	table, err := fsm.FrontierTableOf(view.Definition)
	if err != nil {
		return err
	}
	err = e.payload(toShard, &statev1.SpecificationContent{Specification: view.Definition, Model: content, FrontierTable: table}, func(p *statev1.Payload) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
			Spec: key.Proto(), Payload: p, Mode: m.Mode, ModeRevision: m.ModeRevision,
		}}}
	}, nil)
	if err != nil {
		return err
	}
	return e.sync()
}
