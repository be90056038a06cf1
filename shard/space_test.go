package shard

import (
	"context"
	"strings"
	"testing"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestAGroupThatMustNotGrowRefusesOnlyWhatGrows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFormed(t, nil, "a", "b", "c")
		leader := c.leader()
		leader.group.RefuseGrowth("the disks are full")
		_, err := leader.group.Propose(context.Background(), put("v"))
		e, ok := err.(*fsm.Error)
		if !ok || e.Reason != typesv1.Reason_REASON_DISK_SPACE || !e.NotApplied || !strings.Contains(e.Message, "the disks are full") {
			t.Fatalf("a step: %v", err)
		}
		if _, err := leader.group.ReadIndex(context.Background()); err != nil {
			t.Fatalf("a read: %v", err)
		}
		leader.group.RefuseGrowth("")
		c.put(leader, "later")
		c.agree([]string{"later"}, c.ids...)
	})
}

func TestWhatGrows(t *testing.T) {
	rows := []struct {
		cmd  *statev1.Command
		want bool
	}{
		{&statev1.Command{Kind: &statev1.Command_InitInstance{}}, true},
		{&statev1.Command{Kind: &statev1.Command_MockInstance{}}, true},
		{&statev1.Command{Kind: &statev1.Command_Step{}}, true},
		{&statev1.Command{Principal: "somebody", Kind: &statev1.Command_StageChunk{}}, true},
		{&statev1.Command{Principal: SyncPrincipal, Kind: &statev1.Command_StageChunk{}}, false},
		{&statev1.Command{Principal: SyncPrincipal, Kind: &statev1.Command_ExtendModel{}}, false},
		{&statev1.Command{Kind: &statev1.Command_ApplySpecification{}}, true},
		{&statev1.Command{Kind: &statev1.Command_ImportModel{}}, true},
		{&statev1.Command{Kind: &statev1.Command_DeleteInstance{}}, false},
		{&statev1.Command{Kind: &statev1.Command_PruneInstance{}}, false},
		{&statev1.Command{Kind: &statev1.Command_RecordVerdict{}}, false},
		{&statev1.Command{Kind: &statev1.Command_Lead{}}, false},
	}
	for _, r := range rows {
		if got := grows(r.cmd); got != r.want {
			t.Errorf("%T: %v", r.cmd.Kind, got)
		}
	}
}
