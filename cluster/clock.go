package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

const (
	// maxClockOffset is how far a clock may be off the median of the cluster's
	// before this node does nothing that time drives.
	maxClockOffset = 5 * time.Second
	// clockEvery is how often the other nodes are asked for their time, and
	// clockPatience how long an answer may take: one that takes longer says too
	// little about the time.
	clockEvery, clockPatience = 2 * time.Second, time.Second
	// clockRetry is when to ask again after nobody could be asked.
	clockRetry = 200 * time.Millisecond
	// clockPeers bounds how many nodes are asked at a time.
	clockPeers = 8
)

// clock watches whether this node's clock agrees with those of its peers. What the
// log is stamped with comes from it: while the node's own clock is off it goes on
// by the median of the cluster, so that one wrong clock does not set the time of a
// log forward, which never goes back. It is safe for concurrent use.
type clock struct {
	// wall is the node's clock, and mono one that nobody sets, from any beginning.
	wall func() time.Time
	mono func() time.Duration
	// peers lists the other nodes, once they are known.
	peers func() (list []string, known bool)
	// ask asks a node for its time.
	ask func(ctx context.Context, node string) (time.Time, error)
	log *slog.Logger

	// jumped wakes the loop when the clock was set.
	jumped wake

	mu sync.Mutex // guards the fields below
	// known is set once the peers were asked, or there are none.
	known bool
	// off says that the clock is not to be trusted, and offset how far it is ahead
	// of the median, as it was last measured; measured is false before that.
	off      bool
	offset   time.Duration
	measured bool
	// The trusted time was base when the monotonic clock stood at since.
	base  time.Time
	since time.Duration
	// turn goes round the peers when there are many.
	turn int
}

// newClock makes the clock of a node.
func (n *Node) newClock() *clock {
	start := time.Now()
	return &clock{
		wall: n.cfg.Now, mono: func() time.Duration { return time.Since(start) }, log: n.log, jumped: newWake(),
		peers: func() (list []string, known bool) {
			for _, node := range n.catalog.machine.Nodes() {
				if id := node.GetId(); id != n.cfg.Self.GetId() {
					list = append(list, id)
				}
			}
			return list, n.ClusterID() != ""
		},
		ask: func(ctx context.Context, node string) (time.Time, error) {
			resp, err := n.cfg.Peers.Status(ctx, node, &peerv1.StatusRequest{TimeOnly: true})
			if err == nil && resp.GetTimeUnixNano() == 0 {
				err = fmt.Errorf("node %s does not tell its time", node)
			}
			return time.Unix(0, resp.GetTimeUnixNano()), err
		},
	}
}

// Now is the time to stamp entries with: the node's clock as long as it agrees
// with its peers, else what it would show if it did.
func (c *clock) Now() time.Time {
	now, mono := c.wall(), c.mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	trusted, ok := c.trustedLocked(now, mono)
	if ok {
		return now
	}
	return trusted
}

// trustedLocked returns the trusted time, and whether the node's clock agrees with it.
// A clock that was set since the last measurement is noticed at once.
func (c *clock) trustedLocked(now time.Time, mono time.Duration) (trusted time.Time, ok bool) {
	if c.base.IsZero() {
		return now, true
	}
	trusted = c.base.Add(mono - c.since)
	if c.off {
		return trusted, false
	}
	if d := now.Round(0).Sub(trusted); d > maxClockOffset || d < -maxClockOffset {
		c.jumped.set()
		return trusted, false
	}
	return trusted, true
}

// reliable reports whether this node may propose what time drives.
func (c *clock) reliable() bool {
	now, mono := c.wall(), c.mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.trustedLocked(now, mono)
	return c.known && ok
}

// status tells how far the clock is ahead of the median, if that is known, and
// what is wrong with it, "" if nothing.
func (c *clock) status() (offset *int64, alarm string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measured {
		n := int64(c.offset)
		offset = &n
	}
	if c.off {
		alarm = c.alarmLocked()
	}
	return offset, alarm
}

func (c *clock) alarmLocked() string {
	by, direction := c.offset, "ahead of"
	if by < 0 {
		by, direction = -by, "behind"
	}
	return fmt.Sprintf("its clock is %s %s the median of the cluster: as a leader it reports no timeouts, prunes nothing, and ends no acceptances and no seals; set the clock", by.Round(100*time.Millisecond), direction)
}

// run measures until ctx ends.
func (c *clock) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.jumped:
			// It may be seen as set many times before a measurement says how far.
			if sleep(ctx, clockRetry) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
		if c.measure(ctx) {
			timer.Reset(clockEvery)
		} else {
			timer.Reset(clockRetry)
		}
	}
}

// next lists the peers to ask now.
func (c *clock) next() (list []string, known bool) {
	all, known := c.peers()
	if len(all) <= clockPeers {
		return all, known
	}
	for range clockPeers {
		list = append(list, all[c.turn%len(all)])
		c.turn++
	}
	return list, known
}

// measure asks peers for their time and takes the result over. It reports whether
// that was possible, and is called by one goroutine.
func (c *clock) measure(ctx context.Context) bool {
	peers, known := c.next()
	if !known {
		return false
	}
	ahead := make([]time.Duration, len(peers)) // how far each peer is ahead of here
	answered := make([]bool, len(peers))
	call, cancel := context.WithTimeout(ctx, clockPatience)
	defer cancel()
	var all sync.WaitGroup
	for i, peer := range peers {
		all.Go(func() {
			before, sent := c.wall(), c.mono()
			there, err := c.ask(call, peer)
			if took := c.mono() - sent; err == nil && took <= clockPatience {
				// The answer was made some time between the request and its arrival.
				ahead[i], answered[i] = there.Sub(before.Round(0).Add(took/2)), true
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return false
	}
	list := []time.Duration{0} // the own clock counts
	for i, ok := range answered {
		if ok {
			list = append(list, ahead[i])
		}
	}
	asked := len(peers) == 0 || len(list) > 1
	median, early := medianAhead(list)
	c.take(-median, early, asked)
	return asked
}

// medianAhead is the median of clocks relative to one's own, which is among them.
// When two are in the middle it is the one farther away: of two clocks that
// differ nobody can say which is wrong, and both are careful. early is the earlier
// of the two: the time of a log that is set forward never goes back, while one
// that stands still goes on once it is known who is right.
func medianAhead(list []time.Duration) (median, early time.Duration) {
	slices.Sort(list)
	low, high := list[(len(list)-1)/2], list[len(list)/2]
	if low.Abs() > high.Abs() {
		return low, low
	}
	return high, low
}

// take accounts for a measurement; offset is how far the clock is ahead, and early
// how far the time to go by is, should the clock be off. Without
// an answer everything stays as it was, but for the first time: a node that hears
// of nobody has only its own clock to go by.
func (c *clock) take(offset, early time.Duration, answered bool) {
	now, mono := c.wall().Round(0), c.mono()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = true
	if !answered {
		if c.base.IsZero() {
			c.base, c.since = now, mono
		}
		return
	}
	was := c.off
	c.offset, c.measured, c.off = offset, true, offset.Abs() > maxClockOffset
	c.base, c.since = now, mono
	if c.off {
		c.base = now.Add(early)
	}
	switch {
	case c.off && !was:
		c.log.Error("this node's clock is off; it does nothing that time drives until that is mended", "alarm", c.alarmLocked(), "ahead_by", offset)
	case was && !c.off:
		c.log.Info("this node's clock agrees with its peers again", "ahead_by", offset)
	}
}
