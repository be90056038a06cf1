// Package shard runs one Raft group of this node, and hosts many.
//
// A Group replicates a Machine: it proposes commands, reads linearizably,
// takes snapshots and says who leads. It knows nothing of what the machine
// does; the shards and the catalog are the same Group with another machine.
// This package, shard/store and the transport are the only ones that know
// hashicorp/raft.
//
// # Mechanism
//
// Commands of concurrent callers are coalesced: one batch is in flight per
// group, and the next batch is what arrived meanwhile. A batch is one Raft log
// entry, a statev1.Entry (propose.go, queue.go).
//
// A leader first commits and applies Lead{term}; before that it proposes
// nothing for others and answers no linearizable read (leader.go).
//
// A linearizable read asks the voters whether their term is still the
// leader's; one round serves all reads that wait (read.go has the argument).
//
// An entry that the machine cannot apply halts the group on this node: nothing
// later is applied, no snapshot is taken, Raft is shut down, and the process
// lives on (halt.go).
//
// States of Raft that only opening the group again heals are found and reported
// (stuck.go).
//
// # Key decisions and trade-offs
//
//   - A group removes itself from nothing: ShutdownOnRemove is off, because Raft
//     shutting itself down can strand the future of a command committed in the
//     same step. The owner closes a group that was removed.
//   - A follower learns what is committed with the next message of the leader,
//     which in an idle group comes after Timing.Commit, or twice that. A read on a
//     follower waits for it.
//   - Raft's own snapshot timer is off; the log is measured in bytes, as entries
//     differ in size by three orders of magnitude (snapshot.go).
//   - Raft reports metrics to the process-wide sink of go-metrics without saying
//     which group they belong to. The sink is a black hole unless somebody
//     installs one; nobody may. What a group has to tell is in its Status.
//   - Raft's addresses are node ids; the transport finds the network address.
package shard
