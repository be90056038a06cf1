package failpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recorder is a table whose kills and sleeps are written down.
func recorder(t *testing.T, text string) (*table, *[]string) {
	t.Helper()
	dir := t.TempDir()
	table, err := newTable(func(name string) string {
		return map[string]string{EnvPoints: text, EnvDir: dir}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	table.kill = func() {
		marks, _ := os.ReadDir(dir)
		log = append(log, "kill with markers "+strings.Join(namesOf(marks), " "))
	}
	table.sleep = func(d time.Duration) { log = append(log, "sleep "+d.String()) }
	return table, &log
}

func namesOf(entries []os.DirEntry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestHits(t *testing.T) {
	table, log := recorder(t, "shard/proposed=kill@3;store/logs-durable=sleep:2s;store/logs-write=error@2")
	expect := func(what string, want ...string) {
		t.Helper()
		if strings.Join(*log, "|") != strings.Join(want, "|") {
			t.Fatalf("%s: %q, want %q", what, *log, want)
		}
	}
	for range 2 {
		_ = table.hit("shard/proposed")
		_ = table.hit("shard/applied-before-reply")
	}
	expect("before the third hit")
	_ = table.hit("shard/proposed")
	expect("at the third hit, the marker is there before the kill", "kill with markers shard.proposed.hit")
	_ = table.hit("shard/proposed")
	expect("at the fourth hit", "kill with markers shard.proposed.hit")
	for range 2 {
		_ = table.hit("store/logs-durable")
	}
	expect("without @ every hit counts", "kill with markers shard.proposed.hit", "sleep 2s", "sleep 2s")

	if err := table.hit("store/logs-write"); err != nil {
		t.Errorf("first hit: %v", err)
	}
	if err := table.hit("store/logs-write"); !errors.Is(err, ErrInjected) || !strings.Contains(err.Error(), "store/logs-write") {
		t.Errorf("second hit: %v", err)
	}
	if err := table.hit("store/logs-write"); err != nil {
		t.Errorf("third hit: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(table.dir, MarkerFile("store/logs-write")))
	if err != nil || !strings.HasPrefix(string(text), "store/logs-write hit 2 pid ") {
		t.Errorf("marker: %q, %v", text, err)
	}
}

// TestLostMarker: the action is taken all the same, but not in silence.
func TestLostMarker(t *testing.T) {
	table, log := recorder(t, "shard/proposed=kill")
	table.dir = filepath.Join(table.dir, "gone")
	var complaints bytes.Buffer
	table.complain = &complaints
	_ = table.hit("shard/proposed")
	if len(*log) != 1 || !strings.Contains(complaints.String(), "shard/proposed: no marker") {
		t.Errorf("took %q and said %q", *log, complaints.String())
	}
}

func TestNewTableRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ points, dir, want string }{
		{"nowhere=kill", t.TempDir(), "no failpoint"},
		{"shard/proposed=kill", "", EnvDir},
		{"shard/proposed=kill", file, EnvDir},
		{"shard/proposed=kill", filepath.Join(file, "x"), EnvDir},
	} {
		_, err := newTable(func(name string) string { return map[string]string{EnvPoints: tc.points, EnvDir: tc.dir}[name] })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	if table, err := newTable(func(string) string { return "" }); table != nil || err != nil {
		t.Errorf("with nothing set: %v, %v", table, err)
	}
}
