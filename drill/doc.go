// Package drill finds out whether a cluster keeps what it promises while it is
// being broken.
//
// A Workload is a number of clients that begin, move, read, list and delete
// instances of a specification of their own, over the same client as every other
// program, and record each call: when it was made, when it was answered, and what
// the answer said. When it has ended and the cluster is whole again, Final reads
// what became of the instances, and Check compares the two:
//
//	w, err := drill.NewWorkload(drill.Config{Addresses: addresses})
//	h, err := w.Run(ctx)      // while somebody breaks the cluster
//	final, err := w.Final(ctx)
//	verdict := drill.Check(h, final)
//
// Check looks for a linearization of the calls on each instance with Porcupine;
// an instance for which it finds neither one nor a proof that there is none counts
// as broken. Beside that it checks invariants that say more plainly what is
// wrong; the constants Check... name them all. No check knows anything but what
// clients were told.
//
// Outages tells for how long no write was acknowledged, by shard, for each fault.
package drill
