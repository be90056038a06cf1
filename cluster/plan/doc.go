// Package plan decides how a cluster comes from where its replicas are to where
// they belong, one safe change of one group at a time.
//
// It is pure: no clock, no I/O, no state, no map order; the same State gives
// the same changes. The loop at the catalog's leader gathers a State, asks Next,
// carries the changes out and gathers again; nothing is remembered in between,
// so a new leader goes on where the old one stopped, and a change that failed
// or turned out different is simply seen in the next State.
//
// # The rules
//
// Which nodes hold a shard: as many as asked for, or as there are nodes that may
// hold one; spread evenly; and reached with as few new replicas as an even
// spread allows (see targets). A node that drains keeps what it holds and gets nothing
// new. A node that is decommissioned, or silent for longer than
// Settings.DeadAfter, loses everything; silence alone, for a shorter time,
// removes nobody.
//
// How a replica moves: the placement table names the new node, which opens an
// empty replica; Raft adds it without a vote; it catches up and stays so for
// Settings.Stabilise; it gets a vote; the leadership leaves the node that goes;
// Raft removes that node; the placement table drops it, and only then it deletes its
// state. A shard has one voter more than asked for during this last part alone.
//
// What is never done: a change after which fewer voters keep up with their leader
// than a majority needs; the removal of a voter that does while another does
// not, if the shard would then survive fewer failures than before; any change
// of a group whose leader or configuration is not known, or in which a change
// is under way.
//
// A node that is sent away keeps its copy for as long as those that could take it
// drain or are silent. A dead voter that nobody can replace stays in the configuration, for it may
// return with its data, unless without it the shard survives more failures.
//
// The catalog (group 0) follows the same rules with other numbers: up to 5
// voters, an odd number of them where there are more than two, and every other
// node without a vote, as every node needs the catalog to route. It has no entry
// in the placement table, so it sees neither Place nor Unplace.
package plan
