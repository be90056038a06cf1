package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// place names a step for ever.
type place struct{ incarnation, seq uint64 }

func (p place) String() string { return fmt.Sprintf("seq %d of incarnation %d", p.seq, p.incarnation) }

// findings collects the violations of one instance.
type findings struct {
	instance string
	list     []Violation
}

func (f *findings) add(check, format string, args ...any) {
	f.list = append(f.list, Violation{check, f.instance, fmt.Sprintf(format, args...)})
}

// invariants checks what can be said plainly about one instance.
func (in *instanceHistory) invariants() []Violation {
	f := &findings{instance: in.id}
	in.checkRetries(f)
	in.checkForged(f)
	for _, o := range in.reads {
		if o.Kind == Read && o.Answer.Exists {
			in.checkHistory(f, &o.Answer, "a read")
		}
	}
	if in.final != nil && in.final.Exists {
		in.checkHistory(f, in.final, "the end")
	}
	in.checkPlaces(f)
	in.checkFinal(f)
	in.checkReads(f)
	in.checkIndexes(f)
	in.checkVerdicts(f)
	slices.SortFunc(f.list, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Detail, b.Detail))
	})
	return slices.Compact(f.list)
}

// sorted are the requests in the order of their first calls.
func (in *instanceHistory) sorted() []*request {
	var all []*request
	for _, r := range in.requests {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *request) int { return cmp.Compare(a.calls[0].Call, b.calls[0].Call) })
	return all
}

// checkRetries compares the answers to each request.
func (in *instanceHistory) checkRetries(f *findings) {
	for _, r := range in.sorted() {
		first := r.answered()
		if first == nil {
			continue
		}
		for _, o := range r.calls {
			if o == first || o.Call <= first.Return && o.Outcome != OK {
				continue
			}
			a, b := first.Answer, o.Answer
			switch {
			case o.Outcome == Refused && (o.Reason == absent || o.Reason == mismatch || o.Reason == inUse || o.Reason == reused):
				f.add(CheckRetry, "the %s #%d was acknowledged (%s), and when it was sent again refused as %s", o.Kind, o.Mark, placeOf(a), o.Reason)
			case o.Outcome != OK:
			case a.Exists != b.Exists || a.Incarnation != b.Incarnation || a.Seq != b.Seq || a.From != b.From || a.State != b.State:
				f.add(CheckRetry, "the %s #%d was answered with %s from %q, and when it was sent again with %s from %q", o.Kind, o.Mark, placeOf(a), a.From, placeOf(b), b.From)
				if a.Exists && b.Exists && placeOf(a) != placeOf(b) {
					f.add(CheckTwice, "the %s #%d was applied as %s and as %s", o.Kind, o.Mark, placeOf(a), placeOf(b))
				}
			case o.Call > first.Return && !b.Duplicate:
				f.add(CheckDuplicate, "the %s #%d (%s) was sent again after its answer, and the second answer does not say so", o.Kind, o.Mark, placeOf(a))
			}
		}
	}
}

func placeOf(a Answer) place { return place{a.Incarnation, a.Seq} }

// checkForged wants every other body under a known request id to be refused.
func (in *instanceHistory) checkForged(f *findings) {
	for _, o := range in.forged {
		if o.Outcome == OK {
			f.add(CheckReuse, "the request id of an acknowledged %s was taken for another one, as %s", o.Kind, placeOf(o.Answer))
		}
	}
}

// checkHistory looks at the steps that one read told.
func (in *instanceHistory) checkHistory(f *findings, a *Answer, where string) {
	seen := map[int64]uint64{}
	from := ""
	for i, s := range a.Steps {
		if s.Seq != uint64(i+1) {
			f.add(CheckGap, "in %s the step at place %d has seq %d", where, i+1, s.Seq)
		}
		if s.From != from {
			f.add(CheckGap, "in %s seq %d begins in %q, where the step before it ended in %q", where, s.Seq, s.From, from)
		}
		from = s.State
		if first, twice := seen[s.Mark]; twice {
			f.add(CheckTwice, "in %s request #%d is there as seq %d and as seq %d", where, s.Mark, first, s.Seq)
		}
		seen[s.Mark] = s.Seq
		in.checkSent(f, s, where)
	}
	if n := len(a.Steps); n == 0 || a.Seq != a.Steps[n-1].Seq || a.State != from {
		f.add(CheckGap, "in %s the instance is at seq %d in %q, and its %d steps end in %q", where, a.Seq, a.State, n, from)
	}
}

