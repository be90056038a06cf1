package cluster

import (
	"context"
	"log/slog"
)

// raftEvents are the messages of hashicorp/raft whose level says more than they
// mean: they belong to every first start, join, election and restart of a
// healthy cluster, and a peer that is down repeats them for every group. What
// an operator has to know is told by gossip, by status, and by the messages of a
// leader that loses its majority, which keep their level.
var raftEvents = map[string]slog.Level{
	"no known peers, aborting election":                   slog.LevelDebug,
	"not part of stable configuration, aborting election": slog.LevelDebug,
	"failed to get previous log":                          slog.LevelDebug,
	"previous log term mis-match":                         slog.LevelDebug,
	"appendEntries rejected, sending older logs":          slog.LevelDebug,
	"rejecting vote request since we have a leader":       slog.LevelDebug,
	"rejecting pre-vote request since we have a leader":   slog.LevelDebug,
	"duplicate requestVote from":                          slog.LevelDebug,
	"heartbeat timeout reached, starting election":        slog.LevelInfo,
	"Election timeout reached, restarting election":       slog.LevelInfo,
	"failed to appendEntries to":                          slog.LevelInfo,
	"failed to heartbeat to":                              slog.LevelInfo,
	"failed to make requestVote RPC":                      slog.LevelInfo,
	"heartbeat timeout reached, not part of a stable configuration or a non-voter, not triggering a leader election": slog.LevelDebug,
	"rejecting vote request since our last term is greater":                                                          slog.LevelDebug,
	"rejecting vote request since our last index is greater":                                                         slog.LevelDebug,
	"rejecting pre-vote request since our last term is greater":                                                      slog.LevelDebug,
	"rejecting pre-vote request since our last index is greater":                                                     slog.LevelDebug,
	"rejecting vote request since node is not in configuration":                                                      slog.LevelDebug,
	"rejecting pre-vote request since node is not in configuration":                                                  slog.LevelDebug,
}

// raftLog gives the messages of a Raft group the levels that they deserve.
type raftLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (h raftLog) Handle(ctx context.Context, r slog.Record) error {
	if level, ok := raftEvents[r.Message]; ok && level < r.Level {
		if !h.Enabled(ctx, level) {
			return nil
		}
		r.Level = level
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h raftLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return raftLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h raftLog) WithGroup(name string) slog.Handler { return raftLog{h.Handler.WithGroup(name)} }
