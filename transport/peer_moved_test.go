package transport

import (
	"context"
	"errors"
	"testing"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestMovedPeerIsAnswered: a node that came back with another address is reached
// there as soon as it has sent something, although gossip knows the old one; what
// gossip learns later wins again (O4).
func TestMovedPeerIsAnswered(t *testing.T) {
	m := newPeerMesh(t)
	answer := func(name string) *fakeHandler {
		return &fakeHandler{forward: func(context.Context, *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
			return nil, fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "%s", name)
		}}
	}
	at := func(address string) func(*NetConfig) { return func(c *NetConfig) { c.Address = address } }
	n1 := m.start("n1", "a:1", answer("n1"), at("a:1"))
	n2 := m.start("n2", "b:1", answer("old n2"), at("b:1"))
	forward := func(from *meshNode, to string) string {
		_, err := from.Peers().Forward(t.Context(), to, &peerv1.ForwardRequest{})
		var e *fsm.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s to %s: %v", from.NodeID(), to, err)
		}
		return e.Message
	}
	want := func(from *meshNode, to, message string) {
		t.Helper()
		if got := forward(from, to); got != message {
			t.Fatalf("%s was answered by %q, want %q", from.NodeID(), got, message)
		}
	}
	want(n1, "n2", "old n2")
	want(n2, "n1", "n1")
	n2.stop("b:1")
	moved := m.start("n2", "b:2", answer("new n2"), at("b:2"))
	m.announce("n2", "b:1") // gossip holds on to it
	want(moved, "n1", "n1")
	want(n1, "n2", "new n2")
	if n1.Gone(t.Context(), "n2") {
		t.Error("the process of n2 is looked for at its old address")
	}
	m.start("n2", "b:3", answer("newest n2"), at("b:3"))
	want(n1, "n2", "newest n2")
	// What a node said holds no longer than until gossip has news.
	m.announce("n2", "b:2")
	want(n1, "n2", "new n2")
}
