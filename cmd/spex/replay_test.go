package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// writeLog writes a log of cases c0, c1, ... whose events a0, a1, ... are spread
// over the file, and a specification that allows them.
func writeLog(t *testing.T, cases, events int) (log, spec string) {
	t.Helper()
	var rows, yaml strings.Builder
	rows.WriteString("case;activity;at\n")
	yaml.WriteString("name: p\ntransitions:\n")
	for e := range events {
		from := "start"
		if e > 0 {
			from = fmt.Sprintf("a%d", e-1)
		}
		fmt.Fprintf(&yaml, "  - [%s, a%d, a%d]\n", from, e, e)
		for c := range cases {
			// All events of a case have the same time: the order of the file decides.
			fmt.Fprintf(&rows, "c%d;a%d;2026-01-01T00:00:00Z\n", c, e)
		}
	}
	dir := t.TempDir()
	log, spec = filepath.Join(dir, "log.csv"), filepath.Join(dir, "p.yaml")
	for path, text := range map[string]string{log: rows.String(), spec: yaml.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return log, spec
}

// mustRun runs a command that has to end with the given status.
func (s *shell) mustRun(t *testing.T, code int, args ...string) string {
	t.Helper()
	if got := s.run(t, args...); got != code {
		t.Fatalf("spex %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, s.stderr.String())
	}
	return s.stdout.String()
}

func replayArgs(log string, more ...string) []string {
	return append([]string{"replay", log, "--spec", "p", "--case", "case", "--activity", "activity", "--timestamp", "at", "-o", "json"}, more...)
}

func parseReplay(t *testing.T, out string) replayJSON {
	t.Helper()
	var r replayJSON
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if sum := r.OK + r.DeviationStillEquivalent + r.DeviationNotEquivalent + r.Pending + r.Errors; sum != r.Events {
		t.Errorf("the counts give %d, events are %d: %+v", sum, r.Events, r)
	}
	return r
}

// histories checks that every case was played whole, once and in order.
func (f *fakeCluster) histories(t *testing.T, cases, events int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.instances) != cases {
		t.Errorf("%d instances, want %d", len(f.instances), cases)
	}
	for id, in := range f.instances {
		if len(in.steps) != events+1 {
			t.Errorf("%s has %d steps, want %d", id, len(in.steps), events+1)
			continue
		}
		for i, s := range in.steps[1:] {
			if want := fmt.Sprintf("a%d", i); s.GetAction() != want || s.GetSeq() != uint64(i+2) {
				t.Errorf("%s: step %d is %s with seq %d, want %s", id, i, s.GetAction(), s.GetSeq(), want)
			}
		}
	}
}

// Answers that get lost and servers that refuse for a while must not lose,
// double or reorder a step; a second run changes nothing.
func TestReplaySurvivesLostBatches(t *testing.T) {
	const cases, events = 40, 150 // more events than one batch has
	log, yaml := writeLog(t, cases, events)
	fake := startFake(t)
	sh := newShell(fake)
	sh.mustRun(t, exitOK, "spec", "apply", yaml)
	fake.refuseBatch = func(n int) error {
		switch n % 5 {
		case 0:
			return refusal(codes.Unavailable, typesv1.Reason_REASON_NO_LEADER, "no leader")
		case 1:
			return status.Error(codes.Unavailable, "connection lost")
		}
		return nil
	}
	r := parseReplay(t, sh.mustRun(t, exitOK, replayArgs(log, "--concurrency", "16")...))
	if r.Cases != cases || r.Events != cases*events || r.OK != r.Events || r.Errors != 0 {
		t.Errorf("summary %+v", r)
	}
	if r.Retries == 0 {
		t.Error("no retries are reported")
	}
	fake.histories(t, cases, events)

	fake.mu.Lock()
	fake.refuseBatch = nil
	before := fake.index
	fake.mu.Unlock()
	again := parseReplay(t, sh.mustRun(t, exitOK, replayArgs(log)...))
	if again.OK != r.OK || again.Cases != r.Cases {
		t.Errorf("the second run reports %+v, the first %+v", again, r)
	}
	if fake.index != before {
		t.Errorf("the second run wrote %d entries", fake.index-before)
	}
}

// A case that is refused stops there; the others go on and the counts stay exact.
func TestReplayCountsRefusedCases(t *testing.T) {
	log, yaml := writeLog(t, 4, 3)
	fake := startFake(t)
	sh := newShell(fake)
	sh.mustRun(t, exitOK, "spec", "apply", yaml)
	sh.mustRun(t, exitOK, "instance", "init", "p", "c1")
	out := sh.mustRun(t, exitFailed, replayArgs(log)...)
	r := parseReplay(t, out)
	if r.Cases != 4 || r.Events != 12 || r.OK != 9 || r.Errors != 3 {
		t.Errorf("summary %+v", r)
	}
	for _, want := range []string{`case "c1" stopped at its initialisation`, "3 events not recorded"} {
		if !strings.Contains(sh.stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, sh.stderr.String())
		}
	}
	if strings.Contains(sh.stderr.String(), "c2") {
		t.Errorf("stderr complains about a good case:\n%s", sh.stderr.String())
	}
}

