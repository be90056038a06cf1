package transport

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxPiece and minPiece bound the pieces of limited snapshots: one does not hold
	// the link for long, and their headers do not become the most of what is sent.
	maxPiece = 64 << 10
	minPiece = 1 << 10
	// pieceShare is the part of the progress timeout in which each of the
	// snapshots under way has its turn.
	pieceShare = 8
)

// copies limits what a node sends as snapshots, of all groups and to all nodes
// together. It is safe for concurrent use.
//
// The snapshots under way take turns, and a receiver gives up on one of which
// nothing arrives for too long. So the more there are, the smaller the pieces:
// how low the limit is never decides whether a snapshot arrives. One that
// its receiver takes slowly uses none of what the others could send.
type copies struct {
	// limiter is nil without a limit.
	limiter *rate.Limiter
	// turn is how many bytes all snapshots together may send in one round of turns.
	turn int64
	// active counts the snapshots under way.
	active atomic.Int64
}

func newCopies(perSecond int64, progress time.Duration) *copies {
	if perSecond == 0 {
		return &copies{}
	}
	return &copies{
		limiter: rate.NewLimiter(rate.Limit(perSecond), MaxSnapshotChunkBytes),
		turn:    int64(float64(perSecond) * (progress / pieceShare).Seconds()),
	}
}

// begin counts a snapshot until end is called.
func (c *copies) begin() (end func()) {
	c.active.Add(1)
	return func() { c.active.Add(-1) }
}

// next waits until a piece of a snapshot with left bytes to go may be sent, and
// returns how large it may be. It ends with ctx at the latest.
func (c *copies) next(ctx context.Context, left int64) (int64, error) {
	if c.limiter == nil {
		return min(left, MaxSnapshotChunkBytes), nil
	}
	size := min(left, max(min(c.turn/max(c.active.Load(), 1), maxPiece), minPiece))
	return size, c.limiter.WaitN(ctx, int(size))
}
