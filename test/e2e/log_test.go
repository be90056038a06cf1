//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/client"
)

// eventLog is a generated log of a loan process: what every case did, in order.
type eventLog struct {
	path  string
	cases []string
	steps map[string][]string
}

// process is the follows-relation that cases walk along; "" ends a case.
var process = map[string][]string{
	"":          {"apply"},
	"apply":     {"check", "check", "withdraw"},
	"check":     {"approve", "reject", "ask", "approve"},
	"ask":       {"check", "withdraw"},
	"approve":   {"sign", "withdraw"},
	"sign":      {"pay out"},
	"pay out":   {"remind", "repay"},
	"remind":    {"remind", "repay", "write off"},
	"withdraw":  {""},
	"reject":    {""},
	"repay":     {""},
	"write off": {""},
}

// writeLog generates a log from a seed. The rows of cases that overlap in time
// are mixed, as in a real log. With odd set, the last cases now and then skip a step.
func writeLog(t *testing.T, dir string, seed uint64, cases, odd int) eventLog {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	log := eventLog{path: filepath.Join(dir, fmt.Sprintf("log-%d.csv", seed)), steps: map[string][]string{}}
	var rows []string
	at := time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC)
	for i := range cases {
		id := fmt.Sprintf("loan %d/%d", seed, i)
		log.cases = append(log.cases, id)
		steps := walk(rng)
		if i >= cases-odd && len(steps) > 3 {
			steps = append(steps[:1:1], steps[2:]...)
		}
		log.steps[id] = steps
		for k, activity := range steps {
			rows = append(rows, fmt.Sprintf("%s,%s,%s", id, activity, at.Add(time.Duration(i)*time.Minute+time.Duration(k)*7*time.Minute).Format(time.RFC3339)))
		}
	}
	text := "case,activity,time\n" + strings.Join(rows, "\n") + "\n"
	if err := os.WriteFile(log.path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return log
}

func walk(rng *rand.Rand) []string {
	var steps []string
	for at := ""; ; {
		next := process[at]
		at = next[rng.IntN(len(next))]
		if at == "" {
			return steps
		}
		steps = append(steps, at)
	}
}

func (l eventLog) events() int {
	n := 0
	for _, steps := range l.steps {
		n += len(steps)
	}
	return n
}

func (l eventLog) columns() []string {
	return []string{"--case", "case", "--activity", "activity", "--timestamp", "time"}
}

// checkHistories compares every case with what the cluster holds: each event
// once, in order, with gap-free sequence numbers.
func (l eventLog) checkHistories(t *testing.T, c *client.Client, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, id := range l.cases {
		var got []string
		seq := uint64(0)
		for step, err := range c.History(ctx, prefix+id) {
			if err != nil {
				t.Fatalf("history of %q: %v", prefix+id, err)
			}
			if seq++; step.GetSeq() != seq {
				t.Fatalf("history of %q: seq %d where %d was due", prefix+id, step.GetSeq(), seq)
			}
			got = append(got, step.GetAction())
		}
		want := append([]string{"__initialisation__"}, l.steps[id]...)
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("history of %q:\n got %q\nwant %q", prefix+id, got, want)
		}
	}
}
