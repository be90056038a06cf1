// Package store is the durable storage of the Raft groups of one node: their
// logs, their terms and votes, and their snapshots.
//
// # Layout
//
//	DIR/LOCK                          held while a Store is open
//	DIR/marks                         how far each group's log is known to be on disk (see marks.go)
//	DIR/log/                          one Pebble store: the logs of all shards
//	DIR/groups/0000/log.db            the catalog's log (raft-boltdb)
//	DIR/groups/NNNN/stable.db         term, vote, record of the newest snapshot (raft-boltdb)
//	DIR/groups/NNNN/snapshots/ID/     state.bin (framed, see snapfile.go) and raft's meta.json
//
// Pebble keys are (kind, group, index), big endian. Each StoreLogs is one batch
// committed with a sync, so that the appends of many groups share an fsync. A
// value carries a checksum over key and value; a damaged entry is named by
// group and index and never served.
//
// # Assumptions
//
// The file system keeps what was fsynced, renames atomically, and syncs a
// directory's names on fsync of the directory. raft appends to a group from
// one goroutine at a time; reads, compaction and snapshots may run beside it. A
// store that is truncated at the end behind our back, to a state that it once
// had, is seen only if the marks, or the other stores of the group, tell (see Checks).
//
// # Limits
//
// Memory: Pebble's block cache (Options.CacheBytes) plus four memtables of
// 16 MiB for all groups of the node together, and some 16 bytes per 64 KiB of
// log. raft.LogCache is not used: it counts entries per group, not bytes per
// node, and what it would hold is in the memtables. Opening a group reads its
// log and its newest snapshot once from end to end. Writing the body of a
// snapshot has no deadline; every other write has one.
//
// # The first failure is the last write
//
// hashicorp/raft goes on after an error of its stores, a node that cannot
// write goes on winning elections, and a write given up at a deadline may land
// later, under an index that raft has used again. So the first failed or late
// write of any store of the node calls Options.OnFatal, where the process ends;
// until it does, every further write fails at once, and the late write's
// caller keeps waiting, so that raft is never told of a failure that may still
// become a success. A write that does not continue the log is such a failure:
// raft's idea of the log and ours differ, and a restart, which reads ours,
// mends it. A full disk while a snapshot is written is not: nothing stands on
// a snapshot before it is recorded. Pebble's Fatalf ends in OnFatal too and
// never returns into Pebble.
//
// # No gaps
//
// Every log reports IsMonotonic, so raft empties it after it installed a
// snapshot. An append continues at last+1 or, on an empty log, right behind the
// newest recorded snapshot; anything else is refused. Without IsMonotonic a
// follower whose uncommitted tail conflicts with the snapshot would keep that
// tail and refuse the leader for ever, also after a restart
// (hashicorp/raft#697); with it a restart of the group's raft heals.
//
// # Crash arguments
//
// Create a group: (1) the log side's manifest says "creating", (2) the stable
// store appears by rename with its copy in it, (3) the log side says "ready";
// only then is the group handed out. Before (1) nothing is there. Between (1)
// and (3) the group was never used: open goes on from where it stopped. After
// (3) a side that is missing was lost, and the replica is refused.
//
// Append: one batch, one sync. A crash before the sync leaves all, none or a
// prefix of batches that nobody was told of; after it the entries are there.
//
// Truncate or compact: one range delete, synced; if it moves the end of the log
// back below the group's mark, the mark is lowered durably before. Bounds in memory shrink before
// it, so that a reader that finds nothing knows that nothing was to be found.
//
// Snapshot: the body and its trailer are synced, the directory gets its name,
// the record goes to the stable store; then raft compacts. Before the name it
// is a *.tmp that open removes. Before the record the old record and the old
// log stand, and open removes the new snapshot. After the record the snapshot
// stands, whether or not the log was compacted.
//
// Install from the leader: as a snapshot; then raft restores it and empties the
// log. A crash before the log is empty leaves one that ends before the
// snapshot or has another entry at its end: open empties it. A log that agrees
// with the snapshot there is kept.
//
// Remove: the log side says "removing", the directory is renamed and deleted,
// entries and manifest go in one batch. A crash after the first step is
// finished by the next Open. For the catalog the rename is the first step.
//
// # Checks
//
// Open refuses a directory that is in use, of another cluster or node, or with
// groups but without the log store. Group refuses a replica if a manifest is
// missing or the two differ; an entry is damaged or missing in the middle; the
// bolt file is damaged in its roots or its tree, or a value of the stable store
// is damaged, missing, or older than what was written (see sealedStable); the
// term of the last entry or of the snapshot is above the stored current term;
// the log begins behind the newest recorded snapshot's end; log and snapshot end
// below the group's mark; or that snapshot
// is not readable from the first byte to the last, in meta.json, header, body
// and trailer. There is no falling back to an older snapshot: the log behind
// the newest one may be gone. A refusal is a *RefusedError with the reason, the
// path and the way out, and it changes nothing.
//
// What cannot be told from a crash is the end of Pebble's write-ahead log: damage in
// its last two blocks of 32 KiB, and a cut that takes no more than what was appended
// since the marks were last advanced (defaultMarkStep and what came while they were
// written), pass for a write that a crash tore, and the entries behind are gone.
// Nothing wrong is served then, but a voter has forgotten entries that it
// acknowledged; the other replicas have them.
package store
