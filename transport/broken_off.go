//go:build !spexbroken

package transport

import "github.com/hashicorp/raft"

// appendEarly is for builds that break their promises; see package internal/broken.
func appendEarly(*RaftTransport, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	return nil
}
