//go:build !failpoints

package failpoint

import (
	"log/slog"
	"time"
)

// Enabled tells whether this build acts at failpoints.
const Enabled = false

// Load reads the environment and makes this build act on it. It must be called
// before anything else runs. The error says which entry is wrong. In a build
// without failpoints it does nothing.
func Load(*slog.Logger) error { return nil }

// Hit is a place where a test may end or hold the process. In a build without
// failpoints it does nothing.
func Hit(string) {}

// Error is a Hit that may also fail. In a build without failpoints it returns nil.
func Error(string) error { return nil }

// Clock is the clock that a test sets. A build without failpoints has none, and
// returns nil.
func Clock() func() time.Time { return nil }
