package transport

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
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
		c.err = refusal(err)
	}
}

// refusal gives err, of the package spec, the form that has a reason.
func refusal(err error) error {
	var field *spec.FieldError
	if !errors.As(err, &field) {
		var e *fsm.Error
		if errors.As(err, &e) {
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

func malformed(field, problem, hint string) error {
	return &spec.FieldError{Field: field, Problem: problem, Hint: hint, Kind: spec.Malformed}
}

func overLimit(field, problem, hint string) error {
	return &spec.FieldError{Field: field, Problem: problem, Hint: hint, Kind: spec.Limit}
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
		c.add(malformed("consistency", fmt.Sprintf("has the unknown value %d", int32(*v)), "use LINEARIZABLE (1) or STALE (2)"))
	}
}

// count completes and checks a page size or limit.
func (c *checks) count(field string, v *uint32, absent, limit uint32) {
	if *v == 0 {
		*v = absent
	}
	if *v > limit {
		c.add(overLimit(field, fmt.Sprintf("is %d, the limit is %d", *v, limit), "ask for fewer and go on with the next page"))
	}
}

func (c *checks) pageToken(v string) {
	if len(v) > MaxPageTokenBytes {
		c.add(overLimit("page_token", fmt.Sprintf("is %d bytes long, the limit is %d", len(v), MaxPageTokenBytes),
			"pass the next_page_token of the answer before"))
	}
}

// where checks the length of an expression; what it says is for the backend.
func (c *checks) where(v string) {
	if len(v) > query.MaxBytes {
		c.add(overLimit("where", fmt.Sprintf("is %d bytes long, the limit is %d", len(v), query.MaxBytes), "write a shorter expression"))
	}
	if !utf8.ValidString(v) {
		c.add(malformed("where", "is not valid UTF-8", "write text"))
	}
}

func (c *checks) stuck(v int64) {
	if v < 0 {
		c.add(malformed("stuck_nanos", fmt.Sprintf("is %d", v), "give a duration above 0, or 0 for instances of any age"))
	}
}

// eventTime checks an event time. The start of 1970 is what logs without times
// say, and what the state uses for "nothing was said", so it becomes that.
func (c *checks) eventTime(v **timestamppb.Timestamp) {
	if *v == nil {
		return
	}
	if err := (*v).CheckValid(); err != nil {
		c.add(malformed("event_time", "is not a time: "+err.Error(), "give seconds since 1970 and 0 to 999,999,999 nanoseconds"))
		return
	}
	t := (*v).AsTime()
	if t.Before(minEventTime) || t.After(maxEventTime) {
		c.add(malformed("event_time", fmt.Sprintf("%s is out of range", t.Format(time.RFC3339)), "times from 1678 to 2261 can be kept"))
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
		c.add(overLimit("request", fmt.Sprintf("is %d bytes long, the limit is %d", n, spec.MaxCommandBytes), "send fewer or shorter fields"))
	}
}

// requestID completes and checks a request id. timed says that the id must
// carry its time; anchor is the field that would make up for it.
func (s *apiServer) requestID(c *checks, v *string, timed bool, anchor string) {
	if *v == "" {
		id, err := s.opts.NewRequestID()
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
		c.add(malformed("request_id", fmt.Sprintf("%q is not a UUIDv7", *v), fmt.Sprintf(
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

func (s *apiServer) normalizeInit(r *spexv1.InitInstanceRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.add(spec.CheckIdentifier("id", r.Id))
	if r.InitialState != "" {
		c.add(spec.CheckState("initial_state", r.InitialState))
	}
	c.add(spec.CheckMeta(r.Meta))
	c.eventTime(&r.EventTime)
	c.commandSize(r)
	s.requestID(&c, &r.RequestId, false, "")
	return c.err
}

func (s *apiServer) normalizeMock(r *spexv1.MockInstanceRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.add(spec.CheckIdentifier("id", r.Id))
	c.add(spec.CheckState("state", r.State))
	c.add(spec.CheckMeta(r.Meta))
	c.commandSize(r)
	s.requestID(&c, &r.RequestId, false, "")
	return c.err
}

func (s *apiServer) normalizeTransition(r *spexv1.TransitionRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.add(spec.CheckAction("action", r.Action))
	c.add(spec.CheckState("to_state", r.ToState))
	c.eventTime(&r.EventTime)
	c.commandSize(r)
	s.requestID(&c, &r.RequestId, r.ExpectedSeq == 0, "expected_seq")
	return c.err
}

func (s *apiServer) normalizeDelete(r *spexv1.DeleteInstanceRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.commandSize(r)
	s.requestID(&c, &r.RequestId, r.Incarnation == 0, "incarnation")
	return c.err
}

func normalizeGet(r *spexv1.GetInstanceRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.consistency(&r.Consistency)
	return c.err
}

func normalizeHistory(r *spexv1.GetHistoryRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.consistency(&r.Consistency)
	c.count("page_size", &r.PageSize, spec.MaxPage, spec.MaxPage)
	c.pageToken(r.PageToken)
	return c.err
}

func normalizeList(r *spexv1.ListInstancesRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	if r.Spec != "" {
		c.add(spec.CheckSpecName("spec", r.Spec))
	}
	if r.State != "" {
		c.add(spec.CheckState("state", r.State))
	}
	c.consistency(&r.Consistency)
	c.count("page_size", &r.PageSize, DefaultListPage, spec.MaxPage)
	c.pageToken(r.PageToken)
	c.where(r.Where)
	c.stuck(r.StuckNanos)
	return c.err
}

func normalizeDeleteMatching(r *spexv1.DeleteMatchingRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	if r.Spec != "" {
		c.add(spec.CheckSpecName("spec", r.Spec))
	}
	if r.State != "" {
		c.add(spec.CheckState("state", r.State))
	}
	if r.Where == "" {
		c.add(malformed("where", "is empty", `write "true" to delete every instance of the namespace`))
	}
	c.pageToken(r.PageToken)
	c.where(r.Where)
	c.stuck(r.StuckNanos)
	return c.err
}

func normalizeDeviations(r *spexv1.ListDeviationsRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	if r.Spec != "" {
		c.add(spec.CheckSpecName("spec", r.Spec))
	}
	c.consistency(&r.Consistency)
	c.count("limit", &r.Limit, DefaultDeviations, MaxDeviations)
	return c.err
}

// normalizeNamed completes and checks the two fields that name a
// specification; field is what the request calls the second.
func normalizeNamed(namespace *string, field, name string) error {
	var c checks
	c.namespace(namespace)
	c.add(spec.CheckSpecName(field, name))
	return c.err
}

// normalizeNamespace completes and checks a request that has nothing else.
func normalizeNamespace(namespace *string) error {
	var c checks
	c.namespace(namespace)
	return c.err
}

// checkModelTransition checks the names of a transition of a model. at is its
// place in the upload, from 0.
func checkModelTransition(at int, t *typesv1.Transition) error {
	var c checks
	field := func(name string) string { return fmt.Sprintf("transitions[%d].%s", at, name) }
	if t.GetAction() == spec.Initialisation {
		if t.GetFrom() != "" {
			c.add(malformed(field("from"), "is not empty although the action is __initialisation__", "leave it empty; the state that instances begin in goes into to"))
		}
	} else {
		c.add(spec.CheckAction(field("action"), t.GetAction()))
		c.add(spec.CheckState(field("from"), t.GetFrom()))
	}
	c.add(spec.CheckState(field("to"), t.GetTo()))
	return c.err
}
