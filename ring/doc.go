// Package ring computes where things belong, as pure functions: the slot of an
// instance, the shard of a slot, and the owner and replicas of every shard
// for a given set of members.
//
// Nothing here does I/O, reads a clock, keeps state or starts a goroutine. The
// same arguments give the same answer on every node and in every release:
// slots and placements are compared between nodes, so their hash (64-bit
// xxHash, seed 0) and their key layout are fixed and held by golden tests.
//
// A placement is a proposal. The catalog decides, and the Raft configuration
// of a shard is the truth.
package ring
