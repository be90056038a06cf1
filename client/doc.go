// Package client is the Go SDK of Spex: it records the steps of workflow
// instances in a cluster and reads back what the cluster made of them.
//
// A Client knows any number of nodes and talks to one of them at a time, since
// every node forwards to the one that leads. When a node fails or hangs, the
// client goes on with the next. Every write carries a request id, made by the client unless
// it is given, and every retry carries the same one, so that a step is applied
// once however often it had to be sent.
//
// Every call has a deadline: the one of its context, or Options.Timeout when the
// context has none. Within it, failures that pass (a node that is down, a group
// that elects a leader, a full queue) are retried with exponential backoff and
// full jitter; refusals are returned at once.
//
// A step that deviates is not a failed call. It is stored, and its verdict is in
// the StepResponse. Only when the error policy of the specification rejects the
// verdict, the response comes together with a *DeviationError.
package client
