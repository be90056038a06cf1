package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// reviewCommand reads `accept SPEC t=... owner=... reason=... expires=... if=...`, the
// same with reject, and `withdraw SPEC`.
func (a args) reviewCommand() *statev1.Command {
	key := a.spec(1).Proto()
	var list []*typesv1.Transition
	for _, t := range a.transitions("t") {
		list = append(list, initialisation(t))
	}
	owner, reason := a.value("owner"), a.value("reason")
	cmd := &statev1.Command{Principal: "alice"}
	switch a.word(0) {
	case "accept":
		c := &statev1.AcceptDeviations{Spec: key, Transitions: list, Owner: owner, Reason: reason, IfVersion: a.number("if")}
		if v := a.value("expires"); v != "" {
			c.ExpiresAt = base.Add(a.duration(v)).UnixNano()
		}
		cmd.Kind = &statev1.Command_AcceptDeviations{AcceptDeviations: c}
	case "reject":
		cmd.Kind = &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{Spec: key, Transitions: list, Owner: owner, Reason: reason}}
	default:
		cmd.Kind = &statev1.Command_WithdrawAcceptances{WithdrawAcceptances: &statev1.WithdrawAcceptances{Spec: key}}
	}
	return cmd
}

func askReviews(a args, m *Catalog) {
	s := a.s
	if a.word(0) == "review" {
		for _, t := range a.transitions("t") {
			t := transitionOf(initialisation(t))
			r, found := m.Review(a.spec(1), t)
			s.printf("%s: found=%t accepted=%t by %q (%q) for %q, deviated=%t%s", t, found, r.Accepted, r.Owner, r.Principal, r.Reason, m.Deviated(a.spec(1), t), until(r.ExpiresAt))
		}
		return
	}
	events, st, _ := m.ModelHistory(a.spec(1))
	next := ""
	if !st.NextExpiry.IsZero() {
		next = fmt.Sprintf(", next end +%s", st.NextExpiry.Sub(base))
	}
	s.printf("%d events%s", len(events), next)
	for _, e := range events {
		kind := strings.ToLower(strings.TrimPrefix(e.GetKind().String(), "MODEL_EVENT_KIND_"))
		from := ""
		if e.GetFirstTime() != 0 {
			from = fmt.Sprintf("+%s to ", time.Duration(e.GetFirstTime()-base.UnixNano()))
		}
		var list []string
		for _, t := range e.GetTransitions() {
			list = append(list, transitionOf(t).String())
		}
		s.printf("  %s+%s %s v%d rev %d +%d -%d %q %q %q%s %v", from, time.Duration(e.GetTime()-base.UnixNano()), kind, e.GetVersion(), e.GetModeRevision(), e.GetAdded(), e.GetRemoved(),
			e.GetPrincipal(), e.GetOwner(), e.GetReason(), until(nanosToTime(e.GetExpiresAt())), list)
	}
}

func nanosToTime(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf(" until +%s", t.Sub(base))
}

// reviewOf draws a review of a transition, or a withdrawal.
func reviewOf(rt *rapid.T, key SpecKey, tr model.Transition) *statev1.Command {
	list := []*typesv1.Transition{transitionProto(tr)}
	owner := rapid.SampledFrom([]string{"", "team-a", "team-b", "team-b"}).Draw(rt, "owner")
	cmd := &statev1.Command{Principal: owner}
	switch rapid.IntRange(0, 3).Draw(rt, "review") {
	case 0, 1:
		c := &statev1.AcceptDeviations{Spec: key.Proto(), Transitions: list, Owner: owner, Reason: "r", IfVersion: uint64(rapid.IntRange(0, 4).Draw(rt, "if version") / 3)}
		if rapid.Bool().Draw(rt, "ends") {
			c.ExpiresAt = base.Add(time.Duration(rapid.IntRange(-5, 60).Draw(rt, "end")) * time.Minute).UnixNano()
		}
		cmd.Kind = &statev1.Command_AcceptDeviations{AcceptDeviations: c}
	case 2:
		cmd.Kind = &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{Spec: key.Proto(), Transitions: list, Owner: owner, Reason: "r"}}
	default:
		cmd.Kind = &statev1.Command_WithdrawAcceptances{WithdrawAcceptances: &statev1.WithdrawAcceptances{Spec: key.Proto()}}
	}
	return cmd
}

