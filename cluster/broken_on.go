//go:build spexbroken

package cluster

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// judgeTwice records the opposite verdicts a moment later, as a second leader
// would that judges what the first one has judged.
func judgeTwice(ctx context.Context, r *replica, cmds []*statev1.Command) {
	var again []*statev1.Command
	for _, c := range cmds {
		c = proto.CloneOf(c)
		j := c.GetRecordVerdict().GetJudgement()
		if j.Verdict == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT {
			j.Verdict = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
		} else {
			j.Verdict = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
		}
		again = append(again, c)
	}
	go func() {
		select {
		case <-time.After(200 * time.Millisecond):
			_ = r.propose(ctx, again)
		case <-ctx.Done():
		}
	}()
}
