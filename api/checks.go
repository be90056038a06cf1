package api

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/query"
	"github.com/spexio/spex/spec"
)

// DefaultNamespace is what an empty namespace means.
const DefaultNamespace = "default"

// Limits and defaults of the API beyond those of the package spec.
const (
	// DefaultListPage is the page of ListInstances when the request names none.
	DefaultListPage = 100
	// DefaultDeviations is the limit of ListDeviations when the request names none.
	DefaultDeviations = 1000
	// MaxDeviations bounds the deviations of one answer.
	MaxDeviations = 10_000
	// MaxPageTokenBytes bounds a page token. Tokens that a backend makes must be shorter.
	MaxPageTokenBytes = 4 << 10
	// MaxUploadBytes bounds an encoded specification: spec.MaxTransitions with
	// names of full length, twice over.
	MaxUploadBytes = 2 * spec.MaxTransitions * (3*spec.MaxNameBytes + 32)
	// MaxReviewed bounds the transitions of one acceptance or rejection.
	MaxReviewed = fsm.MaxReviewed
	// MaxOwnerBytes and MaxReasonBytes bound who reviewed a deviation, and why.
	MaxOwnerBytes  = fsm.MaxOwnerBytes
	MaxReasonBytes = fsm.MaxReasonBytes
	// MaxModelEvents bounds the history of a model that is kept.
	MaxModelEvents = fsm.MaxModelEvents
)

// Limits and defaults of Watch.
const (
	// DefaultHeartbeat is the longest silence of a watch that names none.
	DefaultHeartbeat = 10 * time.Second
	// MinHeartbeat and MaxHeartbeat bound what a watch may ask for.
	MinHeartbeat, MaxHeartbeat = 100 * time.Millisecond, time.Minute
	// MaxWatchSpecs bounds the specifications that a watch names.
	MaxWatchSpecs = 100
	// MaxCursorBytes bounds a cursor: that of a cluster with as many shards as
	// there can be is shorter.
	MaxCursorBytes = 32 << 10
)

// Times are kept as nanoseconds since 1970 in 64 bits.
var (
	minEventTime = time.Unix(0, math.MinInt64).UTC()
	maxEventTime = time.Unix(0, math.MaxInt64).UTC()
)

// checks collects the first thing that is wrong with a request.
type checks struct{ err error }

// add keeps err if it is the first.
func (c *checks) add(err error) {
	if c.err == nil && err != nil {
		c.err = Refusal(err)
	}
}

