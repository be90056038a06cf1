package cluster

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestFormingTimelines runs what happens to real clusters at first boot. want
// is the state a minute of (fake) time after each step.
func TestFormingTimelines(t *testing.T) {
	type step struct {
		do   func(s *sim)
		want string
	}
	up := func(names ...string) func(*sim) {
		return func(s *sim) {
			for _, n := range names {
				s.start(n)
			}
		}
	}
	down := func(name string) func(*sim) { return func(s *sim) { s.kill(name) } }
	for name, steps := range map[string][]step{
		"all at once": {{up("a", "b", "c"), "a formed, b pledged, c pledged; 1 formed"}},
		"a late third": {
			{up("a", "b"), "a waits, b waits; 0 formed"},
			{up("c"), "a formed, b pledged, c pledged; 1 formed"},
		},
		"the lowest comes last": {
			{up("b", "c"), "b waits, c waits; 0 formed"},
			{up("a"), "a formed, b pledged, c pledged; 1 formed"},
		},
		"one too many": {
			{func(s *sim) { up("a", "b")(s); s.hide("a", "c", true); s.hide("a", "d", true); up("c", "d")(s) }, "a waits, b waits, c waits, d waits; 0 formed"},
			{func(s *sim) { s.hide("a", "c", false); s.hide("a", "d", false) }, "a waits, b waits, c waits, d waits; 0 formed"},
			{down("d"), "a formed, b pledged, c pledged, d down; 1 formed"},
			{up("d"), "a formed, b pledged, c pledged, d joined; 1 formed"},
		},
		"restart between pledge and bootstrap": {
			{func(s *sim) {
				s.node("a").crashIn = 3 // identity, pledge, catalog
				up("a", "b", "c")(s)
			}, "a down, b waits, c waits; 0 formed"},
			{func(s *sim) { down("a")(s); up("a")(s) }, "a formed, b pledged, c pledged; 1 formed"},
		},
		"restart between bootstrap and noting it": {
			{func(s *sim) {
				s.node("a").crashIn, s.node("a").crashAfter = 3, true
				up("a", "b", "c")(s)
			}, "a down, b waits, c waits; 1 formed"},
			{func(s *sim) { down("a")(s); up("a")(s) }, "a formed, b pledged, c pledged; 1 formed"},
		},
		"lost disk after forming joins": { // O7: wipe pod-0
			{up("a", "b", "c"), "a formed, b pledged, c pledged; 1 formed"},
			{func(s *sim) { down("a")(s); s.wipe("a"); up("a")(s) }, "a joined, b pledged, c pledged; 1 formed"},
		},
		"all but one lose their disks": {
			{up("a", "b", "c"), "a formed, b pledged, c pledged; 1 formed"},
			{func(s *sim) {
				for _, n := range []string{"a", "b", "c"} {
					down(n)(s)
				}
				s.wipe("a")
				s.wipe("b")
				up("a", "b")(s)
			}, "a waits, b waits, c down; 1 formed"},
			{up("c"), "a joined, b joined, c restarted; 1 formed"},
		},
		"a member is replaced after it pledged": {
			{func(s *sim) {
				s.node("a").crashIn = 3
				up("a", "b", "c")(s)
			}, "a down, b waits, c waits; 0 formed"},
			{func(s *sim) { down("a")(s); s.wipe("a"); up("a")(s) }, "a waits, b waits, c waits; 0 formed"},
			// What the log line says: stop the pledged ones and empty them.
			{func(s *sim) {
				for _, n := range []string{"b", "c"} {
					down(n)(s)
					s.wipe(n)
					up(n)(s)
				}
			}, "a formed, b pledged, c pledged; 1 formed"},
		},
		"settings that differ are mended by a restart": {
			{func(s *sim) { s.node("b").shards = 8; up("a", "b", "c")(s) }, "a waits, b waits, c waits; 0 formed"},
			{func(s *sim) { down("b")(s); s.node("b").shards = 0; up("b")(s) }, "a formed, b pledged, c pledged; 1 formed"},
		},
		"a partition heals": {
			{func(s *sim) { s.hide("a", "c", true); s.hide("b", "c", true); up("a", "b", "c")(s) }, "a waits, b waits, c waits; 0 formed"},
			{func(s *sim) { s.hide("a", "c", false) }, "a waits, b waits, c waits; 0 formed"},
			{func(s *sim) { s.hide("b", "c", false) }, "a formed, b pledged, c pledged; 1 formed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			broken := runSim(t, 1, 3, func(s *sim) {
				for i, st := range steps {
					st.do(s)
					time.Sleep(time.Minute)
					if got := s.state(); got != st.want {
						s.fail("step %d: %s\nwant %s", i+1, got, st.want)
					}
				}
			})
			if len(broken) > 0 {
				t.Error(strings.Join(broken, "\n"))
			}
		})
	}
}

// fault is one thing that goes wrong in TestNeverTwoClusters.
type fault struct {
	kind       string
	node, with string
	n, ms      int
}

