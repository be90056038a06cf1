// Package callctx carries what a call brings along besides its request: who
// asked, and the trace that it belongs to. The public API puts it into the
// context, the layers below read it when they log a command or pass a request
// on to another node. It is a leaf, so that every layer may import it.
package callctx

import "context"

type key int

const (
	principalKey key = iota
	traceKey
)

// Trace is a W3C trace context: the values of the headers `traceparent` and
// `tracestate`. An empty Parent means that the call is not traced.
type Trace struct {
	Parent string
	State  string
}

// WithPrincipal returns a context that names who asked.
func WithPrincipal(ctx context.Context, principal string) context.Context {
	return context.WithValue(ctx, principalKey, principal)
}

// Principal returns who asked, and "" when the context does not say.
func Principal(ctx context.Context) string {
	p, _ := ctx.Value(principalKey).(string)
	return p
}

// WithTrace returns a context that belongs to a trace.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey, t)
}

// TraceFrom returns the trace that the context belongs to, and the zero Trace
// when there is none.
func TraceFrom(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey).(Trace)
	return t
}
