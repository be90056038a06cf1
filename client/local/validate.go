package local

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// checks keeps the first thing that is wrong with a request, as a server would
// say it: a test holds the two managers to the same answers.
type checks struct{ err error }

func (c *checks) add(err error) {
	if c.err != nil || err == nil {
		return
	}
	reason := typesv1.Reason_REASON_INVALID_ARGUMENT
	var field *spec.FieldError
	if errors.As(err, &field) {
		switch field.Kind {
		case spec.Limit:
			reason = typesv1.Reason_REASON_LIMIT_EXCEEDED
		case spec.Reserved:
			reason = typesv1.Reason_REASON_RESERVED_NAME
		}
	}
	c.err = fsm.Errorf(reason, "%v", err)
}

func (c *checks) namespace(v *string) {
	if *v == "" {
		*v = "default"
		return
	}
	c.add(spec.CheckNamespace("namespace", *v))
}

// requestID checks an id; timed says that it must carry its time, which anchor
// would make up for.
func (c *checks) requestID(v string, timed bool, anchor string) {
	c.add(spec.CheckRequestID("request_id", v))
	if id, err := uuid.Parse(v); timed && (err != nil || len(v) != 36 || id.Version() != 7 || id.Variant() != uuid.RFC4122) {
		c.add(&spec.FieldError{
			Field: "request_id", Problem: fmt.Sprintf("%q is not a UUIDv7", v), Kind: spec.Malformed,
			Hint: fmt.Sprintf("such an id carries no time, so that a retry could not be told from a request that has been forgotten: use a UUIDv7, or set %s", anchor),
		})
	}
}

// eventTime checks an event time and returns it in Unix nanoseconds, 0 for none.
func (c *checks) eventTime(v *timestamppb.Timestamp) int64 {
	if v == nil {
		return 0
	}
	if err := v.CheckValid(); err != nil {
		c.add(&spec.FieldError{Field: "event_time", Problem: "is not a time: " + err.Error(), Hint: "give seconds since 1970 and 0 to 999,999,999 nanoseconds", Kind: spec.Malformed})
		return 0
	}
	t := v.AsTime()
	if t.Before(time.Unix(0, math.MinInt64)) || t.After(time.Unix(0, math.MaxInt64)) {
		c.add(&spec.FieldError{Field: "event_time", Problem: t.Format(time.RFC3339) + " is out of range", Hint: "times from 1678 to 2261 can be kept", Kind: spec.Malformed})
		return 0
	}
	return t.UnixNano()
}

func (c *checks) size(m proto.Message) {
	if n := proto.Size(m); n > spec.MaxCommandBytes {
		c.add(&spec.FieldError{Field: "request", Problem: fmt.Sprintf("is %d bytes long, the limit is %d", n, spec.MaxCommandBytes), Hint: "send fewer or shorter fields", Kind: spec.Limit})
	}
}

// page completes and checks a page size or a limit.
func (c *checks) page(field string, v uint32, absent, limit uint32) int {
	if v == 0 {
		v = absent
	}
	if v > limit {
		c.add(&spec.FieldError{Field: field, Problem: fmt.Sprintf("is %d, the limit is %d", v, limit), Hint: "ask for fewer and go on with the next page", Kind: spec.Limit})
	}
	return int(v)
}

// modelTransition checks the names of a transition of an import.
func (c *checks) modelTransition(at int, t *typesv1.Transition) {
	field := func(name string) string { return fmt.Sprintf("transitions[%d].%s", at, name) }
	if t.GetAction() == spec.Initialisation {
		if t.GetFrom() != "" {
			c.add(&spec.FieldError{Field: field("from"), Problem: "is not empty although the action is __initialisation__",
				Hint: "leave it empty; the state that instances begin in goes into to", Kind: spec.Malformed})
		}
	} else {
		c.add(spec.CheckAction(field("action"), t.GetAction()))
		c.add(spec.CheckState(field("from"), t.GetFrom()))
	}
	c.add(spec.CheckState(field("to"), t.GetTo()))
}

// out makes the error of a caller of the error of a machine.
func out(err error) error {
	if err == nil {
		return nil
	}
	e := asError(err)
	if e == errClosed {
		return client.ErrClosed
	}
	if e == nil {
		e = &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL, Message: err.Error()}
	}
	d := e.Detail()
	d.Shard = 0 // there is one, and nobody is to rely on it
	return client.ErrorFromDetail(d, codeOf(e.Reason))
}

// codeOf is the gRPC status code that a server answers with; for the reasons
// that cannot come from here it is Internal.
func codeOf(r typesv1.Reason) codes.Code {
	switch r {
	case typesv1.Reason_REASON_INVALID_ARGUMENT, typesv1.Reason_REASON_LIMIT_EXCEEDED, typesv1.Reason_REASON_RESERVED_NAME, typesv1.Reason_REASON_DESERIALISATION_FAILED:
		return codes.InvalidArgument
	case typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND, typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND:
		return codes.NotFound
	case typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE:
		return codes.AlreadyExists
	case typesv1.Reason_REASON_SEQUENCE_MISMATCH, typesv1.Reason_REASON_OUTCOME_UNKNOWN, typesv1.Reason_REASON_SEAL_ABORTED, typesv1.Reason_REASON_UPLOAD_INCOMPLETE:
		return codes.Aborted
	case typesv1.Reason_REASON_REQUEST_ID_REUSED, typesv1.Reason_REASON_MODEL_MODE:
		return codes.FailedPrecondition
	case typesv1.Reason_REASON_MODEL_LIMIT:
		return codes.ResourceExhausted
	case typesv1.Reason_REASON_UNAVAILABLE, typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED:
		return codes.Unavailable
	}
	return codes.Internal
}
