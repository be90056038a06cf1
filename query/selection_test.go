package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

var begun = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// machine is a shard with one specification, and the log that feeds it.
type machine struct {
	rapid.TB
	*fsm.Shard
	index uint64
	now   time.Time
}

func newMachine(t rapid.TB) *machine {
	m := &machine{TB: t, Shard: fsm.NewShard(), now: begun}
	payload, _, err := fsm.NewPayload(&statev1.SpecificationContent{Model: &statev1.ModelContent{}, Specification: &typesv1.Specification{
		Name: "order", InitialState: "new", Transitions: []*typesv1.Transition{{From: "new", Action: "pay", To: "paid"}, {From: "paid", Action: "ship", To: "done"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.do(&statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
		Spec: &statev1.SpecKey{Namespace: "default", Name: "order", Version: 1}, Payload: payload,
		Mode: typesv1.ModelMode_MODEL_MODE_LEARNING, ModeRevision: 1,
	}}})
	return m
}

func (m *machine) do(cmds ...*statev1.Command) {
	m.Helper()
	m.index++
	data, err := proto.Marshal(&statev1.Entry{FeatureLevel: fsm.FeatureLevel, TimeUnixNano: m.now.UnixNano(), Commands: cmds})
	if err != nil {
		m.Fatal(err)
	}
	results, err := m.Apply(m.index, data)
	if err != nil {
		m.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			m.Fatal(r.Err)
		}
	}
}

func key(id string) *statev1.Key { return &statev1.Key{Namespace: "default", Id: id} }

func initialise(id string, meta map[string]string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{Key: key(id), Spec: "order", SpecVersion: 1, Meta: meta}}}
}

func step(id, action, to string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_Step{Step: &statev1.Step{Key: key(id), Action: action, ToState: to}}}
}

func remove(id string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_DeleteInstance{DeleteInstance: &statev1.DeleteInstance{Key: key(id)}}}
}

func never() bool { return false }