// A step of another writer in the middle of a case is found by expected_seq.
func TestReplayNamesTheEventThatIsRefused(t *testing.T) {
	log, yaml := writeLog(t, 1, 3)
	fake := startFake(t)
	sh := newShell(fake)
	sh.mustRun(t, exitOK, "spec", "apply", yaml)
	sh.mustRun(t, exitOK, replayArgs(log)...)
	fake.mu.Lock()
	// The cluster forgets the last step's request, and another writer took its place.
	delete(fake.requests, replayRequestID("default", "p", "c0", 4))
	fake.mu.Unlock()
	r := parseReplay(t, sh.mustRun(t, exitFailed, replayArgs(log)...))
	if r.OK != 2 || r.Errors != 1 {
		t.Errorf("summary %+v", r)
	}
	if !strings.Contains(sh.stderr.String(), `case "c0" stopped at event 3 (line 4)`) {
		t.Errorf("stderr:\n%s", sh.stderr.String())
	}
}

// A cluster that stays away ends the replay within the time limit of a request.
func TestReplayGivesUpWhenTheClusterStaysAway(t *testing.T) {
	log, yaml := writeLog(t, 20, 2)
	fake := startFake(t)
	sh := newShell(fake)
	sh.mustRun(t, exitOK, "spec", "apply", yaml)
	fake.refuseBatch = func(n int) error {
		if n > 4 {
			return refusal(codes.Unavailable, typesv1.Reason_REASON_NO_LEADER, "no leader")
		}
		return nil
	}
	out := sh.mustRun(t, exitFailed, replayArgs(log, "--timeout", "300ms", "--concurrency", "2")...)
	if out != "" {
		t.Errorf("a summary of a broken replay: %s", out)
	}
	if !strings.Contains(sh.stderr.String(), "run the same command again") || !strings.Contains(sh.stderr.String(), "no leader") {
		t.Errorf("stderr:\n%s", sh.stderr.String())
	}
	fake.refuseBatch = nil
	r := parseReplay(t, sh.mustRun(t, exitOK, replayArgs(log)...))
	if r.OK != 40 {
		t.Errorf("summary after going on %+v", r)
	}
	fake.histories(t, 20, 2)
}

// Verdicts that stay pending are counted as pending, and never twice.
func TestReplayPendingVerdicts(t *testing.T) {
	log, yaml := writeLog(t, 3, 2)
	fake := startFake(t)
	sh := newShell(fake)
	sh.mustRun(t, exitOK, "spec", "apply", yaml)
	sh.mustRun(t, exitOK, "instance", "init", "p", "teacher")
	sh.mustRun(t, exitOK, "model", "seal", "p")
	fake.pending = 3
	r := parseReplay(t, sh.mustRun(t, exitOK, replayArgs(log)...))
	if r.Pending != 0 || r.DeviationStillEquivalent+r.DeviationNotEquivalent != 6 {
		t.Errorf("summary %+v", r)
	}
	if r := parseReplay(t, sh.mustRun(t, exitNo, replayArgs(log, "--fail-on-deviation")...)); r.Events != 6 {
		t.Errorf("summary %+v", r)
	}
}

func TestReplayRequestIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			namespace, spec, instance string
			position                  uint64
		}
		gen := rapid.Custom(func(t *rapid.T) key {
			text := rapid.StringMatching(`[ab:]{0,3}`)
			return key{text.Draw(t, "namespace"), text.Draw(t, "spec"), text.Draw(t, "instance"), rapid.Uint64Range(0, 300).Draw(t, "position")}
		})
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		idA := replayRequestID(a.namespace, a.spec, a.instance, a.position)
		idB := replayRequestID(b.namespace, b.spec, b.instance, b.position)
		if (idA == idB) != (a == b) {
			t.Fatalf("%+v has %s, %+v has %s", a, idA, b, idB)
		}
		parsed, err := uuid.Parse(idA)
		if err != nil || parsed.Version() != 8 || parsed.Variant() != uuid.RFC4122 {
			t.Fatalf("%s: version %d, variant %v, %v", idA, parsed.Version(), parsed.Variant(), err)
		}
	})
}

// The ids are a promise to logs that were replayed by an older release.
func TestReplayRequestIDsStayTheSame(t *testing.T) {
	got := []string{
		replayRequestID("default", "order", "o1", 1),
		replayRequestID("default", "order", "o1", 2),
		replayRequestID("default", "order", "o2", 1),
	}
	want := strings.Fields(string(golden(t, "testdata/request_ids.txt", []byte(strings.Join(got, "\n")+"\n"))))
	if !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
}

// golden returns the content of a golden file, which -update makes got.
func golden(t *testing.T, path string, got []byte) []byte {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}
