//go:build failpoints

package failpoint

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseClock(t *testing.T) {
	for _, tc := range []struct {
		text string
		want clockSetting
	}{
		{"+2h", clockSetting{2 * time.Hour, true, 1}},
		{" -30s\n", clockSetting{-30 * time.Second, true, 1}},
		{"0s", clockSetting{0, true, 1}},
		{"drift 1.01", clockSetting{0, false, 1.01}},
		{"+4.8s drift 0.5", clockSetting{4800 * time.Millisecond, true, 0.5}},
	} {
		if got, err := parseClock(tc.text); err != nil || got != tc.want {
			t.Errorf("parseClock(%q) = %+v, %v; want %+v", tc.text, got, err, tc.want)
		}
	}
	for _, bad := range []string{"", "\n", "2", "+2h +3h", "drift", "drift 0", "drift -1", "drift NaN", "drift 101", "+2h drift", "+2h drif 1.01", "+2h drift 1.01 x"} {
		if got, err := parseClock(bad); err == nil {
			t.Errorf("parseClock(%q) = %+v, want an error", bad, got)
		}
	}
}

// setClock makes a clock whose machine the test drives: pass lets time go on, set
// writes the file.
func setClock(t *testing.T, text string) (c *wallClock, pass func(time.Duration), set func(string), complaints *bytes.Buffer) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clock")
	set = func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(text)
	machine := time.Now()
	complaints = &bytes.Buffer{}
	c, err := newWallClock(file, func() time.Time { return machine }, complaints)
	if err != nil {
		t.Fatal(err)
	}
	return c, func(d time.Duration) { machine = machine.Add(d) }, set, complaints
}

// TestWallClock: the date is set while time goes on.
func TestWallClock(t *testing.T) {
	c, pass, set, complaints := setClock(t, "0s")
	begin := c.Now()
	var passed time.Duration
	for _, tc := range []struct {
		text string
		pass time.Duration
		want time.Duration // ahead of the machine
	}{
		{"0s", time.Second, 0},
		{"+2h", 49 * time.Millisecond, 0}, // not looked yet
		{"+2h", time.Millisecond, 2 * time.Hour},
		{"-30s", time.Second, -30 * time.Second},
		{"drift 1.01", time.Second, -30 * time.Second},
		{"drift 1.01", 100 * time.Second, -29 * time.Second},
		{"drift 0.5", time.Second, -28990 * time.Millisecond},
		{"drift 0.5", 10 * time.Second, -33990 * time.Millisecond},
		{"+1s drift 2", time.Second, time.Second},
		{"+1s drift 2", 3 * time.Second, 4 * time.Second},
		{"no clock", time.Second, 5 * time.Second},
		{"0s", time.Second, 0},
	} {
		set(tc.text)
		pass(tc.pass)
		passed += tc.pass
		now := c.Now()
		if got := now.Round(0).Sub(begin.Round(0)) - passed; (got - tc.want).Abs() > time.Microsecond {
			t.Errorf("%q after %s: ahead by %s, want %s", tc.text, tc.pass, got, tc.want)
		}
		if got := now.Sub(begin); got != passed {
			t.Errorf("%q: %s passed, measured were %s", tc.text, passed, got)
		}
	}
	if n := strings.Count(complaints.String(), "no clock"); n != 1 {
		t.Errorf("complaints: %q", complaints)
	}
}

func TestClockIsLoaded(t *testing.T) {
	t.Cleanup(func() { wall.Store(nil) })
	log := slog.New(slog.DiscardHandler)
	if err := Load(log); err != nil || Clock() != nil {
		t.Fatalf("without %s: %v, and a clock: %v", EnvClock, err, Clock() != nil)
	}
	file := filepath.Join(t.TempDir(), "clock")
	t.Setenv(EnvClock, file)
	if err := Load(log); err == nil || !strings.Contains(err.Error(), EnvClock) {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(file, []byte("+2h"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(log); err != nil || Clock() == nil {
		t.Fatalf("%v", err)
	}
	if ahead := time.Until(Clock()().Round(0)); (ahead - 2*time.Hour).Abs() > time.Minute {
		t.Errorf("ahead by %s", ahead)
	}
}
