package fsm

import (
	"testing"
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// stepAs sends one more step with a request id, and says how it was answered.
func (l *log) stepAs(id string) string {
	l.Helper()
	res := l.entry(stepCommand(key1, "pay", "paid", &statev1.Step{RequestId: id}))[0]
	switch v, _ := res.Value.(*StepResult); {
	case res.Err != nil:
		return res.Err.Reason.String()
	case v.Duplicate:
		return "duplicate"
	}
	return "applied"
}

const unknown = "REASON_OUTCOME_UNKNOWN"

// A window that is full forgets the oldest request, and then answers every id
// that could be one it has forgotten with OUTCOME_UNKNOWN: never applied twice.
func TestWindowEvictsByCount(t *testing.T) {
	l, s := newOrders(t, learning)
	id := func(i int) string { return requestID(base.Add(time.Duration(i)*time.Millisecond), i) }
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: id(0)}))
	for i := range MaxRemembered {
		if got := l.stepAs(id(i + 1)); got != "applied" {
			t.Fatalf("step %d: %s", i+1, got)
		}
	}
	if n := len(s.record(key1).window.entries); n != MaxRemembered {
		t.Fatalf("%d requests are remembered", n)
	}
	// The initialisation is remembered by the instance itself.
	res := l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: id(0)})).(*StepResult)
	if !res.Duplicate || res.Ref.Seq != 1 || res.Verdict != ok {
		t.Errorf("got %+v", res)
	}
	for _, c := range []struct{ id, want string }{
		{id(1), "duplicate"},
		{id(MaxRemembered), "duplicate"},
		{requestID(base, 99), unknown},                               // as old as the one that is forgotten
		{requestID(base.Add(time.Millisecond), 99), "applied"},       // pushes out id(1)
		{id(1), unknown},                                             // which was applied
		{requestID(base.Add(time.Millisecond), 98), unknown},         // and one that may have been
		{id(2), "duplicate"},                                         //
		{requestID(base.Add(time.Millisecond), 99), "duplicate"},     //
		{requestID(base.Add(time.Hour), 1), "applied"},               // newer than all
		{"no-time-in-it", "applied"},                                 //
		{"no-time-in-it", "duplicate"},                               //
		{requestID(base.Add(-DedupeWindow-time.Second), 1), unknown}, // older than the window
	} {
		if got := l.stepAs(c.id); got != c.want {
			t.Errorf("%s: %s, not %s", c.id, got, c.want)
		}
	}
	if v, _ := s.Instance(key1); v.Seq != 1+MaxRemembered+3 {
		t.Errorf("seq %d", v.Seq)
	}
}

// By time the window forgets what is more than a day old, but never the last 64.
func TestWindowEvictsByTime(t *testing.T) {
	l, s := newOrders(t, learning)
	id := func(i int) string { return requestID(base.Add(time.Duration(i)*time.Minute), i) }
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "begin"}))
	for i := range 100 {
		l.now = base.Add(time.Duration(i) * time.Minute)
		l.stepAs(id(i))
	}
	l.now = base.Add(DedupeWindow + 50*time.Minute)
	if got := l.stepAs(requestID(l.now, 1)); got != "applied" {
		t.Fatal(got)
	}
	// The initialisation and the first 38 of 102 requests had to go at least; they
	// were old enough.
	if n := len(s.record(key1).window.entries); n != MinRemembered {
		t.Fatalf("%d requests are remembered", n)
	}
	for i, want := range map[int]string{0: unknown, 36: unknown, 37: "duplicate", 49: "duplicate", 50: "duplicate", 99: "duplicate"} {
		if got := l.stepAs(id(i)); got != want {
			t.Errorf("request %d: %s, not %s", i, got, want)
		}
	}
	l.now = base.Add(10 * DedupeWindow)
	if got := l.stepAs(requestID(l.now, 2)); got != "applied" {
		t.Fatal(got)
	}
	if got := l.stepAs(id(99)); got != "duplicate" {
		t.Errorf("one of the last 64: %s", got)
	}
}

// The steps of an instance push the request that began it out of the window. A
// late retry must not begin the instance again after it was deleted.
func TestDeletedInstanceRemembersItsInit(t *testing.T) {
	l, s := newOrders(t, learning)
	begin := initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "begin"})
	l.do(begin)
	for i := range MaxRemembered {
		l.stepAs(numbered("s", i))
	}
	if _, found := s.record(key1).window.find("begin"); found {
		t.Fatal("the window still holds the first request: the test tests nothing")
	}
	l.do(deleteCommand(key1, &statev1.DeleteInstance{RequestId: "end"}))
	res := l.do(begin).(*StepResult)
	if _, live := s.Instance(key1); live || !res.Duplicate || res.Ref.Incarnation != 2 || res.State != "new" || res.Verdict != ok {
		t.Errorf("live=%t, got %+v", live, res)
	}
	l.refused(typesv1.Reason_REASON_REQUEST_ID_REUSED, initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "begin", InitialState: "x"}))
}

// A request that named no state to begin in is answered with the one that it began
// in, also when the identifier has been begun anew since.
func TestAnOldInitIsAnsweredWithItsState(t *testing.T) {
	for name, steps := range map[string]int{"in the window": 1, "remembered by the instance": MaxRemembered} {
		l, _ := newOrders(t, learning)
		begin := initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "begin"})
		first := l.do(begin).(*StepResult)
		for i := range steps {
			l.stepAs(numbered("s", i))
		}
		l.do(deleteCommand(key1, &statev1.DeleteInstance{RequestId: "end"}))
		l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "again"}))
		again := l.do(begin).(*StepResult)
		if !again.Duplicate || again.Ref != first.Ref || again.State != "new" || again.From != "" || again.Verdict != first.Verdict {
			t.Errorf("%s: %+v, and first %+v", name, again, first)
		}
	}
}

// A hash of the body keeps neighbouring fields and the kinds of requests apart.
func TestHashBody(t *testing.T) {
	seen := map[uint64]int{}
	for i, h := range []uint64{
		hashBody(requestStep, "ab", "c"), hashBody(requestStep, "a", "bc"), hashBody(requestStep, "abc"), hashBody(requestStep, "abc", ""),
		hashBody(requestDelete, "ab", "c"), hashBody(requestStep), hashBody(requestStep, ""),
		initHash(&statev1.InitInstance{Spec: "a"}), initHash(&statev1.InitInstance{InitialState: "a"}), initHash(&statev1.InitInstance{EventTime: 1}),
		initHash(&statev1.InitInstance{Meta: map[string]string{"a": "b"}}), initHash(&statev1.InitInstance{Meta: map[string]string{"b": "a"}}),
	} {
		if other, found := seen[h]; found {
			t.Errorf("%d and %d are the same", i, other)
		}
		seen[h] = i
	}
	if initHash(&statev1.InitInstance{Spec: "a", SpecVersion: 1}) != initHash(&statev1.InitInstance{Spec: "a", SpecVersion: 2}) {
		t.Error("a retry that meets a newer version is refused")
	}
}

func TestRequestTime(t *testing.T) {
	if ms, found := requestTime(requestID(base, 7)); !found || ms != base.UnixMilli() {
		t.Errorf("got %d, %t", ms, found)
	}
	for _, id := range []string{"", "x", "9b2f6c1e-53c4-4c1b-8a57-0123456789ab", "019b7bca-1580-7000-8000-00000000000"} {
		if _, found := requestTime(id); found {
			t.Errorf("%q has a time", id)
		}
	}
}
