// Package httpapi serves the public API over HTTP with JSON, for programs without
// gRPC. Most calls are translated by generated code (proto/gateway) after the paths
// in proto/gateway.yaml; specifications, models and the stream of steps are bodies
// of their own here, since files are what people have.
//
// A request becomes a call of the node's own gRPC server, over a connection that
// the caller hands in: deadlines, authentication, limits, metrics and errors are
// those of gRPC, whoever calls. This package adds what only HTTP has: statuses,
// bounded bodies, slow peers, probes, and the description at /openapi.json.
package httpapi
