package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Sentinels for errors.Is, one for each reason that the API knows. An *Error
// matches the sentinel of its reason.
var (
	ErrInvalidArgument           = errors.New("client: invalid argument")
	ErrLimitExceeded             = errors.New("client: limit exceeded")
	ErrReservedName              = errors.New("client: reserved name")
	ErrSpecificationNotFound     = errors.New("client: specification not found")
	ErrImplModelNotFound         = errors.New("client: implementation model not found")
	ErrInstanceInUse             = errors.New("client: instance identifier already in use")
	ErrInstanceNotFound          = errors.New("client: instance identifier not found")
	ErrSequenceMismatch          = errors.New("client: sequence mismatch")
	ErrRequestIDReused           = errors.New("client: request id reused with another body")
	ErrOutcomeUnknown            = errors.New("client: outcome unknown")
	ErrNotLeader                 = errors.New("client: node is not the leader")
	ErrNoLeader                  = errors.New("client: no leader")
	ErrQueueFull                 = errors.New("client: proposal queue is full")
	ErrModelLimit                = errors.New("client: model has reached its limit")
	ErrModelMode                 = errors.New("client: operation does not fit the mode of the model")
	ErrSealAborted               = errors.New("client: sealing was given up")
	ErrWrongCluster              = errors.New("client: wrong cluster")
	ErrWrongTarget               = errors.New("client: wrong target")
	ErrGroupHalted               = errors.New("client: group halted")
	ErrUnavailable               = errors.New("client: unavailable")
	ErrSpecificationNotInstalled = errors.New("client: specification not installed")
	ErrFeatureLevel              = errors.New("client: feature level too low")
	ErrNodeConflict              = errors.New("client: node conflict")
	ErrDeserialisationFailed     = errors.New("client: deserialisation failed")
	ErrInternal                  = errors.New("client: internal error of the server")
	ErrUploadIncomplete          = errors.New("client: upload incomplete")
	ErrDeviationNotFound         = errors.New("client: deviation not found")
	ErrModelNotEquivalent        = errors.New("client: model would not be equivalent to its specification")
	ErrModelChanged              = errors.New("client: model has changed since it was looked at")
	ErrNodeNotFound              = errors.New("client: node not found")
	ErrNodeRemoved               = errors.New("client: node was removed from the cluster")
	ErrPlacementChanged          = errors.New("client: placement has changed since it was looked at")
	ErrDiskSpace                 = errors.New("client: the cluster has no room left on its disks")
)

// Sentinels for what is not a reason of an ErrorDetail.
var (
	// ErrUnspecified is matched by an *Error that came without a reason, for
	// example from a proxy between the client and the cluster.
	ErrUnspecified = errors.New("client: unspecified error")
	// ErrClosed is returned by calls on a closed Client or Stream.
	ErrClosed = errors.New("client: closed")
	// ErrDeviationStillEquivalent is matched by a DeviationError with that verdict.
	ErrDeviationStillEquivalent = errors.New("client: step deviates from the model, which would still be equivalent to the specification")
	// ErrDeviationNotEquivalent is matched by a DeviationError with that verdict.
	ErrDeviationNotEquivalent = errors.New("client: step deviates from the model, which would not be equivalent to the specification")
	// ErrTransitionTimeout is matched by a DeviationError whose judgement has the reason TRANSITION_TIMEOUT.
	ErrTransitionTimeout = errors.New("client: transition timeout")
)

// reasonTransitionTimeout is the code of a judgement about a step that came too late.
const reasonTransitionTimeout = "TRANSITION_TIMEOUT"

// reasonInfo says what the client does about one reason.
type reasonInfo struct {
	sentinel error
	// retry is set for reasons that pass, or that another node may not have.
	retry bool
	// stay is set when another node would answer the same, so that only waiting helps.
	stay bool
}

