package store

import (
	"errors"
	"fmt"
)

// Reasons for which a directory or a replica is refused on open, and for which
// a write fails. Test with errors.Is.
var (
	// ErrInUse: another process, or another Store of this one, has the directory open.
	ErrInUse = errors.New("directory is in use")
	// ErrOtherCluster: the directory was written by a member of another cluster.
	ErrOtherCluster = errors.New("directory belongs to another cluster")
	// ErrOtherNode: the directory was written by another node of this cluster.
	ErrOtherNode = errors.New("directory belongs to another node")
	// ErrStableLost: the store of the term and the vote is gone. A voter that
	// forgot its vote could vote twice in one term.
	ErrStableLost = errors.New("stable store is missing")
	// ErrStableDamaged: the stored term, vote or record of the newest snapshot is
	// damaged, or older than what this replica has written.
	ErrStableDamaged = errors.New("stable store is damaged or older than the log")
	// ErrLogLost: the log, or its manifest, is gone while the stable store is there.
	ErrLogLost = errors.New("log is missing")
	// ErrManifest: a manifest cannot be read, or the two of a group differ.
	ErrManifest = errors.New("manifest is damaged or does not match")
	// ErrTermBehind: the log or the snapshot has a term above the stored
	// current term, so the stable store is older than the rest.
	ErrTermBehind = errors.New("current term is behind the log")
	// ErrLogGap: entries between the newest snapshot and the log are missing.
	ErrLogGap = errors.New("log does not reach back to the snapshot")
	// ErrLogDamaged: a log entry is missing in the middle or fails its checksum.
	ErrLogDamaged = errors.New("log entry is damaged")
	// ErrLogCut: the log and the newest snapshot end before an entry that was on disk.
	ErrLogCut = errors.New("log was cut")
	// ErrMarks: the file that says how far the logs were on disk is damaged.
	ErrMarks = errors.New("marks of the logs are damaged")
	// ErrSnapshotDamaged: the newest recorded snapshot is missing, damaged or another one.
	ErrSnapshotDamaged = errors.New("snapshot is damaged")
	// ErrFormat: written by a newer release.
	ErrFormat = errors.New("format is newer than this release")

	// ErrOutOfSequence: StoreLogs was given entries that do not continue the
	// log, or DeleteRange would leave a hole. Nothing was written.
	ErrOutOfSequence = errors.New("log write out of sequence")
	// ErrOlderSnapshot: a snapshot behind the newest recorded one was offered.
	ErrOlderSnapshot = errors.New("snapshot is older than the newest recorded one")
	// ErrWriteDeadline: a write took longer than Options.WriteDeadline.
	ErrWriteDeadline = errors.New("write over its deadline")
	// ErrFailed: an earlier write of this Store failed; nothing is written any more.
	ErrFailed = errors.New("store has failed")
	// ErrClosed: the store or the group is closed.
	ErrClosed = errors.New("store is closed")
)

// RefusedError says why a data directory, or one group in it, is not opened.
// Nothing was changed on disk.
type RefusedError struct {
	Reason  error  // one of the sentinels above
	Group   int64  // the group, or -1 for the whole directory
	Path    string // the file or directory at fault
	Problem string // what was found
	Mend    string // what the operator can do
	Cause   error  // the underlying error, or nil
}

// Error names the place, the problem and the way out.
func (e *RefusedError) Error() string {
	where := e.Path
	if e.Group >= 0 {
		where = fmt.Sprintf("group %d at %s", e.Group, e.Path)
	}
	msg := fmt.Sprintf("%s: %v: %s", where, e.Reason, e.Problem)
	if e.Cause != nil {
		msg += ": " + e.Cause.Error()
	}
	if e.Mend != "" {
		msg += "; " + e.Mend
	}
	return msg
}

// Unwrap makes errors.Is and errors.As see the reason and the cause.
func (e *RefusedError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

// EntryError names the log entry that a read or an open found damaged or that
// a write found out of sequence.
type EntryError struct {
	Group uint32
	Index uint64
	Err   error
}

// Error names the group and the index.
func (e *EntryError) Error() string {
	return fmt.Sprintf("group %d, log index %d: %v", e.Group, e.Index, e.Err)
}

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }

const (
	mendReplica = "the other replicas hold the data: move this directory away and let the node join again as a new node"
	mendRestore = "put the missing files back as they were, or " + mendReplica
)
