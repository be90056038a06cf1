package shard

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stuckRestores is how many snapshots in a row may be installed without one
// entry applied after them.
const stuckRestores = 3

// stuck finds the states from which Raft does not recover by itself, but by being
// closed and opened again:
//
//   - hashicorp/raft#697: a follower whose uncommitted tail conflicts at the index
//     of a snapshot takes that snapshot in again and again. With at least
//     minTrailingLogs entries behind every snapshot and one batch in flight a
//     tail hardly gets that long; should it, then the log store, being monotonic,
//     is empty after the install, and opening the group again heals it.
//   - hashicorp/raft#696: a leader whose transfer was interrupted may refuse every
//     entry as if the transfer were still in progress.
type stuck struct {
	// reports has the first finding.
	reports chan error
	// patience is how long transfers may refuse entries.
	patience time.Duration
	now      func() time.Time

	mu sync.Mutex // guards the fields below
	// restores counts the snapshots restored since an entry was applied.
	restores int
	// refusing is since when a transfer refuses entries; zero when none does.
	refusing time.Time
	reported bool
}

func newStuck(cfg Config) *stuck {
	return &stuck{
		reports: make(chan error, 1),
		// A transfer ends after two election timeouts at the latest.
		patience: 4 * cfg.Timing.Election,
		now:      time.Now,
	}
}

// applied notes that an entry was applied.
func (s *stuck) applied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restores = 0
}

// restored notes that a snapshot was restored.
func (s *stuck) restored(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restores++
	if s.restores >= stuckRestores {
		s.reportLocked(fmt.Errorf("%d snapshots were installed, the last at index %d, without an entry applied after them", s.restores, index))
	}
}

// proposed notes what became of an entry.
func (s *stuck) proposed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !errors.Is(err, raft.ErrLeadershipTransferInProgress):
		s.refusing = time.Time{}
	case s.refusing.IsZero():
		s.refusing = s.now()
	case s.now().Sub(s.refusing) > s.patience:
		s.reportLocked(fmt.Errorf("a leadership transfer has refused entries for more than %v", s.patience))
	}
}

func (s *stuck) reportLocked(err error) {
	if !s.reported {
		s.reported = true
		s.reports <- err
	}
}

// stuckLoop tells the owner. It is a goroutine of its own because the finding is
// made where nobody may wait.
func (g *Group) stuckLoop() {
	select {
	case err := <-g.replica.stuck.reports:
		g.cfg.Logger.Error("raft does not get on; the group should be closed and opened again", "error", err)
		if g.cfg.OnStuck != nil {
			g.cfg.OnStuck(err)
		}
	case <-g.ctx.Done():
	}
}
