//go:build failpoints

package failpoint

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// clockReread is how often the file of a clock is read at most.
const clockReread = 50 * time.Millisecond

// clockSetting is what the file of a clock says.
type clockSetting struct {
	// offset is how far the clock is ahead of the machine's; without set it stays
	// what it is.
	offset time.Duration
	set    bool
	// rate is how many seconds the clock counts in one, 1 when it does not drift.
	rate float64
}

// parseClock reads the form that EnvClock describes.
func parseClock(text string) (clockSetting, error) {
	s := clockSetting{rate: 1}
	words := strings.Fields(text)
	if len(words)%2 == 1 {
		var err error
		if s.offset, err = time.ParseDuration(words[0]); err != nil {
			return s, fmt.Errorf("the clock %q: want an offset such as +2h or -30s, perhaps with a drift: +2h drift 1.01", text)
		}
		s.set, words = true, words[1:]
	}
	if len(words) == 0 {
		if !s.set {
			return s, fmt.Errorf("the clock is empty: want an offset such as +2h, or drift 1.01")
		}
		return s, nil
	}
	rate, err := strconv.ParseFloat(words[len(words)-1], 64)
	if len(words) != 2 || words[0] != "drift" || err != nil || !(rate > 0 && rate <= 100) {
		return s, fmt.Errorf("the clock %q: want drift and a rate above 0 and up to 100, such as drift 1.01", text)
	}
	s.rate = rate
	return s, nil
}

// wallClock is the machine's clock with another date. It is safe for concurrent use.
type wallClock struct {
	file string
	// real is the machine's clock, with its monotonic reading.
	real func() time.Time
	// complain is where a file that cannot be read any more is told.
	complain io.Writer
	start    time.Time
	// looked is when the file was read last, counted from start.
	looked atomic.Int64

	mu   sync.Mutex // guards the fields below
	text string
	// The clock was offset ahead at the moment since, and runs at rate from there.
	since  time.Time
	offset time.Duration
	rate   float64
}

// newWallClock reads the file for the first time.
func newWallClock(file string, real func() time.Time, complain io.Writer) (*wallClock, error) {
	now := real()
	if moved := withDate(now, time.Hour); moved.Sub(now) != 0 || moved.Round(0).Sub(now.Round(0)) != time.Hour {
		return nil, fmt.Errorf("%s: package time keeps its readings in another way than this build knows", EnvClock)
	}
	c := &wallClock{file: file, real: real, complain: complain, start: now, since: now, rate: 1}
	if err := c.look(now); err != nil {
		return nil, err
	}
	return c, nil
}

// Now is the machine's time with the date that the file says. What is measured
// between two of its readings is what passed on the machine, however the date was
// set meanwhile.
func (c *wallClock) Now() time.Time {
	now := c.real()
	at, last := int64(now.Sub(c.start)), c.looked.Load()
	if at-last >= int64(clockReread) && c.looked.CompareAndSwap(last, at) {
		if err := c.look(now); err != nil {
			fmt.Fprintf(c.complain, "%v; the clock goes on as it is\n", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return withDate(now, c.aheadLocked(now))
}

// look reads the file, and goes by it from now on if it has changed.
func (c *wallClock) look(now time.Time) error {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("%s: %w", EnvClock, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if string(text) == c.text {
		return nil
	}
	s, err := parseClock(string(text))
	if err != nil {
		return fmt.Errorf("%s, file %s: %w", EnvClock, c.file, err)
	}
	if !s.set {
		s.offset = c.aheadLocked(now)
	}
	c.text, c.since, c.offset, c.rate = string(text), now, s.offset, s.rate
	return nil
}

func (c *wallClock) aheadLocked(now time.Time) time.Duration {
	return c.offset + time.Duration(float64(now.Sub(c.since))*(c.rate-1))
}

// withDate moves the date of a time and leaves its monotonic reading, as when the
// date of a machine is set. Add moves both, and package time has no other way.
func withDate(t time.Time, by time.Duration) time.Time {
	type reading struct {
		wall uint64
		mono int64
	}
	moved := t.Add(by)
	(*reading)(unsafe.Pointer(&moved)).mono = (*reading)(unsafe.Pointer(&t)).mono
	return moved
}
