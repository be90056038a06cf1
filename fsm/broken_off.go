//go:build !spexbroken

package fsm

import statev1 "github.com/spexio/spex/proto/spex/state/v1"

// What a build with the tag spexbroken can be made to do wrong; see package
// internal/broken. In an ordinary build this is compiled away.
const (
	// brokenDedupe takes a request that comes again for a new one.
	brokenDedupe = false
	// brokenVerdicts lets a later verdict replace the first.
	brokenVerdicts = false
)

func overwriteVerdict(*Shard, *statev1.RecordVerdict) {}
