// Package fsm holds the replicated state machines of Spex: Shard, which keeps
// instances and judges nothing, and Catalog, which keeps what the whole cluster
// must agree on.
//
// A machine is a pure function of the entries that were applied to it. It reads
// no clock, file, configuration or random source and iterates no map in map
// order, so that replicas of different releases stay identical; time comes with
// the entries and never runs backwards. Limits that a machine enforces are
// constants of the format, and changing one raises FeatureLevel.
//
// Apply and Restore are called by one goroutine. The read methods may be called
// by any number of goroutines at the same time; what they return is immutable.
package fsm