// reasons has an entry for every value of typesv1.Reason; a test holds it to that.
var reasons = map[typesv1.Reason]reasonInfo{
	typesv1.Reason_REASON_UNSPECIFIED:                        {sentinel: ErrUnspecified},
	typesv1.Reason_REASON_INVALID_ARGUMENT:                   {sentinel: ErrInvalidArgument},
	typesv1.Reason_REASON_LIMIT_EXCEEDED:                     {sentinel: ErrLimitExceeded},
	typesv1.Reason_REASON_RESERVED_NAME:                      {sentinel: ErrReservedName},
	typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND:            {sentinel: ErrSpecificationNotFound},
	typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND:               {sentinel: ErrImplModelNotFound},
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE: {sentinel: ErrInstanceInUse},
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND:      {sentinel: ErrInstanceNotFound},
	typesv1.Reason_REASON_SEQUENCE_MISMATCH:                  {sentinel: ErrSequenceMismatch},
	typesv1.Reason_REASON_REQUEST_ID_REUSED:                  {sentinel: ErrRequestIDReused},
	typesv1.Reason_REASON_OUTCOME_UNKNOWN:                    {sentinel: ErrOutcomeUnknown},
	typesv1.Reason_REASON_NOT_LEADER:                         {sentinel: ErrNotLeader, retry: true},
	typesv1.Reason_REASON_NO_LEADER:                          {sentinel: ErrNoLeader, retry: true},
	typesv1.Reason_REASON_QUEUE_FULL:                         {sentinel: ErrQueueFull, retry: true, stay: true},
	typesv1.Reason_REASON_MODEL_LIMIT:                        {sentinel: ErrModelLimit},
	typesv1.Reason_REASON_MODEL_MODE:                         {sentinel: ErrModelMode},
	typesv1.Reason_REASON_SEAL_ABORTED:                       {sentinel: ErrSealAborted},
	typesv1.Reason_REASON_WRONG_CLUSTER:                      {sentinel: ErrWrongCluster},
	typesv1.Reason_REASON_WRONG_TARGET:                       {sentinel: ErrWrongTarget, retry: true},
	typesv1.Reason_REASON_GROUP_HALTED:                       {sentinel: ErrGroupHalted, retry: true},
	typesv1.Reason_REASON_UNAVAILABLE:                        {sentinel: ErrUnavailable, retry: true},
	typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED:        {sentinel: ErrSpecificationNotInstalled, retry: true, stay: true},
	typesv1.Reason_REASON_FEATURE_LEVEL:                      {sentinel: ErrFeatureLevel},
	typesv1.Reason_REASON_NODE_CONFLICT:                      {sentinel: ErrNodeConflict},
	typesv1.Reason_REASON_DESERIALISATION_FAILED:             {sentinel: ErrDeserialisationFailed},
	typesv1.Reason_REASON_INTERNAL:                           {sentinel: ErrInternal},
	typesv1.Reason_REASON_UPLOAD_INCOMPLETE:                  {sentinel: ErrUploadIncomplete, retry: true, stay: true},
	typesv1.Reason_REASON_DEVIATION_NOT_FOUND:                {sentinel: ErrDeviationNotFound},
	typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT:               {sentinel: ErrModelNotEquivalent},
	typesv1.Reason_REASON_MODEL_CHANGED:                      {sentinel: ErrModelChanged, retry: true, stay: true},
	typesv1.Reason_REASON_NODE_NOT_FOUND:                     {sentinel: ErrNodeNotFound},
	typesv1.Reason_REASON_NODE_REMOVED:                       {sentinel: ErrNodeRemoved},
	typesv1.Reason_REASON_PLACEMENT_CHANGED:                  {sentinel: ErrPlacementChanged, retry: true, stay: true},
	typesv1.Reason_REASON_DISK_SPACE:                         {sentinel: ErrDiskSpace},
}

// Error is a call that failed. It matches the sentinel of its Reason, and
// context.DeadlineExceeded or context.Canceled when the call was given up.
type Error struct {
	// Reason is the cause that the server named; REASON_UNSPECIFIED without one.
	// When the call was given up, it is the reason of the last attempt that got one.
	Reason typesv1.Reason
	// Code is the gRPC status code of the last attempt.
	Code codes.Code
	// Message is for people.
	Message string
	// RequestID is the request id of a write, with which it may be asked again.
	RequestID string
	// NotApplied is set when the request is certain not to have been applied, by
	// any of its attempts. When it is not set, a write may or may not be stored:
	// ask again with the same RequestID.
	NotApplied bool
	// CurrentSeq is the sequence number of the last step, for REASON_SEQUENCE_MISMATCH.
	CurrentSeq uint64
	// Shard is the shard that answered; 0 when it is not known.
	Shard uint32
	// LeaderID and LeaderAddress name the leader, for REASON_NOT_LEADER, when it is known.
	LeaderID, LeaderAddress string
	// Attempts counts how often the request was sent.
	Attempts int

	causes []error
}

