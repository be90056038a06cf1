package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// UnevaluatedError tells that an expression had no value for some instances, for
// example because their meta lacks a key that it reads. They were neither listed
// nor deleted.
type UnevaluatedError struct {
	// Count is how many instances it concerns, above 0.
	Count uint64
	// Example says why, for one of them.
	Example string
}

// Error tells the count and the example.
func (e *UnevaluatedError) Error() string {
	return fmt.Sprintf("spex: the expression has no value for %d instances, which are left out: %s", e.Count, e.Example)
}

// incompleteness gathers what the pages of an answer lack.
type incompleteness struct {
	failures    []*spexv1.ShardFailure
	unevaluated uint64
	example     string
}

// add takes note of a page.
func (i *incompleteness) add(page interface {
	GetFailures() []*spexv1.ShardFailure
	GetUnevaluated() uint64
	GetUnevaluatedError() string
}) {
	i.failures = append(i.failures, page.GetFailures()...)
	if i.unevaluated += page.GetUnevaluated(); i.example == "" {
		i.example = page.GetUnevaluatedError()
	}
}

// errors are a *PartialError and an *UnevaluatedError, where there is reason for them.
func (i *incompleteness) errors() (list []error) {
	if len(i.failures) > 0 {
		list = append(list, &PartialError{Failures: i.failures})
	}
	if i.unevaluated > 0 {
		list = append(list, &UnevaluatedError{Count: i.unevaluated, Example: i.example})
	}
	return list
}

// DeleteFilter selects the instances that DeleteMatching deletes. Empty fields match everything.
type DeleteFilter struct {
	// Spec is the name of a specification.
	Spec string
	// State is the current state.
	State string
	// Where is as in ListFilter. It must be given: "true" matches every instance.
	Where string
	// Stuck is as in ListFilter.
	Stuck time.Duration
	// DryRun counts what matches and deletes nothing.
	DryRun bool
	// Resume goes on where a Deletion with that Next has stopped; empty begins.
	Resume string
	// Progress, if set, is called after each page with the sums so far. It must not block.
	Progress func(Deletion)
}

// Deletion tells what DeleteMatching did.
type Deletion struct {
	// Matched counts the instances that matched when they were looked at; Deleted
	// those of them that are deleted, and MovedOn those that are not because they
	// took a step, or were deleted or begun anew, before their deletion was applied.
	// Where an answer was lost and the request repeated, what was deleted the first
	// time is not counted.
	Matched, Deleted, MovedOn uint64
	// Examined counts the instances that were looked at.
	Examined uint64
	// Next goes on after what was done, with DeleteFilter.Resume; it is empty when all is done.
	Next string
}

// DeleteMatching deletes the instances that match, page by page, until all
// shards were looked at or a page fails. Each is deleted only if it is still at
// the step at which it matched, so that one that moves on is left alone. The
// Deletion is right also beside an error:
//
//   - *PartialError names the shards that did not answer; all others are done.
//   - *UnevaluatedError, perhaps joined with it, tells that the expression has no
//     value for some instances, which were not deleted.
//   - With any other error Deletion.Next is where to resume.
func (c *Client) DeleteMatching(ctx context.Context, filter DeleteFilter) (Deletion, error) {
	done, err := deleteMatching(ctx, c.opts.Namespace, filter, func(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
		// An attempt may be repeated: what the first one deleted does not match again.
		cl := call{name: "DeleteMatching", write: !req.DryRun}
		return unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.DeleteMatchingRequest, spexv1.DeleteMatchingResponse] {
			return spexv1.NewInstanceServiceClient(ep.conn).DeleteMatching
		})
	})
	return done, c.opts.Handler.decide(ctx, Event{Operation: "DeleteMatching", Spec: filter.Spec}, err)
}

// joined joins errors, and returns one alone as it is.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// deleteMatching is DeleteMatching of a manager that can do one page.
func deleteMatching(ctx context.Context, namespace string, filter DeleteFilter,
	page func(context.Context, *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error)) (Deletion, error) {
	sum := Deletion{Next: filter.Resume}
	var missing incompleteness
	for {
		resp, err := page(ctx, &spexv1.DeleteMatchingRequest{
			Namespace: namespace, Spec: filter.Spec, State: filter.State, Where: filter.Where, StuckNanos: int64(filter.Stuck),
			DryRun: filter.DryRun, PageToken: sum.Next,
		})
		if err != nil {
			return sum, joined(append(missing.errors(), err))
		}
		missing.add(resp)
		sum.Matched += resp.GetMatched()
		sum.Deleted += resp.GetDeleted()
		sum.MovedOn += resp.GetMovedOn()
		sum.Examined += resp.GetExamined()
		sum.Next = resp.GetNextPageToken()
		if filter.Progress != nil {
			filter.Progress(sum)
		}
		if sum.Next == "" {
			return sum, joined(missing.errors())
		}
	}
}
