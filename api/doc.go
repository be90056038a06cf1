// Package api has what every end of the public API does alike, whether it serves
// over a network or in the caller's process: it completes and checks requests,
// makes the messages of answers of what the state machines tell, and knows which
// gRPC status code goes with which reason. A rule or a word that both ends have
// belongs here, so that they cannot drift apart.
//
// Its functions keep no state and may be called from many goroutines at once.
package api
