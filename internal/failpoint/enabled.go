//go:build failpoints

package failpoint

import (
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Enabled tells whether this build acts at failpoints.
const Enabled = true

// active is nil while there is nothing to do.
var active atomic.Pointer[table]

// wall is nil while the process goes by the machine's clock.
var wall atomic.Pointer[wallClock]

// Load reads the environment and makes this build act on it. It must be called
// before anything else runs. The error says which entry is wrong.
func Load(logger *slog.Logger) error {
	t, err := newTable(os.Getenv)
	if err != nil {
		return err
	}
	var clock *wallClock
	if file := os.Getenv(EnvClock); file != "" {
		if clock, err = newWallClock(file, time.Now, os.Stderr); err != nil {
			return err
		}
	}
	armed := "none"
	if t != nil {
		armed = t.String()
	}
	logger.Error("FAILPOINTS ARE COMPILED IN: this build is for crash tests, never for data that matters", "armed", armed)
	active.Store(t)
	wall.Store(clock)
	return nil
}

// Clock is the clock that EnvClock asks for, nil when this process is to go by the
// machine's. It is safe for concurrent use.
func Clock() func() time.Time {
	if c := wall.Load(); c != nil {
		return c.Now
	}
	return nil
}

// Hit is a place where a test may end or hold the process. It is safe for
// concurrent use.
func Hit(name string) {
	if t := active.Load(); t != nil {
		_ = t.hit(name) // only a Fallible name can have an error, and those use Error
	}
}

// Error is a Hit that may also fail, with an error that wraps ErrInjected.
func Error(name string) error {
	if t := active.Load(); t != nil {
		return t.hit(name)
	}
	return nil
}