// checkSent wants a step of a history to be one that somebody sent.
func (in *instanceHistory) checkSent(f *findings, s RecordedStep, where string) {
	r := in.byMark[s.Mark]
	if r == nil {
		for _, o := range in.forged {
			if o.Mark == s.Mark {
				f.add(CheckReuse, "in %s seq %d is a request that used the id of another one", where, s.Seq)
				return
			}
		}
		f.add(CheckInvented, "in %s seq %d (%s to %s) has the mark #%d, which nobody sent", where, s.Seq, s.Action, s.State, s.Mark)
		return
	}
	o := r.calls[0]
	action, state := o.Action, o.State
	if o.Kind == Init {
		action, state = initAction, stateName(0)
	}
	if s.Action != action || s.State != state || (o.Kind == Init) != (s.Seq == 1) {
		f.add(CheckInvented, "in %s seq %d is %s to %s; request #%d was %s to %s", where, s.Seq, s.Action, s.State, s.Mark, action, state)
	}
	if _, may := r.begin(); !may {
		f.add(CheckInvented, "in %s seq %d is request #%d, which was refused (%s)", where, s.Seq, s.Mark, o.Error)
	}
}

// checkPlaces wants one request at each place, and each request at one place,
// over all answers and reads.
func (in *instanceHistory) checkPlaces(f *findings) {
	at, of := map[place]int64{}, map[int64]place{}
	note := func(p place, mark int64, what string) {
		if old, ok := at[p]; ok && old != mark {
			f.add(CheckOrder, "%s was told to be request #%d and request #%d (%s)", p, old, mark, what)
		}
		if old, ok := of[mark]; ok && old != p {
			check := CheckOrder
			if old.incarnation != p.incarnation {
				check = CheckTwice
			}
			f.add(check, "request #%d was told to be %s and %s (%s)", mark, old, p, what)
		}
		at[p], of[mark] = mark, p
	}
	for _, r := range in.sorted() {
		if o := r.answered(); o != nil && o.Kind != Delete {
			note(placeOf(o.Answer), o.Mark, "an answer")
		}
	}
	for _, o := range in.reads {
		for _, s := range o.Answer.Steps {
			note(place{o.Answer.Incarnation, s.Seq}, s.Mark, "a read")
		}
	}
	if in.final != nil {
		for _, s := range in.final.Steps {
			note(place{in.final.Incarnation, s.Seq}, s.Mark, "the end")
		}
	}
}

// checkFinal looks for everything that was acknowledged.
func (in *instanceHistory) checkFinal(f *findings) {
	if in.final == nil {
		return
	}
	there := map[int64]bool{}
	for _, s := range in.final.Steps {
		there[s.Mark] = true
	}
	deletable := in.deletable() < forever
	newest := uint64(0)
	for _, r := range in.requests {
		if o := r.answered(); o != nil {
			newest = max(newest, o.Answer.Incarnation)
		}
	}
	if in.final.Exists && in.final.Incarnation < newest {
		f.add(CheckLost, "at the end there is incarnation %d, and incarnation %d was acknowledged", in.final.Incarnation, newest)
	}
	for _, r := range in.sorted() {
		o := r.answered()
		if o == nil || o.Kind == Delete {
			continue
		}
		switch {
		case !in.final.Exists && !deletable:
			f.add(CheckLost, "the %s #%d (%s) was acknowledged; nobody deleted the instance, and it is not there", o.Kind, o.Mark, placeOf(o.Answer))
		case in.final.Exists && in.final.Incarnation == o.Answer.Incarnation && !there[o.Mark]:
			f.add(CheckLost, "the %s #%d was acknowledged as %s and is not in the history", o.Kind, o.Mark, placeOf(o.Answer))
		}
	}
}

// progress is how far an instance is known to have come at a time.
type progress struct {
	at   time.Duration
	seen place
	what string
}

// deletable is when the instance can have been deleted first.
func (in *instanceHistory) deletable() time.Duration {
	first := forever
	for _, r := range in.requests {
		if at, may := r.begin(); may && r.calls[0].Kind == Delete {
			first = min(first, at)
		}
	}
	return first
}

func (p place) before(q place) bool {
	return p.incarnation < q.incarnation || p.incarnation == q.incarnation && p.seq < q.seq
}