// checkCounts holds what a model keeps for being quick to what it follows from,
// and the reviews to the model that they are about.
func checkCounts(rt *rapid.T, c *Catalog) {
	c.models.Scan(func(m *catalogModel) bool {
		unreviewed, next := m.unreviewed, m.nextExpiry
		m.recount()
		if unreviewed != m.unreviewed || next != m.nextExpiry {
			rt.Fatalf("%v: %d unreviewed and the next end %d, counted anew %d and %d", m.key, unreviewed, next, m.unreviewed, m.nextExpiry)
		}
		if len(m.history) > MaxModelEvents {
			rt.Fatalf("%v: %d events", m.key, len(m.history))
		}
		m.reviews.Scan(func(r *review) bool {
			if _, known := m.content.get(r.t); known != r.accepted {
				rt.Fatalf("%v: %v accepted=%t, the model has it: %t", m.key, r.t, r.accepted, known)
			}
			return true
		})
		m.deviations.Scan(func(d *deviation) bool {
			if _, known := m.content.get(d.t); known {
				rt.Fatalf("%v: the model has the deviation %v", m.key, d.t)
			}
			return true
		})
		return true
	})
}

// TestModelHistoryIsBounded: the oldest events go, and an older snapshot keeps
// what it had.
func TestModelHistoryIsBounded(t *testing.T) {
	l, c := newFormed(t, 1)
	accept := func(i int) {
		l.do(&statev1.Command{Kind: &statev1.Command_AcceptDeviations{AcceptDeviations: &statev1.AcceptDeviations{
			Spec: orderKey.Proto(), Owner: "o", Reason: numbered("reason ", i), Transitions: []*typesv1.Transition{{From: "s", Action: numbered("a", i), To: "t"}},
		}}})
	}
	for i := range MaxModelEvents - 1 {
		accept(i)
	}
	pin := c.Snapshot()
	defer pin.Release()
	before := dump(t, c)
	for i := range 7 {
		accept(MaxModelEvents - 1 + i)
	}
	events, st, _ := c.ModelHistory(orderKey)
	if len(events) != MaxModelEvents || events[0].GetReason() != "reason 6" || events[MaxModelEvents-1].GetReason() != numbered("reason ", MaxModelEvents+5) {
		t.Errorf("%d events from %q to %q", len(events), events[0].GetReason(), events[len(events)-1].GetReason())
	}
	if st.Transitions != MaxModelEvents+6 {
		t.Errorf("%d transitions", st.Transitions)
	}
	var b strings.Builder
	if _, err := pin.WriteTo(&b); err != nil || b.String() != string(before) {
		t.Errorf("the pinned snapshot changed (%v)", err)
	}
}

// TestReviewLimits: what is beyond a limit is refused whole.
func TestReviewLimits(t *testing.T) {
	l, c := newFormed(t, 1)
	many := func(n int, prefix string) (list []*typesv1.Transition) {
		for i := range n {
			list = append(list, &typesv1.Transition{From: "s", Action: numbered(prefix, i), To: "t"})
		}
		return list
	}
	for name, test := range map[string]struct {
		review *statev1.RejectDeviations
		want   typesv1.Reason
	}{
		"none":     {&statev1.RejectDeviations{Owner: "o", Reason: "r"}, typesv1.Reason_REASON_INVALID_ARGUMENT},
		"too many": {&statev1.RejectDeviations{Owner: "o", Reason: "r", Transitions: many(MaxReviewed+1, "a")}, typesv1.Reason_REASON_LIMIT_EXCEEDED},
		"owner":    {&statev1.RejectDeviations{Owner: strings.Repeat("o", MaxOwnerBytes+1), Reason: "r", Transitions: many(1, "a")}, typesv1.Reason_REASON_LIMIT_EXCEEDED},
		"reason":   {&statev1.RejectDeviations{Owner: "o", Reason: strings.Repeat("r", MaxReasonBytes+1), Transitions: many(1, "a")}, typesv1.Reason_REASON_LIMIT_EXCEEDED},
		"nobody":   {&statev1.RejectDeviations{Reason: "r", Transitions: many(1, "a")}, typesv1.Reason_REASON_INVALID_ARGUMENT},
	} {
		test.review.Spec = orderKey.Proto()
		if res := l.entry(&statev1.Command{Kind: &statev1.Command_RejectDeviations{RejectDeviations: test.review}})[0]; ReasonOf(asErr(res)) != test.want {
			t.Errorf("%s: %s, want %s", name, describe(res), test.want)
		}
	}
	for i := 0; i < MaxReviews; i += MaxReviewed {
		if res := l.entry(&statev1.Command{Kind: &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{
			Spec: orderKey.Proto(), Owner: "o", Reason: "r", Transitions: many(MaxReviewed, numbered("a", i)+"-"),
		}}})[0]; res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	res := l.entry(&statev1.Command{Kind: &statev1.Command_RejectDeviations{RejectDeviations: &statev1.RejectDeviations{
		Spec: orderKey.Proto(), Owner: "o", Reason: "r", Transitions: many(1, "more"),
	}}})[0]
	if ReasonOf(asErr(res)) != typesv1.Reason_REASON_LIMIT_EXCEEDED || c.models.Len() != 1 {
		t.Errorf("one review too many: %s", describe(res))
	}
}
