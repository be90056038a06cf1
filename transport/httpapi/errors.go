package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// statusError is an error of this package: nothing was handed on. It travels with
// an HTTP status of its own where that of its gRPC code would say less.
func statusError(httpStatus int, reason typesv1.Reason, format string, args ...any) error {
	code := codes.InvalidArgument
	switch httpStatus {
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusNotFound:
		code = codes.NotFound
	case http.StatusTooManyRequests:
		code = codes.ResourceExhausted
	}
	message := fmt.Sprintf(format, args...)
	st, err := status.New(code, message).WithDetails(&typesv1.ErrorDetail{Reason: reason, Message: message, NotApplied: true})
	if err != nil {
		st = status.New(code, message)
	}
	return &runtime.HTTPStatusError{HTTPStatus: httpStatus, Err: st.Err()}
}

func invalid(format string, args ...any) error {
	return statusError(http.StatusBadRequest, typesv1.Reason_REASON_INVALID_ARGUMENT, format, args...)
}

// handleError is the gateway's way to writeError.
func (a *API) handleError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	a.writeError(w, r, err)
}

// writeError answers with err as google.rpc.Status in JSON.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	httpStatus, st := a.statusOf(r, err)
	w.Header().Del("Trailer")
	w.Header().Del("Transfer-Encoding")
	if httpStatus == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	body, err := jsonLines{}.Marshal(st.Proto())
	if err != nil {
		body = fmt.Appendf(nil, `{"code":%d,"message":"the error cannot be written as JSON","details":[]}`, st.Code())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(body, '\n'))
}

// statusOf says what err is for HTTP and for gRPC.
func (a *API) statusOf(r *http.Request, err error) (int, *status.Status) {
	// Whatever was made of a body that was cut off, this is the reason.
	if b, ok := r.Context().Value(boundedKey{}).(*boundedBody); ok {
		if why := b.why(); why != nil {
			err = why
		}
	}
	// Handlers of gRPC always add a detail: this is the gateway's own, about a
	// request that it did not hand on.
	if st, ok := status.FromError(err); ok && st.Code() == codes.InvalidArgument && len(st.Details()) == 0 {
		err = invalid("%s", st.Message())
	}
	httpStatus := 0
	var own *runtime.HTTPStatusError
	if errors.As(err, &own) {
		httpStatus, err = own.HTTPStatus, own.Err
	}
	st := status.Convert(a.cfg.Complete(err))
	if httpStatus == 0 {
		httpStatus = runtime.HTTPStatusFromCode(st.Code())
	}
	return httpStatus, st
}

// streamStatus is the last line of a stream that failed.
func (a *API) streamStatus(_ context.Context, err error) *status.Status {
	return status.Convert(a.cfg.Complete(err))
}

// handleRoutingError answers what no call has a path for.
func (a *API) handleRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	const see = "GET /openapi.json lists the paths and methods"
	switch httpStatus {
	case http.StatusMethodNotAllowed:
		a.writeError(w, r, statusError(httpStatus, typesv1.Reason_REASON_INVALID_ARGUMENT, "%s is no method of %s: %s", r.Method, r.URL.Path, see))
	case http.StatusNotFound:
		a.writeError(w, r, statusError(httpStatus, typesv1.Reason_REASON_INVALID_ARGUMENT, "there is no %s: %s", r.URL.Path, see))
	default:
		a.writeError(w, r, statusError(httpStatus, typesv1.Reason_REASON_INVALID_ARGUMENT, "%s: the path is malformed: %s", r.URL.Path, see))
	}
}
