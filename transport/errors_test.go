package transport

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestErrorsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &fsm.Error{
			Reason:        typesv1.Reason(rapid.IntRange(1, len(typesv1.Reason_name)-1).Draw(t, "reason")),
			Message:       rapid.String().Draw(t, "message"),
			LeaderID:      rapid.String().Draw(t, "leader"),
			LeaderAddress: rapid.String().Draw(t, "address"),
			Shard:         rapid.Uint32().Draw(t, "shard"),
			CurrentSeq:    rapid.Uint64().Draw(t, "seq"),
			NotApplied:    rapid.Bool().Draw(t, "not applied"),
		}
		sent := StatusFromError(in)
		if got, want := status.Code(sent), CodeOf(in.Reason); got != want {
			t.Fatalf("code %s, want %s", got, want)
		}
		// What arrives is made from the encoded status.
		out := ErrorFromStatus(status.FromProto(status.Convert(sent).Proto()).Err())
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("sent %+v, got %+v", in, out)
		}
		if again := StatusFromError(sent); again != sent {
			t.Fatal("a status with a detail was changed")
		}
	})
}

func TestErrorsKeepTheContextOfTheirWrapping(t *testing.T) {
	err := fmt.Errorf("shard 3: %w", &fsm.Error{Reason: typesv1.Reason_REASON_QUEUE_FULL, Message: "the queue is full", NotApplied: true})
	got := ErrorFromStatus(StatusFromError(err))
	want := &fsm.Error{Reason: typesv1.Reason_REASON_QUEUE_FULL, Message: "shard 3: the queue is full", NotApplied: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestErrorsOfOthers(t *testing.T) {
	tests := []struct {
		name       string
		err        error
		code       codes.Code
		reason     typesv1.Reason
		notApplied bool
	}{
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, typesv1.Reason_REASON_UNAVAILABLE, false},
		{"wrapped deadline", fmt.Errorf("reading: %w", context.DeadlineExceeded), codes.DeadlineExceeded, typesv1.Reason_REASON_UNAVAILABLE, false},
		{"cancelled", context.Canceled, codes.Canceled, typesv1.Reason_REASON_UNAVAILABLE, false},
		{"anything", errors.New("disk on fire"), codes.Internal, typesv1.Reason_REASON_INTERNAL, false},
		{"bare unavailable", status.Error(codes.Unavailable, "gone"), codes.Unavailable, typesv1.Reason_REASON_UNAVAILABLE, false},
		{"too large", status.Error(codes.ResourceExhausted, "message larger than max"), codes.ResourceExhausted, typesv1.Reason_REASON_LIMIT_EXCEEDED, false},
		{"old peer", status.Error(codes.Unimplemented, "unknown method"), codes.Unimplemented, typesv1.Reason_REASON_FEATURE_LEVEL, true},
		{"not UTF-8", &fsm.Error{Reason: typesv1.Reason_REASON_QUEUE_FULL, Message: "caf\xe9"}, codes.ResourceExhausted, typesv1.Reason_REASON_QUEUE_FULL, false},
		{"unknown reason", &fsm.Error{Reason: 9999, Message: "from the future", NotApplied: true}, codes.Internal, 9999, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := StatusFromError(tt.err)
			if status.Code(st) != tt.code {
				t.Errorf("code %s, want %s", status.Code(st), tt.code)
			}
			e := ErrorFromStatus(st)
			if e.Reason != tt.reason || e.NotApplied != tt.notApplied {
				t.Errorf("got %s, not applied %v; want %s, %v", e.Reason, e.NotApplied, tt.reason, tt.notApplied)
			}
			if e.Message == "" {
				t.Error("the message is lost")
			}
			if direct := ErrorFromStatus(tt.err); direct.Reason != tt.reason {
				t.Errorf("direct: got %s, want %s", direct.Reason, tt.reason)
			}
		})
	}
	if StatusFromError(nil) != nil || ErrorFromStatus(nil) != nil {
		t.Error("nil must stay nil")
	}
}
