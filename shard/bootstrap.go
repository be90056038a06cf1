package shard

import (
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"
)

// Raft's keys in the stable store.
var (
	currentTermKey  = []byte("CurrentTerm")
	lastVoteTermKey = []byte("LastVoteTerm")
)

// bootstrapTerm is the term that a bootstrap sets. The first campaign is for the
// next one, so that no message ever brings this term to a node.
const bootstrapTerm = 1

// forgetHalfBootstrap undoes a bootstrap that a crash broke off between its two
// writes, the term and the first configuration. Raft takes the term alone for a
// state and would refuse every further bootstrap; if this node was the only one
// to begin the group, nobody would ever lead it. With an empty log, no snapshot
// and no vote the node has promised nothing to anybody in this term, and is what
// it was before.
func forgetHalfBootstrap(s Stores, logger *slog.Logger) error {
	term, err := stableUint64(s.Stable, currentTermKey)
	if err != nil || term != bootstrapTerm || s.Returned {
		return err
	}
	vote, err := stableUint64(s.Stable, lastVoteTermKey)
	if err != nil || vote != 0 {
		return err
	}
	last, err := s.Logs.LastIndex()
	if err != nil || last != 0 {
		return err
	}
	snapshots, err := s.Snapshots.List()
	if err != nil || len(snapshots) != 0 {
		return err
	}
	logger.Warn("a bootstrap of the group was broken off before its first entry; the group has to be bootstrapped again")
	return s.Stable.SetUint64(currentTermKey, 0)
}

// stableUint64 reads a number that may not be there, which is 0. Like Raft it
// knows the error of a store for that by its text.
func stableUint64(s raft.StableStore, key []byte) (uint64, error) {
	n, err := s.GetUint64(key)
	switch {
	case err == nil:
		return n, nil
	case err.Error() == "not found":
		return 0, nil
	}
	return 0, fmt.Errorf("read %s from the stable store: %w", key, err)
}
