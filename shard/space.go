package shard

import (
	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// SyncPrincipal is the principal of the commands by which a shard keeps in step with
// the catalog, which may be large: RefuseGrowth lets them pass.
const SyncPrincipal = "spex/sync"

// RefuseGrowth makes Propose and ProposeAll refuse, with REASON_DISK_SPACE and
// the given words, the commands by which clients make the group's data grow. What
// the group's own work needs, and deletions, which let it shrink, go on. Empty
// words end it.
func (g *Group) RefuseGrowth(why string) {
	if why == "" {
		g.noGrowth.Store(nil)
		return
	}
	g.noGrowth.Store(&why)
}

// mayGrow refuses commands when the group must not grow.
func (g *Group) mayGrow(cmds []*statev1.Command) *fsm.Error {
	why := g.noGrowth.Load()
	if why == nil {
		return nil
	}
	for _, cmd := range cmds {
		if grows(cmd) {
			return g.newError(typesv1.Reason_REASON_DISK_SPACE, true, "%s", *why)
		}
	}
	return nil
}

// grows tells the commands by which clients add data.
func grows(cmd *statev1.Command) bool {
	switch cmd.GetKind().(type) {
	case *statev1.Command_InitInstance, *statev1.Command_MockInstance, *statev1.Command_Step,
		*statev1.Command_ApplySpecification, *statev1.Command_ImportModel:
		return true
	case *statev1.Command_StageChunk:
		return cmd.GetPrincipal() != SyncPrincipal
	}
	return false
}
