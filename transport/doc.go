// Package transport is everything of Spex that speaks gRPC: the public API with its
// limits and error details, the service between nodes (forwarding, questions to
// voters, bootstrap), and Raft's own transport over the same connections. It also
// wires a whole server together: StartServer.
//
// Two listeners keep two kinds of callers apart: programs on one, nodes on the
// other. Every call has a deadline, every message a limit that follows from the
// size of a log entry (limits.go), and every error a detail with a reason
// (errors.go): nobody matches text.
package transport
