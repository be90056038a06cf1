package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatienceOfAStatus: a status with hashes of large states answers with what it
// has before its caller gives up, and uses the time that the caller has.
func TestPatienceOfAStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for caller, want := range map[time.Duration]time.Duration{10 * time.Second: 9 * time.Second, time.Minute: 54 * time.Second, time.Second: statusPatience} {
			ctx, cancel := context.WithTimeout(t.Context(), caller)
			if got := patienceOf(ctx, true); got != want {
				t.Errorf("hashes within %v: %v, want %v", caller, got, want)
			}
			if got := patienceOf(ctx, false); got != statusPatience {
				t.Errorf("no hashes within %v: %v", caller, got)
			}
			cancel()
		}
	})
}
