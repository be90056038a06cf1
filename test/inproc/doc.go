// Package inproc runs whole clusters inside a test's process: the servers of
// package transport over real stores, real gRPC and real gossip on loopback, with
// a switch between any two nodes. It is what integration tests are built on.
package inproc
