package transport

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/metadata"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	"github.com/spexio/spex/shard/store"
)

// processKey is the key of the metadata by which a process knows its own question.
const processKey = "spex-process"

// twinPatience bounds the question whether somebody else is this node.
const twinPatience = 2 * time.Second

// watchTwin looks for another process with this node's id, which has a copy of its data
// directory, or the original. Two with one vote can lose what was acknowledged, so the one
// that is still starting ends. Which of two that serve is the right one is for people.
func (s *Server) watchTwin() {
	news, cancel := s.gossip.Subscribe()
	defer cancel()
	for {
		if address := s.gossip.Elsewhere(); address != "" && s.twinAt(address) {
			err := fmt.Errorf("another process runs as node %s, at %s: one of the two data directories is a copy of the other; keep the server that has the original, and give the other one an empty directory", s.self.ID, address)
			select {
			case <-s.ready:
				s.log.Error("two processes are this node: stop the one with the copied data directory", "problem", err)
			default:
				s.failWith(err)
				return
			}
		}
		select {
		case <-news:
		case <-s.ctx.Done():
			return
		}
	}
}

// twinAt tells whether a process that takes itself for this node answers at an address.
// Where the node was before it moved nobody does, or one with another id, who refuses; or
// this very process, if only the address that it gives as its own has changed.
func (s *Server) twinAt(address string) bool {
	conn, err := s.net.dial(address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // It only reports that it was closed before.
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(s.ctx, processKey, s.process), twinPatience)
	defer cancel()
	_, err = peerv1.NewPeerServiceClient(conn).Status(ctx, &peerv1.StatusRequest{
		Target: s.net.target(store.CatalogGroup, s.self.ID), Groups: []uint32{store.CatalogGroup}})
	return err == nil
}

// asksItself tells whether the question that is being answered is this process's own.
func (s *Server) asksItself(ctx context.Context) bool {
	return slices.Contains(metadata.ValueFromIncomingContext(ctx, processKey), s.process)
}
