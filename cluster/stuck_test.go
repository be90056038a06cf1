package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// openedGroups keeps how the newest group was opened, and has one group.
type openedGroups struct {
	groups
	cfg   shard.Config
	group group
}

func (h *openedGroups) Get(uint32) (group, bool) { return h.group, h.group != nil }

// ledGroup is a group of which only the leader is known.
type ledGroup struct {
	group
	leader string
}

func (g ledGroup) Leader() (string, bool)   { return g.leader, true }
func (g ledGroup) Changes() <-chan struct{} { return nil }

func (h *openedGroups) Open(cfg shard.Config) (group, error) {
	h.cfg = cfg
	return nil, nil
}

// TestAStuckCatalogEndsTheNode: whoever runs the node is told when Raft of the
// catalog does not get on, as nothing in the node can open it again.
func TestAStuckCatalogEndsTheNode(t *testing.T) {
	var told []error
	host := &openedGroups{}
	n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, groups: host, OnStuck: func(err error) { told = append(told, err) }})
	defer n.stop()
	if err := n.catalog.open(); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("a transfer that does not end")
	host.cfg.OnStuck(cause)
	if len(told) != 1 || !errors.Is(told[0], cause) || !strings.Contains(told[0].Error(), "catalog") {
		t.Errorf("told %v", told)
	}
}

// TestATransferIsNotRepeated: a leadership that could not be moved is not moved again
// without being asked, unless the leader was only not found.
func TestATransferIsNotRepeated(t *testing.T) {
	failed := &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: "leadership was not transferred"}
	elsewhere := &fsm.Error{Reason: typesv1.Reason_REASON_NOT_LEADER, LeaderID: "b", NotApplied: true}
	for _, tc := range []struct {
		what    effect
		answers []error
		want    string // the nodes that are asked
		err     error
	}{
		{moves, []error{failed}, "a", failed},
		{moves, []error{elsewhere, nil}, "ab", nil},
		{moves, []error{elsewhere, failed}, "ab", failed},
		{writes, []error{failed, nil}, "aa", nil},
	} {
		n := newNode(NodeConfig{Self: &statev1.Node{Id: "a"}, groups: &openedGroups{group: ledGroup{leader: "a"}}})
		asked := ""
		err := n.router.toLeader(t.Context(), 1, tc.what, func(_ context.Context, target string) error {
			asked += target
			return tc.answers[len(asked)-1]
		})
		n.stop()
		if asked != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("asked %q and got %v, want %q and %v", asked, err, tc.want, tc.err)
		}
	}
}
