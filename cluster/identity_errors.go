package cluster

import (
	"errors"
	"fmt"
)

// What can be wrong with a data directory; the kinds of a DirectoryError.
var (
	// ErrDirectoryInUse: another process holds the lock.
	ErrDirectoryInUse = errors.New("data directory in use by another process")
	// ErrOtherNode: the directory was made for a node of another name.
	ErrOtherNode = errors.New("data directory of another node")
	// ErrOtherCluster: the directory belongs, or is pledged, to another cluster.
	ErrOtherCluster = errors.New("data directory of another cluster")
	// ErrDirectoryDamaged: a file in it cannot be understood.
	ErrDirectoryDamaged = errors.New("data directory damaged")
	// ErrNotDataDirectory: there are files in it, but none that says whose it is.
	ErrNotDataDirectory = errors.New("not a data directory")
)

// DirectoryError says that a data directory cannot be used, why, and how to
// mend it. errors.Is finds its kind.
type DirectoryError struct {
	Dir  string
	Kind error
	// Problem is the detail beyond the kind, "" if there is none; Hint says what to do.
	Problem string
	Hint    string
}

// Error gives the directory, the problem and the hint.
func (e *DirectoryError) Error() string {
	msg := fmt.Sprintf("%s: %v", e.Dir, e.Kind)
	if e.Problem != "" {
		msg += ": " + e.Problem
	}
	return msg + "; " + e.Hint
}

// Unwrap gives the kind.
func (e *DirectoryError) Unwrap() error { return e.Kind }

func dirError(dir string, kind error, hint, problem string, args ...any) *DirectoryError {
	return &DirectoryError{Dir: dir, Kind: kind, Hint: hint, Problem: fmt.Sprintf(problem, args...)}
}
