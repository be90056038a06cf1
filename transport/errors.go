package transport

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// CodeOf returns the gRPC code that errors with the reason travel under, and
// codes.Internal for a reason that this release does not know.
func CodeOf(reason typesv1.Reason) codes.Code { return api.CodeOf(reason) }

// StatusFromError returns err in the form that a gRPC handler returns: a status
// whose code follows from the reason of the *fsm.Error in err's chain, with its
// typesv1.ErrorDetail. An expired or cancelled context becomes DeadlineExceeded
// or Canceled with REASON_UNAVAILABLE; any other error becomes REASON_INTERNAL.
// A status that already carries a detail is returned unchanged, and nil gives nil.
func StatusFromError(err error) error {
	if err == nil {
		return nil
	}
	var e *fsm.Error
	if errors.As(err, &e) && e != nil {
		// A wrapped error says more than the one inside it.
		return withDetail(CodeOf(e.Reason), e, err.Error())
	}
	st, isStatus := status.FromError(err)
	switch {
	case isStatus && detailOf(st) != nil:
		return err
	case isStatus:
		return withDetail(st.Code(), errorFromPlainStatus(st), st.Message())
	case errors.Is(err, context.DeadlineExceeded):
		return withDetail(codes.DeadlineExceeded, &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE}, err.Error())
	case errors.Is(err, context.Canceled):
		return withDetail(codes.Canceled, &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE}, err.Error())
	default:
		return withDetail(codes.Internal, &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL}, err.Error())
	}
}

// ErrorFromStatus is the inverse of StatusFromError for what a gRPC call
// returned. Statuses without a detail come from gRPC itself, not from the
// peer's handler: for them the reason is derived from the code, and NotApplied
// is set only where gRPC is certain that no handler ran. It returns nil for nil;
// do not assign the result to an error before checking that.
func ErrorFromStatus(err error) *fsm.Error {
	if err == nil {
		return nil
	}
	var e *fsm.Error
	if errors.As(err, &e) && e != nil {
		return e
	}
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	if d := detailOf(st); d != nil {
		return fsm.ErrorFromDetail(d)
	}
	return errorFromPlainStatus(st)
}

// errorFromPlainStatus judges a status that carries no detail.
func errorFromPlainStatus(st *status.Status) *fsm.Error {
	e := &fsm.Error{Message: st.Message()}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		e.Reason = typesv1.Reason_REASON_UNAVAILABLE
	case codes.ResourceExhausted:
		// A message over a size limit: of the request, or of the answer, so
		// that the request may have been served.
		e.Reason = typesv1.Reason_REASON_LIMIT_EXCEEDED
	case codes.Unimplemented:
		e.Reason = typesv1.Reason_REASON_FEATURE_LEVEL
		e.NotApplied = true
	case codes.Unauthenticated, codes.PermissionDenied:
		e.Reason = typesv1.Reason_REASON_INVALID_ARGUMENT
		e.NotApplied = true
	case codes.InvalidArgument:
		e.Reason = typesv1.Reason_REASON_INVALID_ARGUMENT
	default:
		e.Reason = typesv1.Reason_REASON_INTERNAL
	}
	return e
}

func withDetail(code codes.Code, e *fsm.Error, message string) error {
	// A string that is not UTF-8 cannot be encoded, and the reason would be
	// lost with it.
	message = strings.ToValidUTF8(message, "\uFFFD")
	d := e.Detail()
	d.Message = message
	st, err := status.New(code, message).WithDetails(d)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// hasDetail reports whether err is a status with a detail: an error that a
// handler of ours returned.
func hasDetail(err error) bool {
	st, ok := status.FromError(err)
	return ok && detailOf(st) != nil
}

func detailOf(st *status.Status) *typesv1.ErrorDetail {
	for _, d := range st.Details() {
		if d, ok := d.(*typesv1.ErrorDetail); ok {
			return d
		}
	}
	return nil
}
