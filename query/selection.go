package query

import (
	"errors"
	"fmt"
	"time"

	"github.com/spexio/spex/fsm"
)

// Bounds of one page of a selection on one shard.
const (
	// MaxExamined is how many instances a page looks at.
	MaxExamined = 20_000
	// MaxPageCost bounds the cost of a page's evaluations together; it may be
	// exceeded by one of them. It is some tenths of a second.
	MaxPageCost = 2_000_000
)

// chunk is how many instances are read from a machine at a time: evaluations
// happen between, when the machine is free to go on.
const chunk = 256

// Selection says which instances of a shard are meant. Empty fields select everything.
type Selection struct {
	Namespace, Spec, State string
	// Where is nil when every instance matches.
	Where *Expression
	// Stuck, when above 0, selects instances whose last step is longer ago, and
	// whose state is not terminal.
	Stuck time.Duration
}

// Page is what one look at a shard has found.
type Page struct {
	// Matched are in the order of their ids.
	Matched []*fsm.InstanceView
	// Last is the id to go on after, if More is set.
	Last string
	More bool
	// Examined counts the instances that Where or Stuck had to decide about.
	Examined int
	// Unevaluated counts those for which Where had no value; they do not match.
	// Problem is why, for the first of them.
	Unevaluated int
	Problem     string
}

// filters says whether instances have to be looked at one by one.
func (s *Selection) filters() bool { return s.Where != nil || s.Stuck > 0 }

// Examine looks for up to limit instances of a machine after the given id. now
// is what ages are measured by; it counts only if it is later than the machine's
// own time. It looks at a bounded number of instances, and at none after stop
// says so, but always at one: a page may be short, or empty, and have More set.
//
// Instances that match from the first page to the last are found exactly once,
// whatever happens between: the order is that of the ids. The error wraps
// ErrCost.
func (s *Selection) Examine(m *fsm.Shard, now time.Time, after string, limit int, stop func() bool) (Page, error) {
	if t := m.Time(); t.After(now) {
		now = t
	}
	page, cost := Page{Last: after}, uint64(0)
	for {
		want := min(chunk, limit-len(page.Matched))
		if s.filters() {
			want = chunk
		}
		list, last, more := m.Scan(s.Namespace, s.Spec, s.State, page.Last, want)
		for _, c := range list {
			if page.Examined > 0 && (len(page.Matched) == limit || page.Examined >= MaxExamined || cost >= MaxPageCost || stop()) {
				page.More = true
				return page, nil
			}
			ok, used, err := s.matches(c, now, &page)
			if err != nil {
				return Page{}, fmt.Errorf("%w (at the instance %q)", err, c.Key.ID)
			}
			cost += used
			page.Last = c.Key.ID
			if ok {
				page.Matched = append(page.Matched, c.InstanceView)
			}
		}
		if last != "" {
			page.Last = last
		}
		page.More = more
		// Fewer than asked for, and more to come: the machine has looked at enough.
		if !more || len(page.Matched) == limit || len(list) < want || stop() {
			return page, nil
		}
	}
}

// matches decides about one instance and counts it.
func (s *Selection) matches(c fsm.Candidate, now time.Time, page *Page) (ok bool, cost uint64, err error) {
	if !s.filters() {
		return true, 0, nil
	}
	page.Examined++
	age := max(0, now.Sub(c.UpdatedAt))
	if s.Stuck > 0 && (age <= s.Stuck || c.Terminal) {
		return false, 1, nil
	}
	if s.Where == nil {
		return true, 1, nil
	}
	ok, cost, err = s.Where.Match(&Instance{
		ID: c.Key.ID, Spec: c.Spec.Name, SpecVersion: c.Spec.Version, State: c.State, Seq: c.Seq, Meta: c.Meta,
		Created: c.CreatedAt, Updated: c.UpdatedAt, Age: age, OffModel: c.OffModel, Awaiting: c.Awaiting, Terminal: c.Terminal,
	})
	switch {
	case errors.Is(err, ErrCost):
		return false, cost, err
	case err != nil:
		if page.Unevaluated++; page.Unevaluated == 1 {
			page.Problem = fmt.Sprintf("%v (at the instance %q)", err, c.Key.ID)
		}
		return false, cost, nil
	}
	return ok, cost, nil
}
