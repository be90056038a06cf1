package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// TestDeleteMatchingPages: the pages add up, what they lack is told at the end,
// and an error in between says where to go on.
func TestDeleteMatchingPages(t *testing.T) {
	broken := &Error{Code: codes.Unavailable, Message: "scripted"}
	failure := &spexv1.ShardFailure{Shard: 5, Error: &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_NO_LEADER}}
	for _, tc := range []struct {
		name  string
		pages []*spexv1.DeleteMatchingResponse // nil fails
		want  Deletion
		// The errors that the result has.
		partial, unevaluated, broken bool
	}{
		{"one page", []*spexv1.DeleteMatchingResponse{{Matched: 3, Deleted: 2, MovedOn: 1, Examined: 9}}, Deletion{Matched: 3, Deleted: 2, MovedOn: 1, Examined: 9}, false, false, false},
		{"an empty page in the middle", []*spexv1.DeleteMatchingResponse{{Matched: 1, Deleted: 1, Examined: 5, NextPageToken: "a"}, {Examined: 5, NextPageToken: "b"}, {Matched: 2, Deleted: 2, Examined: 2}},
			Deletion{Matched: 3, Deleted: 3, Examined: 12}, false, false, false},
		{"a shard that fails", []*spexv1.DeleteMatchingResponse{{Matched: 1, Deleted: 1, Failures: []*spexv1.ShardFailure{failure}, NextPageToken: "a"}, {Matched: 1, Deleted: 1}},
			Deletion{Matched: 2, Deleted: 2}, true, false, false},
		{"both kinds of gaps", []*spexv1.DeleteMatchingResponse{{Unevaluated: 1, UnevaluatedError: "first", NextPageToken: "a"}, {Unevaluated: 2, UnevaluatedError: "second", Failures: []*spexv1.ShardFailure{failure}}},
			Deletion{}, true, true, false},
		{"a failure on the way", []*spexv1.DeleteMatchingResponse{{Matched: 4, Deleted: 4, Unevaluated: 3, UnevaluatedError: "first", NextPageToken: "a"}, nil},
			Deletion{Matched: 4, Deleted: 4, Next: "a"}, false, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, token := 0, "begin"
			var seen []Deletion
			filter := DeleteFilter{Spec: "s", State: "x", Where: "true", Stuck: time.Hour, DryRun: true, Resume: "begin", Progress: func(d Deletion) { seen = append(seen, d) }}
			got, err := deleteMatching(context.Background(), "ns", filter, func(_ context.Context, r *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
				if r.PageToken != token || r.Namespace != "ns" || r.Spec != "s" || r.State != "x" || r.Where != "true" || r.StuckNanos != int64(time.Hour) || !r.DryRun {
					t.Errorf("wrong request %v", r)
				}
				page := tc.pages[n]
				n++
				if page == nil {
					return nil, broken
				}
				token = page.NextPageToken
				return page, nil
			})
			if got != tc.want || n != len(tc.pages) {
				t.Errorf("got %+v after %d pages, want %+v", got, n, tc.want)
			}
			var partial *PartialError
			var left *UnevaluatedError
			if errors.As(err, &partial) != tc.partial || errors.As(err, &left) != tc.unevaluated || errors.Is(err, broken) != tc.broken || (err == nil) != (!tc.partial && !tc.unevaluated && !tc.broken) {
				t.Errorf("got the error %v", err)
			}
			if left != nil && (left.Count != 3 || left.Example != "first" || !strings.Contains(err.Error(), "3 instances")) {
				t.Errorf("got %+v", left)
			}
			if len(seen) == 0 || seen[len(seen)-1] != got {
				t.Errorf("the progress was %+v", seen)
			}
		})
	}
}
