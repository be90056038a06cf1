// Package cluster makes one node of a Spex cluster out of the parts below it:
// gossip finds the others, pledges form a cluster once, the catalog says what
// belongs where, and every shard that is placed here runs as a Raft group.
//
// A Node serves the public API (transport.Backend) and the other nodes
// (PeerHandler). A request about an instance goes to the leader of the
// instance's shard, at most one hop away: a node that does not lead answers
// with the leader it knows, and the node that was asked first tries again.
//
// # Who decides what
//
// Gossip says who is there, and decides nothing. The ring proposes placements.
// The catalog decides; its state is on every node. A shard's Raft configuration is the
// truth about its replicas.
//
// # Leader work
//
// Beside serving requests the leader of a shard judges the steps that await a
// verdict (judge.go) and keeps the shard and the catalog in step: it hands over
// what was learned, and brings back models and their modes (sync.go). Both read
// the state of the machines and compare; they react to levels, and what they
// propose may be proposed twice.
package cluster
