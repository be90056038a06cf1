package main

import (
	"fmt"
	"strings"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// spaceJSON is the room on a node's disk.
type spaceJSON struct {
	// Level is ok, low or stop.
	Level       string `json:"level"`
	FreeBytes   uint64 `json:"free_bytes"`
	TotalBytes  uint64 `json:"total_bytes"`
	FreeInodes  uint64 `json:"free_inodes"`
	TotalInodes uint64 `json:"total_inodes"`
}

// spaceToJSON is nil for a node that does not watch its disk.
func spaceToJSON(s *typesv1.Space) *spaceJSON {
	if s.GetLevel() == typesv1.SpaceLevel_SPACE_LEVEL_UNSPECIFIED {
		return nil
	}
	return &spaceJSON{
		Level:     strings.ToLower(strings.TrimPrefix(s.GetLevel().String(), "SPACE_LEVEL_")),
		FreeBytes: s.GetFreeBytes(), TotalBytes: s.GetTotalBytes(), FreeInodes: s.GetFreeInodes(), TotalInodes: s.GetTotalInodes(),
	}
}

// spaceProblem says what a node does for want of room, "" when it has some.
func spaceProblem(n nodeJSON) string {
	if n.Space == nil || n.Space.Level == "ok" {
		return ""
	}
	room := fmt.Sprintf("%d of %d MiB free", n.Space.FreeBytes>>20, n.Space.TotalBytes>>20)
	if n.Space.TotalInodes > 0 {
		room += fmt.Sprintf(", %d of %d inodes", n.Space.FreeInodes, n.Space.TotalInodes)
	}
	if n.Space.Level == "stop" {
		return fmt.Sprintf("node %s has stopped its shards, as its disk is nearly full: %s", nodeLabel(n.ID, n.Name), room)
	}
	return fmt.Sprintf("node %s is short of disk space and leads nothing: %s", nodeLabel(n.ID, n.Name), room)
}
