package transport

import (
	"context"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/internal/callctx"
)

// Anonymous is the principal of callers that nobody asked for a name.
const Anonymous = "anonymous"

// MaxPrincipalBytes bounds the name of a principal, since it is written into
// the log with every command.
const MaxPrincipalBytes = 256

// The W3C trace context as gRPC metadata.
const (
	traceParentKey = "traceparent"
	traceStateKey  = "tracestate"
	// The standard asks to carry at least this much of tracestate; more is dropped.
	maxTraceState = 512
)

// Authenticator finds out who calls.
type Authenticator interface {
	// Authenticate returns the name of the caller, at most MaxPrincipalBytes
	// long, from what ctx carries (metadata, peer, TLS state). fullMethod is
	// the gRPC method, "/service/method". An error refuses the call: a gRPC
	// status travels as it is, anything else becomes UNAUTHENTICATED. It is
	// called concurrently, once a call or stream, and must honour ctx.
	Authenticate(ctx context.Context, fullMethod string) (principal string, err error)
}

// AllowAll lets everybody in under the name Anonymous. It is the default.
type AllowAll struct{}

// Authenticate returns Anonymous.
func (AllowAll) Authenticate(context.Context, string) (string, error) { return Anonymous, nil }

// PrincipalFrom returns who made the call that ctx belongs to, and "" for a
// context that belongs to none. Packages below transport ask
// callctx.Principal, which is the same.
func PrincipalFrom(ctx context.Context) string { return callctx.Principal(ctx) }

// IncomingTrace returns ctx with the trace context of the incoming gRPC
// metadata, if that holds a well-formed one.
func IncomingTrace(ctx context.Context) context.Context {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return ctx
	}
	parents := md.Get(traceParentKey)
	// More than one traceparent is a broken trace, which the standard says to ignore.
	if len(parents) != 1 || !validTraceParent(parents[0]) {
		return ctx
	}
	trace := callctx.Trace{Parent: parents[0]}
	if state := strings.Join(md.Get(traceStateKey), ","); len(state) <= maxTraceState {
		trace.State = state
	}
	return callctx.WithTrace(ctx, trace)
}

// OutgoingTrace returns ctx with its trace context added to the outgoing gRPC
// metadata, for a request that is passed on to another node.
func OutgoingTrace(ctx context.Context) context.Context {
	trace := callctx.TraceFrom(ctx)
	if trace.Parent == "" {
		return ctx
	}
	pairs := []string{traceParentKey, trace.Parent}
	if trace.State != "" {
		pairs = append(pairs, traceStateKey, trace.State)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// validTraceParent reports whether v is version-traceid-parentid-flags in
// lower-case hex with ids that are not zero. Later versions may be longer.
func validTraceParent(v string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(v) < length || len(v) > maxTraceState {
		return false
	}
	if v[:2] == "00" && len(v) != length || v[:2] == "ff" || len(v) > length && v[length] != '-' {
		return false
	}
	if v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	for _, part := range []string{v[:2], v[3:35], v[36:52], v[53:55]} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return strings.Trim(v[3:35], "0") != "" && strings.Trim(v[36:52], "0") != ""
}

// authenticate asks a for the caller and returns ctx with its name and trace.
func authenticate(ctx context.Context, a Authenticator, fullMethod string) (context.Context, error) {
	principal, err := a.Authenticate(ctx, fullMethod)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, err
		}
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if principal == "" || len(principal) > MaxPrincipalBytes || !utf8.ValidString(principal) {
		return nil, status.Errorf(codes.Unauthenticated,
			"the name of the caller has %d bytes; it must have 1 to %d of UTF-8", len(principal), MaxPrincipalBytes)
	}
	return IncomingTrace(callctx.WithPrincipal(ctx, principal)), nil
}
