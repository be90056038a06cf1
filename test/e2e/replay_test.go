//go:build e2e

package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var rounds = flag.Int("rounds", 0, "how often each kill is repeated; 0: once, and by TestReplaySurvivesKill 20 times (3 with -short)")

// roundsOr is what -rounds says, or what the test does otherwise.
func roundsOr(t *testing.T, otherwise int) int {
	t.Helper()
	if *rounds < 0 {
		t.Fatalf("-rounds %d is negative", *rounds)
	}
	return cmp.Or(*rounds, otherwise)
}

type summary struct {
	Cases           int `json:"cases"`
	Events          int `json:"events"`
	OK              int `json:"ok"`
	StillEquivalent int `json:"deviation_still_equivalent"`
	NotEquivalent   int `json:"deviation_not_equivalent"`
	Pending         int `json:"pending"`
	Errors          int `json:"errors"`
	Retries         int `json:"retries"`
	Seconds         float64
	EventsPerSecond float64 `json:"events_per_second"`
}

// learnLoans applies the discovered specification and seals the model that the
// first cases of the log give.
func learnLoans(t *testing.T, s *servers, log eventLog, cases int) {
	t.Helper()
	specFile := filepath.Join(s.dir, "loan.yaml")
	text := s.spex(append([]string{"spec", "discover", log.path, "--name", "loan", "--max-cases", fmt.Sprint(cases)}, log.columns()...)...)
	if err := os.WriteFile(specFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.spex("spec", "apply", specFile)
	s.spex(append([]string{"replay", log.path, "--spec", "loan", "--max-cases", fmt.Sprint(cases)}, log.columns()...)...)
	s.spex("model", "seal", "loan")
}

// TestMainJob is the way of a log through the cluster, and again: the second
// run and the one that was killed half way change nothing.
func TestMainJob(t *testing.T) {
	s := startServers(t, 3)
	log := writeLog(t, s.dir, 1, 400, 40)
	learnLoans(t, s, log, 300)
	c := s.dial()
	replay := append([]string{"replay", log.path, "--spec", "loan", "-o", "json", "--skip-cases", "300"}, log.columns()...)

	first := decode[summary](t, s.spex(replay...))
	if first.Cases != 100 || first.Errors != 0 || first.Pending != 0 {
		t.Fatalf("first run: %+v", first)
	}
	if first.NotEquivalent == 0 {
		t.Fatalf("no case that skips a step was told to deviate: %+v", first)
	}
	again := decode[summary](t, s.spex(replay...))
	first.Seconds, first.EventsPerSecond, again.Seconds, again.EventsPerSecond = 0, 0, 0, 0
	if first != again {
		t.Fatalf("the second run says %+v, the first said %+v", again, first)
	}
	log.checkHistories(t, c, "")

	killed := s.begin(append(replay, "--prefix", "half-", "--concurrency", "2")...)
	wait(300 * time.Millisecond)
	_ = killed.cmd.Process.Kill()
	killed.wait()
	rest := decode[summary](t, s.spex(append(replay, "--prefix", "half-")...))
	rest.Seconds, rest.EventsPerSecond = 0, 0
	if rest != first {
		t.Fatalf("after the killed run: %+v, want %+v", rest, first)
	}
	late := eventLog{cases: log.cases[300:], steps: log.steps}
	late.checkHistories(t, c, "half-")
	s.awaitAgreement(30 * time.Second)

	code := s.begin(append(replay, "--prefix", "fail-", "--fail-on-deviation")...).wait().code
	if code != 1 {
		t.Fatalf("--fail-on-deviation: exit status %d, want 1", code)
	}
}

// TestReplaySurvivesKill kills one server in the middle of a replay: the node
// that leads most shards, or the catalog's leader, in turn.
func TestReplaySurvivesKill(t *testing.T) {
	n := roundsOr(t, 20)
	if testing.Short() {
		n = roundsOr(t, 3)
	}
	s := startServers(t, 3)
	learn := writeLog(t, s.dir, 1000, 300, 0)
	learnLoans(t, s, learn, 300)
	c := s.dial()
	for round := range n {
		for _, victim := range []struct {
			what string
			find func() *node
		}{
			{"the node that leads most shards", s.busiest},
			{"the leader of the catalog", func() *node { return s.byID(s.status().Catalog.Leader) }},
		} {
			log := writeLog(t, s.dir, uint64(2000+round), 500, 50)
			prefix := fmt.Sprintf("r%d-%s-", round, victim.what[4:8])
			nd := victim.find()
			run := s.begin(append([]string{"replay", log.path, "--spec", "loan", "-o", "json", "--concurrency", "32", "--prefix", prefix}, log.columns()...)...)
			// The kills spread over the replay, which takes about a second when nothing fails.
			wait(time.Duration(100+round*53%600) * time.Millisecond)
			s.kill(nd)
			res := run.wait()
			if res.code != 0 {
				t.Fatalf("round %d, %s killed: replay ended with %d\n%s%s", round, victim.what, res.code, res.stdout, res.stderr)
			}
			sum := decode[summary](t, res.stdout)
			if sum.Errors != 0 || sum.Pending != 0 || sum.Events != log.events() || sum.OK+sum.StillEquivalent+sum.NotEquivalent != sum.Events {
				t.Fatalf("round %d, %s killed: %+v, want %d events", round, victim.what, sum, log.events())
			}
			log.checkHistories(t, c, prefix)
			s.start(nd)
			s.awaitReady(nd, 30*time.Second)
			s.awaitAgreement(30 * time.Second)
			t.Logf("round %d, %s (%s) killed: %d events in %.1f s", round, victim.what, nd.name, sum.Events, sum.Seconds)
		}
	}
}