// Refusal gives err, of the package spec, the form that has a reason. One that
// has it already stays as it is, and nil stays nil.
func Refusal(err error) error {
	var field *spec.FieldError
	if !errors.As(err, &field) {
		var e *fsm.Error
		if err == nil || errors.As(err, &e) {
			return err
		}
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	reason := typesv1.Reason_REASON_INVALID_ARGUMENT
	switch field.Kind {
	case spec.Limit:
		reason = typesv1.Reason_REASON_LIMIT_EXCEEDED
	case spec.Reserved:
		reason = typesv1.Reason_REASON_RESERVED_NAME
	}
	return fsm.Errorf(reason, "%v", err)
}

// Malformed refuses a field with REASON_INVALID_ARGUMENT.
func Malformed(field, problem, hint string) error {
	return Refusal(&spec.FieldError{Field: field, Problem: problem, Hint: hint, Kind: spec.Malformed})
}

// OverLimit refuses a field with REASON_LIMIT_EXCEEDED.
func OverLimit(field, problem, hint string) error {
	return Refusal(&spec.FieldError{Field: field, Problem: problem, Hint: hint, Kind: spec.Limit})
}

// namespace completes and checks a namespace.
func (c *checks) namespace(v *string) {
	if *v == "" {
		*v = DefaultNamespace
		return
	}
	c.add(spec.CheckNamespace("namespace", *v))
}

// consistency completes and checks a consistency.
func (c *checks) consistency(v *spexv1.Consistency) {
	switch *v {
	case spexv1.Consistency_CONSISTENCY_UNSPECIFIED:
		*v = spexv1.Consistency_CONSISTENCY_LINEARIZABLE
	case spexv1.Consistency_CONSISTENCY_LINEARIZABLE, spexv1.Consistency_CONSISTENCY_STALE:
	default:
		c.add(Malformed("consistency", fmt.Sprintf("has the unknown value %d", int32(*v)), "use LINEARIZABLE (1) or STALE (2)"))
	}
}

// count completes and checks a page size or limit.
func (c *checks) count(field string, v *uint32, absent, limit uint32) {
	if *v == 0 {
		*v = absent
	}
	if *v > limit {
		c.add(OverLimit(field, fmt.Sprintf("is %d, the limit is %d", *v, limit), "ask for fewer"))
	}
}

func (c *checks) pageToken(v string) {
	if len(v) > MaxPageTokenBytes {
		c.add(OverLimit("page_token", fmt.Sprintf("is %d bytes long, the limit is %d", len(v), MaxPageTokenBytes),
			"pass the next_page_token of the answer before"))
	}
}

// selection is what a request says about the instances that it means.
type selection interface {
	GetSpec() string
	GetState() string
	GetWhere() string
	GetStuckNanos() int64
	GetPageToken() string
}

func (c *checks) selection(r selection) {
	if v := r.GetSpec(); v != "" {
		c.add(spec.CheckSpecName("spec", v))
	}
	if v := r.GetState(); v != "" {
		c.add(spec.CheckState("state", v))
	}
	c.pageToken(r.GetPageToken())
	c.where(r.GetWhere())
	c.stuck(r.GetStuckNanos())
}

// where checks the length of an expression; what it says is for the backend.
func (c *checks) where(v string) {
	if len(v) > query.MaxBytes {
		c.add(OverLimit("where", fmt.Sprintf("is %d bytes long, the limit is %d", len(v), query.MaxBytes), "write a shorter expression"))
	}
	if !utf8.ValidString(v) {
		c.add(Malformed("where", "is not valid UTF-8", "write text"))
	}
}

func (c *checks) stuck(v int64) {
	if v < 0 {
		c.add(Malformed("stuck_nanos", fmt.Sprintf("is %d", v), "give a duration above 0, or 0 for instances of any age"))
	}
}

// eventTime checks an event time. The start of 1970 is what logs without times
// say, and what the state uses for "nothing was said", so it becomes that.
func (c *checks) eventTime(v **timestamppb.Timestamp) {
	if *v == nil {
		return
	}
	if err := (*v).CheckValid(); err != nil {
		c.add(Malformed("event_time", "is not a time: "+err.Error(), "give seconds since 1970 and 0 to 999,999,999 nanoseconds"))
		return
	}
	t := (*v).AsTime()
	if t.Before(minEventTime) || t.After(maxEventTime) {
		c.add(Malformed("event_time", fmt.Sprintf("%s is out of range", t.Format(time.RFC3339)), "times from 1678 to 2261 can be kept"))
		return
	}
	if t.UnixNano() == 0 {
		*v = nil
	}
}

// commandSize checks the size of a whole command, which fields within their
// limits never exceed, but fields that this release does not know may.
func (c *checks) commandSize(m proto.Message) {
	if n := proto.Size(m); n > spec.MaxCommandBytes {
		c.add(OverLimit("request", fmt.Sprintf("is %d bytes long, the limit is %d", n, spec.MaxCommandBytes), "send fewer or shorter fields"))
	}
}

// RequestIDs makes the ids of requests that have none.
type RequestIDs func() (string, error)

// requestID completes and checks a request id. timed says that the id must
// carry its time; anchor is the field that would make up for it.
func (c *checks) requestID(ids RequestIDs, v *string, timed bool, anchor string) {
	if *v == "" && ids != nil {
		id, err := ids()
		if err != nil {
			c.add(fsm.Errorf(typesv1.Reason_REASON_INTERNAL, "no request id could be made: %v", err))
		}
		*v = id
		return
	}
	if err := spec.CheckRequestID("request_id", *v); err != nil {
		c.add(err)
		return
	}
	if timed && !isUUIDv7(*v) {
		c.add(Malformed("request_id", fmt.Sprintf("%q is not a UUIDv7", *v), fmt.Sprintf(
			"such an id carries no time, so that a retry could not be told from a request that has been forgotten: use a UUIDv7, or set %s", anchor)))
	}
}

// isUUIDv7 reports whether v is a UUIDv7 in its usual form of 36 characters.
func isUUIDv7(v string) bool {
	if len(v) != 36 {
		return false
	}
	id, err := uuid.Parse(v)
	return err == nil && id.Version() == 7 && id.Variant() == uuid.RFC4122
}

// remark checks a text by people for people, which must not be empty.
func (c *checks) remark(field, v string, limit int, hint string) {
	switch {
	case v == "":
		c.add(Malformed(field, "is empty", hint))
	case len(v) > limit:
		c.add(OverLimit(field, fmt.Sprintf("is %d bytes long, the limit is %d", len(v), limit), "make it shorter"))
	case !utf8.ValidString(v):
		c.add(Malformed(field, "is not UTF-8", "encode it as UTF-8"))
	}
}

// until checks the end of an acceptance. Whether it is over is for the log's
// clock to say.
func (c *checks) until(v *timestamppb.Timestamp) {
	if v == nil {
		return
	}
	if err := v.CheckValid(); err != nil {
		c.add(Malformed("expires_at", "is not a time: "+err.Error(), "give seconds since 1970 and 0 to 999,999,999 nanoseconds"))
		return
	}
	// An end of 0 would be kept as none.
	if t := v.AsTime(); !t.After(time.Unix(0, 0)) || t.After(maxEventTime) {
		c.add(Malformed("expires_at", fmt.Sprintf("%s is out of range", t.Format(time.RFC3339)), "give a time to come, up to 2261"))
	}
}

func (c *checks) heartbeat(v **durationpb.Duration) {
	if *v == nil {
		*v = durationpb.New(DefaultHeartbeat)
		return
	}
	d := (*v).AsDuration()
	if (*v).CheckValid() != nil || d < MinHeartbeat || d > MaxHeartbeat {
		c.add(Malformed("heartbeat", fmt.Sprintf("is %v", d), fmt.Sprintf("give a duration from %v to %v", MinHeartbeat, MaxHeartbeat)))
	}
}