// checkReads wants every read to see all that was known before it was called.
func (in *instanceHistory) checkReads(f *findings) {
	var known []progress
	for _, r := range in.requests {
		if o := r.answered(); o != nil && o.Kind != Delete {
			known = append(known, progress{o.Return, placeOf(o.Answer), fmt.Sprintf("the %s #%d was acknowledged", o.Kind, o.Mark)})
		}
	}
	for _, o := range in.reads {
		if o.Answer.Exists {
			known = append(known, progress{o.Return, placeOf(o.Answer), fmt.Sprintf("client %d read it", o.Client)})
		}
	}
	slices.SortFunc(known, func(a, b progress) int { return cmp.Compare(a.at, b.at) })
	reads := slices.Clone(in.reads)
	slices.SortFunc(reads, func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) })
	var best progress
	next := 0
	for _, o := range reads {
		for ; next < len(known) && known[next].at < o.Call; next++ {
			if best.seen.before(known[next].seen) {
				best = known[next]
			}
		}
		// Whether what finds nothing comes after a deletion is for the search to decide.
		if !o.Answer.Exists && best.seen.seq > 0 && o.Return < in.deletable() {
			f.add(CheckStale, "the %s of client %d, called %s after %s as %s, saw no instance, and nobody had deleted it",
				o.Kind, o.Client, (o.Call - best.at).Round(time.Microsecond), best.what, best.seen)
		}
		if o.Answer.Exists && placeOf(o.Answer).before(best.seen) {
			f.add(CheckStale, "the %s of client %d, called %s after %s as %s, saw %s",
				o.Kind, o.Client, (o.Call - best.at).Round(time.Microsecond), best.what, best.seen, placeOf(o.Answer))
		}
	}
}

// mention is what an answer tells of a log index: the instance has come to a place
// by then, and has been brought there by that entry if it is a write's.
type mention struct {
	seen  place
	index uint64
	what  string
	write bool
}

// checkIndexes holds what reads show against the log index that they name, and that they asked for.
func (in *instanceHistory) checkIndexes(f *findings) {
	var all []mention
	for _, r := range in.sorted() {
		if o := r.answered(); o != nil && o.Kind != Delete {
			all = append(all, mention{placeOf(o.Answer), o.Answer.Index, fmt.Sprintf("the %s #%d", o.Kind, o.Mark), true})
		}
	}
	reads := slices.Concat(in.reads, in.stales)
	for _, o := range reads {
		if o.Answer.Exists {
			all = append(all, mention{placeOf(o.Answer), o.Answer.Index, fmt.Sprintf("what the %s of client %d saw", o.Kind, o.Client), false})
		}
	}
	for _, o := range reads {
		if o.Answer.Exists && o.Answer.Index < o.MinIndex {
			f.add(CheckIndex, "the %s of client %d asked for index %d and was answered from index %d", o.Kind, o.Client, o.MinIndex, o.Answer.Index)
		}
		for _, m := range all {
			in.checkMention(f, o, m)
		}
	}
}

// checkMention holds one read against one thing that is known about its instance.
func (in *instanceHistory) checkMention(f *findings, o *Operation, m mention) {
	a, shows := o.Answer, "no instance"
	if a.Exists {
		shows = placeOf(a).String()
	}
	tell := func(check, format string, args ...any) {
		f.add(check, "the %s of client %d, %s, shows %s; %s is %s and has index %d",
			o.Kind, o.Client, fmt.Sprintf(format, args...), shows, m.what, m.seen, m.index)
	}
	// That there is nothing is less only while nobody can have deleted it.
	less := a.Exists && placeOf(a).before(m.seen) || !a.Exists && o.Return < in.deletable()
	switch {
	case m.index == 0:
	case less && m.index <= o.MinIndex:
		tell(CheckBack, "which asked for index %d", o.MinIndex)
	case less && m.index <= a.Index, !less && m.write && 0 < a.Index && a.Index < m.index:
		tell(CheckIndex, "which names index %d", a.Index)
	}
}

// checkVerdicts wants each step to have one verdict, the right one.
func (in *instanceHistory) checkVerdicts(f *findings) {
	known := map[place]typesv1.Verdict{}
	note := func(p place, action string, v typesv1.Verdict) {
		if v == typesv1.Verdict_VERDICT_PENDING {
			return
		}
		if old, ok := known[p]; ok && old != v {
			f.add(CheckVerdictChanged, "%s was judged %s and %s", p, verdictName(old), verdictName(v))
		} else if want := expectedVerdict(action); !ok && v != want {
			f.add(CheckVerdictWrong, "%s (%s) was judged %s, and is %s", p, action, verdictName(v), verdictName(want))
		}
		known[p] = v
	}
	for _, r := range in.sorted() {
		for _, o := range r.calls {
			if o.Outcome == OK && o.Kind != Delete {
				note(placeOf(o.Answer), o.Action, o.Answer.Verdict)
			}
		}
	}
	for _, o := range in.reads {
		for _, s := range o.Answer.Steps {
			note(place{o.Answer.Incarnation, s.Seq}, s.Action, s.Verdict)
		}
	}
	if in.final == nil {
		return
	}
	for _, s := range in.final.Steps {
		p := place{in.final.Incarnation, s.Seq}
		note(p, s.Action, s.Verdict)
		if s.Verdict == typesv1.Verdict_VERDICT_PENDING {
			f.add(CheckVerdictMissing, "%s (%s) has no verdict at the end", p, s.Action)
		}
	}
}

func verdictName(v typesv1.Verdict) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "VERDICT_"))
}
