// Package failpoint lets a crash test end the process at a named place in the
// code, so that the test reaches the window between two steps for certain and
// can tell that it did.
//
// A place is one call of Hit, or of Error where an error can be taken. Without
// the build tag failpoints both are empty and are inlined away. With the tag,
// Load reads from the environment what happens where:
//
//	SPEX_FAILPOINTS="cluster/verdict-before-propose=kill@3;store/logs-write=error@1"
//	SPEX_FAILPOINT_DIR=/some/directory
//
// An entry is a name, "=", an action and perhaps "@N": the action is taken at the
// Nth hit alone, counted from 1 since the start of the process; without "@N" it
// is taken at every hit. The actions are
//
//	kill       write the marker of the name, then SIGKILL this process
//	sleep:D    wait for the duration D, such as 500ms
//	error      return ErrInjected; only for names that are hit with Error
//
// When a failpoint acts for the first time it leaves a marker, a file of the name
// that MarkerFile gives, in SPEX_FAILPOINT_DIR. The marker is on disk before the
// action is taken. While it is written, which takes a few milliseconds, the other
// goroutines of the process go on: only the one that hit stands still.
//
// With the tag, a test can also set the clock of a process that runs:
//
//	SPEX_CLOCK_FILE=/some/file
//
// The file says how far the clock is ahead of the machine's ("+2h", "-30s", "0s"),
// how fast it runs ("drift 1.01": a hundred seconds are a hundred and one, from
// where the clock stood), or both ("+2h drift 1.01"). It is read again every 50 ms
// at most, and has to be replaced in one piece. Only the date changes: what the
// process measures with its monotonic clock goes on, as on a machine whose date is set.
package failpoint

import (
	"errors"
	"strings"
)

// The environment variables that Load reads.
const (
	// EnvPoints holds the entries, separated by semicolons.
	EnvPoints = "SPEX_FAILPOINTS"
	// EnvDir is the directory of the markers. It must exist.
	EnvDir = "SPEX_FAILPOINT_DIR"
	// EnvClock is the file that sets the wall clock of the process. It must exist.
	EnvClock = "SPEX_CLOCK_FILE"
)

// ErrInjected is what Error returns for the action "error".
var ErrInjected = errors.New("injected by a failpoint")

// MarkerFile is the name of the file that a failpoint leaves in the directory
// of the markers once it has acted.
func MarkerFile(name string) string { return strings.ReplaceAll(name, "/", ".") + ".hit" }