func selecting(t rapid.TB, where string) *Selection {
	t.Helper()
	s := &Selection{Namespace: "default"}
	if where != "" {
		var err error
		if s.Where, err = Compile(where); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func ids(p Page) (list []string) {
	for _, v := range p.Matched {
		list = append(list, v.Key.ID)
	}
	return list
}

func TestSelections(t *testing.T) {
	m := newMachine(t)
	m.do(initialise("a", map[string]string{"customer": "acme"}), initialise("b", nil), initialise("c", map[string]string{"customer": "other"}))
	m.now = m.now.Add(time.Hour)
	m.do(step("b", "pay", "paid"), step("c", "pay", "paid"))
	m.do(step("c", "ship", "done"))
	now := m.now.Add(30 * time.Minute)
	for _, tc := range []struct {
		name  string
		s     *Selection
		stuck time.Duration
		want  string
		// examined and unevaluated are what the page says.
		examined, unevaluated int
	}{
		{"everything", selecting(t, ""), 0, "a b c", 0, 0},
		{"by state", selecting(t, `state == "paid"`), 0, "b", 3, 0},
		{"by age", selecting(t, `age > duration("1h")`), 0, "a", 3, 0},
		{"by a time", selecting(t, `updated == timestamp("2026-01-01T01:00:00Z")`), 0, "b c", 3, 0},
		{"by meta, of which one has none", selecting(t, `meta.customer == "acme"`), 0, "a", 3, 1},
		{"the same, asking before", selecting(t, `has(meta.customer) && meta.customer == "acme"`), 0, "a", 3, 0},
		{"terminal", selecting(t, `terminal`), 0, "c", 3, 0},
		{"stuck", selecting(t, ""), 10 * time.Minute, "a b", 3, 0},
		{"stuck for long", selecting(t, ""), time.Hour, "a", 3, 0},
		{"at exactly the age", selecting(t, ""), 30 * time.Minute, "a", 3, 0},
		{"stuck, and more", selecting(t, `seq == 2`), 10 * time.Minute, "b", 3, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := *tc.s
			s.Stuck = tc.stuck
			p, err := s.Examine(m.Shard, now, "", 10, never)
			if err != nil || p.More || strings.Join(ids(p), " ") != tc.want || p.Examined != tc.examined || p.Unevaluated != tc.unevaluated {
				t.Errorf("got %v, %+v, %v, want %q", ids(p), p, err, tc.want)
			}
			if (p.Problem != "") != (p.Unevaluated > 0) || p.Unevaluated > 0 && !strings.Contains(p.Problem, `"b"`) {
				t.Errorf("the problem is %q", p.Problem)
			}
		})
	}

	t.Run("a clock that is behind the log", func(t *testing.T) {
		s := selecting(t, `age == duration("0s")`)
		if p, err := s.Examine(m.Shard, begun, "", 10, never); err != nil || strings.Join(ids(p), " ") != "b c" {
			t.Errorf("got %v, %v", ids(p), err)
		}
	})
	t.Run("a filter of the namespace", func(t *testing.T) {
		if p, err := (&Selection{Namespace: "other"}).Examine(m.Shard, now, "", 10, never); err != nil || len(p.Matched) != 0 || p.More {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

// TestPagesAreBounded: a page ends when it has cost enough or when it is told to
// stop, and the next one goes on behind it.
func TestPagesAreBounded(t *testing.T) {
	m := newMachine(t)
	const instances = 500
	var all []string
	for i := range instances {
		id := fmt.Sprintf("i%04d", i)
		all = append(all, id)
		m.do(initialise(id, map[string]string{"text": strings.Repeat("a", 5000)}))
	}
	for _, tc := range []struct {
		name  string
		s     *Selection
		stop  func() bool
		limit int
	}{
		{"by its size", selecting(t, "true"), never, 7},
		{"by its cost", selecting(t, `meta.text.matches("^(a|b)*$")`), never, instances},
		{"by the clock", selecting(t, "true"), func() bool { return true }, instances},
		{"without an expression", selecting(t, ""), never, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			pages, after := 0, ""
			for more := true; more; pages++ {
				p, err := tc.s.Examine(m.Shard, begun, after, tc.limit, tc.stop)
				if err != nil {
					t.Fatal(err)
				}
				if p.More && p.Last <= after {
					t.Fatalf("a page ended where it began, at %q", after)
				}
				got = append(got, ids(p)...)
				after, more = p.Last, p.More
			}
			if !slices.Equal(got, all) {
				t.Errorf("got %d instances in %d pages", len(got), pages)
			}
			if pages < 3 {
				t.Errorf("there were %d pages: nothing bounded them", pages)
			}
		})
	}
	t.Run("too expensive for one instance", func(t *testing.T) {
		_, err := selecting(t, `meta.all(a, meta[a].matches("(a|b){80}x"))`).Examine(m.Shard, begun, "", 10, never)
		if !errors.Is(err, ErrCost) || !strings.Contains(err.Error(), `"i0000"`) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPagesAreStable: whatever happens between pages, an instance that is there
// and matches all the time is found exactly once, and none is found twice.
func TestPagesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		id := rapid.Map(rapid.IntRange(0, 60), func(n int) string { return fmt.Sprintf("i%02d", n) })
		there := map[string]bool{}
		change := func(n int) {
			for range n {
				name := id.Draw(t, "id")
				switch {
				case !there[name]:
					m.do(initialise(name, nil))
				case rapid.Bool().Draw(t, "delete"):
					m.do(remove(name))
				default:
					m.do(step(name, "pay", "paid"))
					continue
				}
				there[name] = !there[name]
			}
		}
		change(rapid.IntRange(0, 80).Draw(t, "before"))
		steady := map[string]bool{}
		for name, ok := range there {
			steady[name] = ok
		}
		s := selecting(t, `state == "new" || state == "paid"`)
		if rapid.Bool().Draw(t, "without expression") {
			s.Where = nil
		}
		seen := map[string]int{}
		after := ""
		for {
			p, err := s.Examine(m.Shard, m.now, after, rapid.IntRange(1, 5).Draw(t, "page size"), never)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range ids(p) {
				if name <= after {
					t.Fatalf("%s came after %s", name, after)
				}
				seen[name]++
			}
			if after = p.Last; !p.More {
				break
			}
			change(rapid.IntRange(0, 4).Draw(t, "between"))
			for name := range steady {
				steady[name] = steady[name] && there[name]
			}
		}
		for name, ok := range steady {
			if ok && seen[name] != 1 {
				t.Fatalf("%s was there all the time and found %d times", name, seen[name])
			}
		}
		for name, n := range seen {
			if n > 1 {
				t.Fatalf("%s was found %d times", name, n)
			}
		}
	})
}
