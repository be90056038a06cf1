package cluster

import (
	"context"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// serveMock puts an instance straight into a state, on the leader of its shard.
func (r *replica) serveMock(ctx context.Context, principal, refused string, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	if err := r.leads(); err != nil {
		return nil, err
	}
	cmd := &statev1.Command{Principal: principal, Kind: &statev1.Command_MockInstance{MockInstance: &statev1.MockInstance{
		Key: &statev1.Key{Namespace: req.GetNamespace(), Id: req.GetId()}, Spec: req.GetSpec(), SpecVersion: req.GetSpecVersion(),
		State: req.GetState(), Meta: req.GetMeta(), RequestId: req.GetRequestId(), Refused: refused,
	}}}
	for attempt := 0; ; attempt++ {
		applied, err := r.write(ctx, cmd)
		if err == nil {
			return api.StepResponse(r.id, applied.value.(*fsm.StepResult)), nil
		}
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED || attempt == 3 {
			return nil, err
		}
		if err := r.install(ctx, fsm.SpecKey{Namespace: req.GetNamespace(), Name: req.GetSpec(), Version: req.GetSpecVersion()}); err != nil {
			return nil, err
		}
	}
}
