package drill

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// beats are the acknowledged writes of a shard, at these milliseconds.
func beats(shard uint32, at ...int) []Operation {
	var ops []Operation
	for _, n := range at {
		ops = append(ops, Operation{Kind: Step, Outcome: OK, Call: ms(n - 1), Return: ms(n), Answer: Answer{Exists: true, Shard: shard}})
	}
	return ops
}

func TestOutages(t *testing.T) {
	h := &History{Duration: ms(10_000)}
	h.Probes = append(beats(1, 100, 200, 300, 1500, 1600, 5000, 9900), beats(2, 100, 200, 300, 400, 2500, 4900, 9990)...)
	h.Probes = append(h.Probes, Operation{Kind: Get, Outcome: OK, Return: ms(800), Answer: Answer{Shard: 1}}, // no write
		Operation{Kind: Step, Outcome: Unknown, Return: ms(900), Answer: Answer{Shard: 1}})
	faults := []Fault{
		{Kind: Kill, Node: "n1", Begin: ms(350), End: ms(600)},
		{Kind: Kill, Node: "n2", Begin: ms(5500), End: ms(5600), Error: "no such process"},
		{Kind: Pause, Node: "n2", Begin: ms(9950), End: ms(9960)},
	}
	got := Outages(h, faults)
	for i, want := range []struct {
		worst, median time.Duration
		shard         uint32
		open          bool
	}{
		// Shard 1 from 1600 to 5000, which began before the second fault.
		{ms(3400), ms(2400), 1, false},
		{ms(5050), ms(4900), 2, false},
		{ms(5090), ms(100), 2, false},
	} {
		if g := got[i]; g.Worst != want.worst || g.Median != want.median || g.Shard != want.shard || g.Open != want.open {
			t.Errorf("fault %d: %+v, want %+v", i, g, want)
		}
	}
	sums := Unavailabilities(got)
	if len(sums) != 2 || sums[0].Kind != Kill || sums[0].Rounds != 1 || sums[0].Worst != ms(3400) || sums[1].Kind != Pause {
		t.Errorf("%+v", sums)
	}
	// Nothing was written after the last fault.
	h.Probes = append(beats(1, 100, 200), beats(2, 100, 200, 300)...)
	if o := Outages(h, []Fault{{Begin: ms(150)}, {Begin: ms(900)}}); !o[0].Open || o[0].Worst != ms(700) || o[0].Shard != 1 {
		t.Errorf("%+v", o)
	}
}

func TestQuantile(t *testing.T) {
	list := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.2: 1, 0.5: 3, 0.9: 5, 1: 5} {
		if got := Quantile(list, q); got != want {
			t.Errorf("the %v quantile is %d, want %d", q, got, want)
		}
	}
	if Quantile(nil, 0.5) != 0 || list[0] != 5 {
		t.Error("an empty list has no quantile, and a full one stays as it is")
	}
}

func TestReport(t *testing.T) {
	s := tell()
	good := NewReport(&s.h, Check(&s.h, &s.final), []Fault{{Kind: Kill, Node: "n1", Begin: ms(50), End: ms(60), Whole: ms(90)}})
	var text bytes.Buffer
	if err := good.WriteText(&text); err != nil || !strings.Contains(text.String(), "Every promise was kept") || !strings.Contains(text.String(), "kill   n1") {
		t.Errorf("%v\n%s", err, text.String())
	}
	text.Reset()
	some := NewReport(&s.h, Check(&s.h, &s.final), []Fault{{Kind: Kill, Node: "n1", Error: "no such process"}, {Kind: Kill, Node: "n2"}})
	want := "THE DRILL WAS NOT HELD AS ASKED: 1 of 2 faults could not be made, the last of them: no such process."
	if err := some.WriteText(&text); err != nil || !strings.Contains(text.String(), want) || !some.OK || good.Incomplete != "" {
		t.Errorf("%v\n%s", err, text.String())
	}
	s.op(3).Answer = Answer{}
	bad := NewReport(&s.h, Check(&s.h, &s.final), nil)
	text.Reset()
	if err := bad.WriteText(&text); err != nil || !strings.Contains(text.String(), "PROMISES ARE BROKEN") || !strings.Contains(text.String(), "linearizable: hero") {
		t.Errorf("%v\n%s", err, text.String())
	}
	if bad.OK || len(bad.Violations) == 0 || bad.Counts.Operations != len(s.h.Operations) {
		t.Errorf("%+v", bad)
	}
}

func TestScheduleValidate(t *testing.T) {
	nodes := fakeBreaker{"n1"}
	for want, c := range map[string]struct {
		s Schedule
		b Breaker
	}{
		"no kind of fault":  {Schedule{}, nodes},
		"no fault \"trip\"": {Schedule{Kinds: []FaultKind{"trip"}}, nodes},
		"no node to break":  {Schedule{Kinds: []FaultKind{Kill}}, fakeBreaker{}},
		"is negative":       {Schedule{Kinds: []FaultKind{Kill}, Hold: -1}, nodes},
	} {
		if err := c.s.Validate(c.b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	for want, c := range map[string]Config{
		"Addresses is empty":              {},
		"Groups is 1000":                  {Addresses: []string{"a:1"}, Groups: 1000},
		"leave one that can":              {Addresses: []string{"a:1"}, Clients: 3, Pinned: 3},
		"Think or ProbeSteps is negative": {Addresses: []string{"a:1"}, Think: -1},
		"InstanceOps is 1000":             {Addresses: []string{"a:1"}, InstanceOps: 1000},
	} {
		if _, err := NewWorkload(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// fakeBreaker has nodes.
type fakeBreaker []string

func (b fakeBreaker) Nodes() []string                              { return b }
func (fakeBreaker) Break(context.Context, string, FaultKind) error { return nil }
func (fakeBreaker) Mend(context.Context, string, FaultKind) error  { return nil }
