package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clockLab is a node's clock among peers whose clocks the test sets.
type clockLab struct {
	*clock
	text bytes.Buffer
	// at is the real time; ahead is by how much each clock is ahead of it, the
	// node's own under "". A peer in down does not answer.
	at    time.Duration
	ahead map[string]time.Duration
	down  map[string]bool
	known bool
}

var clockStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newClockLab(peers ...string) *clockLab {
	l := &clockLab{ahead: map[string]time.Duration{}, down: map[string]bool{}, known: true}
	l.clock = &clock{
		wall: func() time.Time { return clockStart.Add(l.at + l.ahead[""]) }, mono: func() time.Duration { return l.at },
		peers: func() ([]string, bool) { return peers, l.known },
		ask: func(_ context.Context, node string) (time.Time, error) {
			if l.down[node] {
				return time.Time{}, errors.New("down")
			}
			return clockStart.Add(l.at + l.ahead[node]), nil
		},
		log: slog.New(slog.NewTextHandler(&l.text, nil)), jumped: newWake(),
	}
	return l
}

// stamp is how far the time for entries is from the real one.
func (l *clockLab) stamp() time.Duration { return l.Now().Sub(clockStart.Add(l.at)) }

func (l *clockLab) want(t *testing.T, what string, reliable bool, stamp time.Duration) {
	t.Helper()
	if got := l.reliable(); got != reliable || l.stamp() != stamp {
		t.Errorf("%s: reliable is %t, entries are %s ahead; want %t, %s", what, got, l.stamp(), reliable, stamp)
	}
}

func TestClockOfOneNodeThatIsSet(t *testing.T) {
	l := newClockLab("b", "c")
	ctx := t.Context()
	l.known = false
	if l.measure(ctx) {
		t.Error("it measured before it knew its peers")
	}
	l.want(t, "before a measurement", false, 0)
	l.known = true
	l.measure(ctx)
	l.want(t, "all agree", true, 0)
	if offset, alarm := l.status(); offset == nil || *offset != 0 || alarm != "" {
		t.Errorf("status %v, %q", offset, alarm)
	}
	l.ahead[""] = 5 * time.Second
	l.at += time.Second
	l.measure(ctx)
	l.want(t, "five seconds are allowed", true, 5*time.Second)

	// Set forward between two measurements: that is seen at once.
	l.at += time.Second
	l.ahead[""] = time.Hour
	l.want(t, "set and not measured", false, 5*time.Second)
	select {
	case <-l.jumped:
	default:
		t.Error("nobody was woken to measure")
	}
	l.measure(ctx)
	l.at += time.Minute
	l.want(t, "measured", false, 0)
	offset, alarm := l.status()
	if offset == nil || *offset != int64(time.Hour) || !strings.Contains(alarm, "1h0m0s ahead of the median") {
		t.Errorf("status %v, %q", offset, alarm)
	}
	l.measure(ctx)
	if n := strings.Count(l.text.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged, want one:\n%s", n, l.text.String())
	}
	// Nobody answers: what was known stays.
	l.down["b"], l.down["c"] = true, true
	l.ahead[""] = 0
	if l.measure(ctx) {
		t.Error("nobody answered, and something was measured")
	}
	l.want(t, "mended, not measured", false, 0)
	l.down["c"] = false
	l.measure(ctx)
	l.want(t, "mended", true, 0)
	if !strings.Contains(l.text.String(), "agrees with its peers again") {
		t.Errorf("the end is not logged:\n%s", l.text.String())
	}
	l.ahead[""] = -time.Hour
	l.measure(ctx)
	l.want(t, "behind the only one that answers", false, -time.Hour)
	l.down["b"] = false
	l.measure(ctx)
	l.want(t, "behind", false, 0)
	if _, alarm := l.status(); !strings.Contains(alarm, "1h0m0s behind the median") {
		t.Errorf("alarm %q", alarm)
	}
}

// A healthy node does not mind that one of its peers is off.
func TestClockOfAnotherNode(t *testing.T) {
	l := newClockLab("b", "c")
	l.ahead["b"] = time.Hour
	l.measure(t.Context())
	l.want(t, "one of three is off", true, 0)
	l.down["c"] = true
	l.at += time.Second
	l.measure(t.Context())
	l.want(t, "one of the two that are left is off, nobody knows which: the earlier counts", false, 0)
	l.down["c"] = false
	l.measure(t.Context())
	l.want(t, "the third is back", true, 0)
}

// All clocks are set by the same: the cluster goes on with it.
func TestClocksThatAreSetTogether(t *testing.T) {
	l := newClockLab("b", "c")
	l.measure(t.Context())
	for _, n := range []string{"", "b", "c"} {
		l.ahead[n] = time.Hour
	}
	l.want(t, "not measured", false, 0)
	l.measure(t.Context())
	l.want(t, "measured", true, time.Hour)
}

func TestClockOfALoneNode(t *testing.T) {
	l := newClockLab()
	l.measure(t.Context())
	l.ahead[""] = -time.Hour
	l.measure(t.Context())
	l.want(t, "it has only its own clock to go by", true, -time.Hour)

	cut := newClockLab("b")
	cut.down["b"] = true
	cut.measure(t.Context())
	cut.want(t, "no answer since the start", true, 0)
}

// With any clocks: entries of nodes that agree with a majority are stamped within
// the bound of that majority, and a node with a right clock is never stopped by a
// minority of wrong ones.
func TestAMinorityOfWrongClocks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "half")
		var peers []string
		for i := range 2 * n {
			peers = append(peers, fmt.Sprint("p", i))
		}
		l := newClockLab(peers...)
		wrong := rapid.Permutation(append([]string{""}, peers...)).Draw(rt, "nodes")[:rapid.IntRange(0, n).Draw(rt, "wrong")]
		for _, p := range wrong {
			l.ahead[p] = time.Duration(rapid.IntRange(-1e6, 1e6).Draw(rt, "ahead")) * time.Millisecond
		}
		l.measure(t.Context())
		l.at += time.Second
		off := l.ahead[""].Abs() > maxClockOffset
		if l.reliable() == off {
			rt.Fatalf("%s ahead, with %v: reliable is %t", l.ahead[""], l.ahead, !off)
		}
		if l.stamp().Abs() > maxClockOffset {
			rt.Fatalf("entries are stamped %s ahead, with %v", l.stamp(), l.ahead)
		}
	})
}

func TestManyPeersAreAskedInTurn(t *testing.T) {
	var peers []string
	for i := range 3 * clockPeers {
		peers = append(peers, fmt.Sprint("p", i))
	}
	l := newClockLab(peers...)
	asked := map[string]bool{}
	for range 3 {
		list, _ := l.next()
		if len(list) != clockPeers {
			t.Fatalf("%d peers are asked at a time", len(list))
		}
		for _, p := range list {
			asked[p] = true
		}
	}
	if len(asked) != len(peers) {
		t.Errorf("%d of %d peers were asked", len(asked), len(peers))
	}
}