// Error gives the message for people, with the reason in front.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("spex: ")
	if e.Reason != typesv1.Reason_REASON_UNSPECIFIED {
		b.WriteString(strings.TrimPrefix(e.Reason.String(), "REASON_"))
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Is reports whether target is the sentinel of the reason, or an *Error with the same reason.
func (e *Error) Is(target error) bool {
	if info, ok := reasons[e.Reason]; ok && target == info.sentinel {
		return true
	}
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Unwrap returns the causes: the error of the context when the call was given up, and the gRPC status.
func (e *Error) Unwrap() []error { return e.causes }

// Temporary reports whether the same request may succeed later: one that was given
// up, with a context that has not ended.
func (e *Error) Temporary() bool {
	if e.Reason != typesv1.Reason_REASON_UNSPECIFIED {
		return reasons[e.Reason].retry
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return true
	default:
		return false
	}
}

// unanswered reports whether the time of an attempt ended before an answer came.
func (e *Error) unanswered() bool { return e.Reason == 0 && e.Code == codes.DeadlineExceeded }

// stay reports whether another node would answer the same.
func (e *Error) stay() bool { return reasons[e.Reason].stay }

// DeviationError tells that the error policy of the specification rejects the
// verdict about a step. The step IS stored: Response says where. It must not be
// sent again.
type DeviationError struct {
	// Response is the answer about the stored step, never nil.
	Response *spexv1.StepResponse
}

// Error gives the verdict, the step and the explanation.
func (e *DeviationError) Error() string {
	r := e.Response
	s := fmt.Sprintf("spex: %s: instance %q, seq %d: %s --[%s]-> %s",
		strings.ToLower(strings.TrimPrefix(r.GetVerdict().String(), "VERDICT_")),
		r.GetId(), r.GetSeq(), r.GetFromState(), r.GetAction(), r.GetState())
	if why := r.GetJudgement().GetExplanation(); why != "" {
		s += ": " + why
	}
	if noticed(r) {
		s += " (the run of the instance proves: " + r.GetRunViolation().GetExplanation() + ")"
	}
	return s
}

// noticed reports whether at this step the run of its instance was found to
// violate the specification by itself.
func noticed(r *spexv1.StepResponse) bool {
	return r.GetRunViolation() != nil && r.GetRunViolation().GetFoundSeq() == r.GetSeq()
}

// Is reports whether target is the sentinel of the verdict. A step at which the run
// of its instance was found to violate the specification is also not equivalent.
func (e *DeviationError) Is(target error) bool {
	switch target {
	case ErrDeviationStillEquivalent:
		return e.Response.GetVerdict() == typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	case ErrDeviationNotEquivalent:
		return e.Response.GetVerdict() == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT || noticed(e.Response)
	case ErrTransitionTimeout:
		return e.Response.GetJudgement().GetReason() == reasonTransitionTimeout
	default:
		return false
	}
}

// PartialError tells that some shards did not answer a request that goes to all
// of them. What the others said was delivered.
type PartialError struct {
	// Failures names the shards and what they failed with; never empty.
	Failures []*spexv1.ShardFailure
}

// Error names the shards.
func (e *PartialError) Error() string {
	parts := make([]string, 0, len(e.Failures))
	for _, f := range e.Failures {
		parts = append(parts, fmt.Sprintf("shard %d: %s", f.GetShard(), f.GetError().GetMessage()))
	}
	return fmt.Sprintf("spex: the answer is incomplete, %d shards failed: %s", len(e.Failures), strings.Join(parts, "; "))
}

// Unwrap returns an *Error for each failure.
func (e *PartialError) Unwrap() []error {
	out := make([]error, 0, len(e.Failures))
	for _, f := range e.Failures {
		out = append(out, fromDetail(f.GetError()))
	}
	return out
}

// ResultError returns the error of one result of a batch or a stream: nil when
// the step is stored and not rejected, *DeviationError when it is stored and the
// policy rejects its verdict, else *Error.
func ResultError(r *spexv1.TransitionResult) error {
	switch o := r.GetOutcome().(type) {
	case *spexv1.TransitionResult_Response:
		return rejection(o.Response)
	case *spexv1.TransitionResult_Error:
		e := fromDetail(o.Error)
		e.RequestID = r.GetRequestId()
		return e
	default:
		return &Error{Code: codes.Internal, Message: "the server sent a result without an outcome", RequestID: r.GetRequestId()}
	}
}

// rejection makes the DeviationError of a response that the policy rejects.
func rejection(r *spexv1.StepResponse) error {
	if r.GetRejected() {
		return &DeviationError{Response: r}
	}
	return nil
}

// deviates reports whether a stored step deviates from the model, or proves that
// the run of its instance violates the specification.
func deviates(r *spexv1.StepResponse) bool {
	switch r.GetVerdict() {
	case typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT, typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT:
		return true
	}
	return noticed(r)
}

// fromDetail makes an Error of a detail, which may be nil.
func fromDetail(d *typesv1.ErrorDetail) *Error {
	return &Error{
		Reason:        d.GetReason(),
		Code:          codes.Unknown,
		Message:       d.GetMessage(),
		NotApplied:    d.GetNotApplied(),
		CurrentSeq:    d.GetCurrentSeq(),
		Shard:         uint32(d.GetShard()),
		LeaderID:      d.GetLeaderId(),
		LeaderAddress: d.GetLeaderAddress(),
	}
}

// GivenUp makes the Error of a call that ended because its context did, for engines.
// cause is the error of the context.
func GivenUp(cause error, notApplied bool) *Error {
	e := &Error{Code: codes.DeadlineExceeded, Message: fmt.Sprintf("the request was given up: %v", cause), NotApplied: notApplied, causes: []error{cause}}
	if cause != context.DeadlineExceeded {
		e.Code = codes.Canceled
	}
	return e
}

// toDetail is the inverse of fromDetail, for results that the client makes itself.
func (e *Error) toDetail() *typesv1.ErrorDetail {
	return &typesv1.ErrorDetail{
		Reason:        e.Reason,
		Message:       e.Message,
		NotApplied:    e.NotApplied,
		CurrentSeq:    e.CurrentSeq,
		Shard:         uint64(e.Shard),
		LeaderId:      e.LeaderID,
		LeaderAddress: e.LeaderAddress,
	}
}

// fromRPC makes an Error of what an RPC returned.
func fromRPC(err error) *Error {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	for _, d := range st.Details() {
		if detail, ok := d.(*typesv1.ErrorDetail); ok {
			e := fromDetail(detail)
			e.Code = st.Code()
			e.causes = []error{err}
			if e.Message == "" {
				e.Message = st.Message()
			}
			return e
		}
	}
	e := &Error{Code: st.Code(), Message: st.Message(), causes: []error{err}}
	// A server answers without a detail only where gRPC itself refuses.
	switch st.Code() {
	case codes.InvalidArgument:
		e.Reason = typesv1.Reason_REASON_INVALID_ARGUMENT
	case codes.ResourceExhausted:
		e.Reason = typesv1.Reason_REASON_LIMIT_EXCEEDED
	case codes.Unavailable:
		e.Reason = typesv1.Reason_REASON_UNAVAILABLE
	case codes.DeadlineExceeded:
		e.causes = append(e.causes, context.DeadlineExceeded)
	case codes.Canceled:
		e.causes = append(e.causes, context.Canceled)
	}
	return e
}

// status is the error in the form in which a server sends it.
func (e *Error) status() error {
	st := status.New(codes.Unavailable, e.Message)
	if with, err := st.WithDetails(e.toDetail()); err == nil {
		st = with
	}
	return st.Err()
}