func faultGen(names []string) *rapid.Generator[fault] {
	return rapid.Custom(func(t *rapid.T) fault {
		return fault{
			kind: rapid.SampledFrom([]string{"start", "start", "kill", "crash before", "crash after", "fail writes", "hide", "show", "loss", "calm"}).Draw(t, "kind"),
			node: rapid.SampledFrom(names).Draw(t, "node"),
			with: rapid.SampledFrom(names).Draw(t, "with"),
			n:    rapid.IntRange(1, 4).Draw(t, "n"),
			ms:   rapid.IntRange(0, 1500).Draw(t, "ms"),
		}
	})
}

func (s *sim) inflict(f fault) {
	if f.kind == "start" || f.kind == "kill" {
		s.kill(f.node) // also clears away what died in a write
		if f.kind == "start" {
			s.start(f.node)
		}
	}
	if f.kind == "hide" || f.kind == "show" {
		s.hide(f.node, f.with, f.kind == "hide" && f.node != f.with)
	}
	s.mu.Lock()
	n := s.node(f.node)
	switch f.kind {
	case "crash before", "crash after":
		n.crashIn, n.crashAfter = f.n, f.kind == "crash after"
	case "fail writes":
		n.failWrites = f.n
	case "loss":
		s.loss = float64(f.n) * 0.2
	case "calm":
		s.loss = 0
	}
	s.mu.Unlock()
	time.Sleep(time.Duration(f.ms) * time.Millisecond)
}

// heal ends all faults and starts what is down.
func (s *sim) heal(names []string) {
	s.mu.Lock()
	s.loss = 0
	clear(s.hidden)
	for _, n := range s.nodes {
		n.crashIn, n.failWrites = 0, 0
	}
	s.mu.Unlock()
	for _, name := range names {
		s.mu.Lock()
		p := s.node(name).proc
		gone := p == nil || p.dead
		s.mu.Unlock()
		if gone {
			s.kill(name)
			s.start(name)
		}
	}
}

// TestNeverTwoClusters: whatever crashes, is lost or fails, there is one
// cluster at most; and once the faults stop with all servers up there is one,
// and all belong to it.
func TestNeverTwoClusters(t *testing.T) {
	formedEarly, runs := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(1, 5).Draw(rt, "nodes")]
		faults := rapid.SliceOfN(faultGen(names), 0, 40).Draw(rt, "faults")
		seed := rapid.Uint64().Draw(rt, "seed")
		broken := runSim(t, seed, len(names), func(s *sim) {
			for _, n := range names {
				if seed>>len(n)&1 == 0 {
					s.start(n)
				}
			}
			for _, f := range faults {
				s.inflict(f)
			}
			if s.clusters() > 0 {
				formedEarly++
			}
			s.heal(names)
			for waited := 0; ; waited++ {
				got := s.state()
				if !strings.Contains(got, "waits") && !strings.Contains(got, "down") {
					break
				}
				if waited == 300 {
					s.fail("five minutes after the faults: %s", got)
					break
				}
				time.Sleep(time.Second)
			}
			s.checkOneCluster()
		})
		runs++
		if len(broken) > 0 {
			rt.Fatal(strings.Join(broken, "\n"))
		}
	})
	t.Logf("a cluster was formed amid the faults in %d of %d runs", formedEarly, runs)
	if formedEarly == 0 || formedEarly == runs {
		t.Error("the faults never, or always, leave time to form: they test nothing")
	}
}

// TestOverlappingListsNeverBothForm: more servers than are expected, but fewer
// than two lists' worth, see each other in changing groups. Any two lists share a
// server, and its one pledge is all that keeps two clusters from forming.
func TestOverlappingListsNeverBothForm(t *testing.T) {
	formed, runs := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		expect := rapid.IntRange(2, 3).Draw(rt, "expect")
		names := []string{"a", "b", "c", "d", "e"}[:2*expect-1]
		seed := rapid.Uint64().Draw(rt, "seed")
		faults := rapid.SliceOfN(faultGen(names), 5, 30).Draw(rt, "faults")
		broken := runSim(t, seed, expect, func(s *sim) {
			for i, n := range names {
				// Everybody starts in a group of its own.
				for _, m := range names[:i] {
					s.hide(m, n, true)
				}
				s.start(n)
			}
			for _, f := range faults {
				// Groups come and go: who sees whom is drawn anew from the two names.
				if f.ms%3 > 0 {
					s.regroup(names, f.n+f.ms, expect)
				}
				s.inflict(f)
			}
			if s.clusters() > 0 {
				formed++
			}
		})
		runs++
		if len(broken) > 0 {
			rt.Fatal(strings.Join(broken, "\n"))
		}
	})
	t.Logf("a cluster was formed in %d of %d runs", formed, runs)
	if formed == 0 {
		t.Error("the groups never form anything: they test nothing")
	}
}

// regroup lets a run of servers, in a ring of the names, see each other and
// nobody else.
func (s *sim) regroup(names []string, from, size int) {
	in := map[string]bool{}
	for i := range size {
		in[names[(from+i)%len(names)]] = true
	}
	for i, a := range names {
		for _, b := range names[:i] {
			s.hide(a, b, !in[a] || !in[b])
		}
	}
}
