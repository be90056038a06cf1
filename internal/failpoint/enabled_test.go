//go:build failpoints

package failpoint

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestKill runs this test in a process of its own, which must die by SIGKILL at
// the second hit and leave the marker.
func TestKill(t *testing.T) {
	const child = "FAILPOINT_TEST_CHILD"
	if os.Getenv(child) != "" {
		if err := Load(slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			t.Fatal(err)
		}
		Hit("shard/proposed")
		os.Stdout.WriteString("first\n")
		Hit("shard/proposed")
		os.Stdout.WriteString("second\n")
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), child+"=1", EnvPoints+"=shard/proposed=kill@2", EnvDir+"="+dir)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("ended with %v", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v\n%s", err, log.String())
	}
	if out.String() != "first\n" {
		t.Errorf("printed %q", out.String())
	}
	if text, err := os.ReadFile(filepath.Join(dir, MarkerFile("shard/proposed"))); err != nil || !strings.HasPrefix(string(text), "shard/proposed hit 2 ") {
		t.Errorf("marker %q, %v", text, err)
	}
	if !strings.Contains(log.String(), "FAILPOINTS ARE COMPILED IN") || !strings.Contains(log.String(), "shard/proposed=kill@2") {
		t.Errorf("logged %q", log.String())
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Setenv(EnvPoints, "nowhere=kill")
	t.Setenv(EnvDir, t.TempDir())
	if err := Load(slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an unknown name was taken")
	}
	Hit("shard/proposed") // nothing was loaded
	if err := Error("store/logs-write"); err != nil {
		t.Errorf("with nothing loaded: %v", err)
	}
}
