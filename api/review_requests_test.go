package api

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// TestReviewRequests crosses every rule of the requests about reviews.
func TestReviewRequests(t *testing.T) {
	good := &spexv1.AcceptDeviationsRequest{Spec: "tree", Owner: "ops", Reason: "seen", Transitions: []*typesv1.Transition{{From: "s", Action: "a", To: "t"}}}
	many := func(n int, name string) (list []*typesv1.Transition) {
		for range n {
			list = append(list, &typesv1.Transition{From: name, Action: name, To: name})
		}
		return list
	}
	one := func(from, action, to string) func(*spexv1.AcceptDeviationsRequest) {
		return func(r *spexv1.AcceptDeviationsRequest) {
			r.Transitions = append(r.Transitions, &typesv1.Transition{From: from, Action: action, To: to})
		}
	}
	type edit = func(*spexv1.AcceptDeviationsRequest)
	for _, c := range []struct {
		name string
		edit edit
		want typesv1.Reason
	}{
		{"good", func(*spexv1.AcceptDeviationsRequest) {}, fine},
		{"no spec", func(r *spexv1.AcceptDeviationsRequest) { r.Spec = "" }, invalid},
		{"no owner", func(r *spexv1.AcceptDeviationsRequest) { r.Owner = "" }, invalid},
		{"a full owner", func(r *spexv1.AcceptDeviationsRequest) { r.Owner = multi(256) }, fine},
		{"a long owner", func(r *spexv1.AcceptDeviationsRequest) { r.Owner = text(257) }, limit},
		{"no reason", func(r *spexv1.AcceptDeviationsRequest) { r.Reason = "" }, invalid},
		{"a reason of two lines", func(r *spexv1.AcceptDeviationsRequest) { r.Reason = "a\nb" }, fine},
		{"a reason that is not UTF-8", func(r *spexv1.AcceptDeviationsRequest) { r.Reason = "a\xff" }, invalid},
		{"a long reason", func(r *spexv1.AcceptDeviationsRequest) { r.Reason = text(1025) }, limit},
		{"a long namespace", func(r *spexv1.AcceptDeviationsRequest) { r.Namespace = text(129) }, limit},
		{"no transitions", func(r *spexv1.AcceptDeviationsRequest) { r.Transitions = nil }, invalid},
		{"as many as may be", func(r *spexv1.AcceptDeviationsRequest) { r.Transitions = many(100, "x") }, fine},
		{"one more", func(r *spexv1.AcceptDeviationsRequest) { r.Transitions = many(101, "x") }, limit},
		{"more than a command", func(r *spexv1.AcceptDeviationsRequest) { r.Transitions = many(100, text(256)) }, limit},
		{"an initialisation", one("", "__initialisation__", "s"), fine},
		{"tau", one("s", "__internal__", "t"), fine},
		{"an initialisation from a state", one("s", "__initialisation__", "s"), invalid},
		{"no source", one("", "a", "s"), invalid},
		{"a reserved state", one("s", "a", "__internal__"), reserved},
		{"an end", func(r *spexv1.AcceptDeviationsRequest) { r.ExpiresAt = timestamppb.New(time.Unix(1, 0)) }, fine},
		{"an end that means none", func(r *spexv1.AcceptDeviationsRequest) { r.ExpiresAt = timestamppb.New(time.Unix(0, 0)) }, invalid},
		{"an end before 1970", func(r *spexv1.AcceptDeviationsRequest) { r.ExpiresAt = timestamppb.New(time.Unix(-1, 0)) }, invalid},
		{"an end after 2262", func(r *spexv1.AcceptDeviationsRequest) {
			r.ExpiresAt = timestamppb.New(time.Unix(0, math.MaxInt64).Add(time.Second))
		}, invalid},
		{"an end that is no time", func(r *spexv1.AcceptDeviationsRequest) { r.ExpiresAt = &timestamppb.Timestamp{Nanos: -1} }, invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := proto.CloneOf(good)
			c.edit(r)
			if err := CheckAccept(r); fsm.ReasonOf(err) != c.want {
				t.Errorf("accept: %v, want %v", err, c.want)
			}
			if r.ExpiresAt != nil {
				return
			}
			reject := &spexv1.RejectDeviationsRequest{Namespace: r.Namespace, Spec: r.Spec, Transitions: r.Transitions, Owner: r.Owner, Reason: r.Reason}
			if err := CheckReject(reject); fsm.ReasonOf(err) != c.want {
				t.Errorf("reject: %v, want %v", err, c.want)
			}
			if c.want == fine && (r.Namespace != DefaultNamespace || reject.Namespace != DefaultNamespace) {
				t.Errorf("the namespaces are %q and %q", r.Namespace, reject.Namespace)
			}
		})
	}
	for n, want := range map[uint32]typesv1.Reason{0: fine, 1: fine, 100: fine, 101: limit} {
		if err := CheckModelHistory(&spexv1.ListModelHistoryRequest{Spec: "tree", Limit: n}); fsm.ReasonOf(err) != want {
			t.Errorf("a history of %d: %v, want %v", n, err, want)
		}
	}
}
