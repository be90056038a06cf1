package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Every reason of the API has a sentinel of its own, and an error that comes over
// the wire with it matches that one and no other.
func TestEveryReasonIsMapped(t *testing.T) {
	seen := make(map[error]typesv1.Reason)
	for number, name := range typesv1.Reason_name {
		r := typesv1.Reason(number)
		info, ok := reasons[r]
		if !ok || info.sentinel == nil {
			t.Errorf("%s has no sentinel", name)
			continue
		}
		if other, taken := seen[info.sentinel]; taken {
			t.Errorf("%s and %s have the same sentinel", name, other)
		}
		seen[info.sentinel] = r

		wire := detailed(codes.FailedPrecondition, &typesv1.ErrorDetail{
			Reason: r, Message: "m", CurrentSeq: 7, Shard: 3, LeaderId: "n1", LeaderAddress: "a:1", NotApplied: true,
		})
		err := fmt.Errorf("wrapped: %w", fromRPC(wire))
		for _, other := range reasons {
			if errors.Is(err, other.sentinel) != (other.sentinel == info.sentinel) {
				t.Errorf("%s: wrong answer for %v", name, other.sentinel)
			}
		}
		var e *Error
		if !errors.As(err, &e) || e.Reason != r || e.Message != "m" || e.CurrentSeq != 7 || e.Shard != 3 ||
			e.LeaderID != "n1" || e.LeaderAddress != "a:1" || !e.NotApplied || e.Code != codes.FailedPrecondition {
			t.Errorf("%s: got %#v", name, e)
		}
		if back := fromDetail(e.toDetail()); back.Reason != r || back.LeaderAddress != "a:1" || back.CurrentSeq != 7 || !back.NotApplied {
			t.Errorf("%s: detail gives %#v", name, back)
		}
		if st, ok := status.FromError(err); !ok || st.Code() != codes.FailedPrecondition {
			t.Errorf("%s: the gRPC status is lost", name)
		}
	}
	if len(reasons) != len(typesv1.Reason_name) {
		t.Errorf("%d reasons are mapped, the API has %d", len(reasons), len(typesv1.Reason_name))
	}
}

// The reasons of SEMANTICS U9 that are about steps, instances and models.
func TestReasonsOfSteps(t *testing.T) {
	deviation := func(v typesv1.Verdict, reason string) error {
		return rejection(&spexv1.StepResponse{Rejected: true, Verdict: v, Judgement: &typesv1.Judgement{Reason: reason, Explanation: "because"}})
	}
	fault := func(r typesv1.Reason) error { return fromDetail(&typesv1.ErrorDetail{Reason: r}) }
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"deviation_still_equivalent", deviation(typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT, ""), ErrDeviationStillEquivalent},
		{"deviation_not_equivalent", deviation(typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, ""), ErrDeviationNotEquivalent},
		{"transition_timeout", deviation(typesv1.Verdict_VERDICT_OK, "TRANSITION_TIMEOUT"), ErrTransitionTimeout},
		{"instance_identifier_already_in_use", fault(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE), ErrInstanceInUse},
		{"instance_identifier_not_found", fault(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND), ErrInstanceNotFound},
		{"deserialisation_failed", fault(typesv1.Reason_REASON_DESERIALISATION_FAILED), ErrDeserialisationFailed},
		{"impl_model_not_found", fault(typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND), ErrImplModelNotFound},
		{"storage and files", fault(typesv1.Reason_REASON_INTERNAL), ErrInternal},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v is not %v", tc.name, tc.err, tc.want)
		}
		if tc.want != ErrInstanceNotFound && errors.Is(tc.err, ErrInstanceNotFound) {
			t.Errorf("%s: %v matches another reason", tc.name, tc.err)
		}
	}
	if err := rejection(&spexv1.StepResponse{Verdict: typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT}); err != nil {
		t.Errorf("a deviation that the policy accepts is an error: %v", err)
	}
}

func TestErrorTexts(t *testing.T) {
	step := &spexv1.StepResponse{
		Id: "order-1", Seq: 3, FromState: "new", Action: "pay", State: "paid", Rejected: true,
		Verdict: typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, Judgement: &typesv1.Judgement{Explanation: "no such action"},
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fromDetail(&typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_NO_LEADER, Message: "shard 3 has no leader"}), "spex: NO_LEADER: shard 3 has no leader"},
		{fromRPC(status.Error(codes.PermissionDenied, "no")), "spex: no"},
		{fromRPC(context.DeadlineExceeded), "spex: context deadline exceeded"},
		{rejection(step), `spex: deviation_not_equivalent: instance "order-1", seq 3: new --[pay]-> paid: no such action`},
		{&PartialError{Failures: []*spexv1.ShardFailure{{Shard: 2, Error: &typesv1.ErrorDetail{Message: "down"}}}}, "spex: the answer is incomplete, 1 shards failed: shard 2: down"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	for name, o := range map[string]Options{
		"no address":       {},
		"no port":          {Addresses: []string{"localhost"}},
		"empty port":       {Addresses: []string{"localhost:"}},
		"negative timeout": {Addresses: []string{"a:1"}, Timeout: -1},
		"negative backoff": {Addresses: []string{"a:1"}, BackoffMax: -1},
		"negative size":    {Addresses: []string{"a:1"}, MaxMessageBytes: -1},
	} {
		if c, err := Dial(context.Background(), o); err == nil {
			t.Errorf("%s: accepted", name)
			c.Close()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, Options{Addresses: []string{"a:1"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	c, err := Dial(context.Background(), Options{Addresses: []string{"a:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, n := range []int{0, -1, maxWindow + 1} {
		if _, err := c.Stream(context.Background(), WithWindow(n)); err == nil {
			t.Errorf("window %d accepted", n)
		}
	}
	// The default ids are UUIDv7, which sort by their time.
	a, b := c.opts.NewRequestID(), c.opts.NewRequestID()
	if len(a) != 36 || a[14] != '7' || a >= b {
		t.Errorf("request ids %s, %s", a, b)
	}
}
