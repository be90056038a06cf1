package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

// spaceComplaint is the time between two lines of the log about a node that has
// no room to start.
const spaceComplaint = 30 * time.Second

// AwaitSpace returns when there is room to open the node's storage, and gives up
// the reserve when that makes it. A node that waits is no worse than one that
// dies of a full disk at once, again and again.
func AwaitSpace(ctx context.Context, c SpaceConfig, log *slog.Logger) error {
	if !c.on() {
		return nil
	}
	var said time.Time
	for {
		u, err := c.measure()
		if err != nil {
			return err
		}
		if c.Limits.canOpen(u) {
			return nil
		}
		released, err := store.ReleaseReserve(c.Dir)
		if err != nil {
			return fmt.Errorf("release the reserve of disk space: %w", err)
		}
		if released {
			log.Warn("the disk is nearly full: the reserve was released to let the node start", "space", u.String())
			continue
		}
		if now := time.Now(); now.Sub(said) >= spaceComplaint {
			said = now
			log.Error("the node does not start: there is no room on its disk. It goes on as soon as there is", "directory", c.Dir, "space", u.String())
		}
		if err := sleep(ctx, c.period()); err != nil {
			return err
		}
	}
}

// spaceError is why a shard is stopped.
type spaceError struct{ usage store.Usage }

func (e *spaceError) Error() string {
	return "stopped until there is room on the node's disk: " + e.usage.String()
}

// space watches the room on the disk of a node, and of the nodes that vote in
// the groups that it leads.
type space struct {
	node *Node
	cfg  SpaceConfig
	// changed has a token when the shards have to be stopped or opened.
	changed wake
	// reserved is set when the reserve was made or found; it belongs to the loop.
	reserved bool
	// handing is set while leaderships are handed away.
	handing atomic.Bool

	mu    sync.Mutex // guards the fields below
	usage store.Usage
	level typesv1.SpaceLevel
	// peers holds the last known levels of other nodes.
	peers map[string]typesv1.SpaceLevel
}

// newSpace measures once, so that a node without room opens no shard.
func newSpace(n *Node) *space {
	s := &space{node: n, cfg: n.cfg.Space, changed: newWake(), peers: map[string]typesv1.SpaceLevel{}}
	s.look()
	return s
}

// stopped returns why the shards of this node must not run, nil if they may.
func (s *space) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.level != typesv1.SpaceLevel_SPACE_LEVEL_STOP {
		return nil
	}
	return &spaceError{s.usage}
}

// message is what the node tells others about its room.
func (s *space) message() *typesv1.Space {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := spaceMessage(s.usage)
	m.Level = s.level
	return m
}

// run watches until the node closes.
func (s *space) run(ctx context.Context) {
	if !s.cfg.on() {
		return
	}
	ticker := time.NewTicker(s.cfg.period())
	defer ticker.Stop()
	var beside sync.WaitGroup
	defer beside.Wait()
	for {
		s.look()
		s.keepReserve()
		// Transfers may take long: the disk, and who refuses writes, are looked at meanwhile.
		if away := s.relieveGroups(ctx); len(away) > 0 && s.handing.CompareAndSwap(false, true) {
			beside.Go(func() {
				defer s.handing.Store(false)
				s.handAway(ctx, away)
			})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look measures and notes the level.
func (s *space) look() {
	if !s.cfg.on() {
		return
	}
	u, err := s.cfg.measure()
	if err != nil {
		s.node.log.Warn("the room on the disk is not known", "error", err)
		return
	}
	s.mu.Lock()
	was := s.level
	s.usage, s.level = u, s.cfg.Limits.level(u, was)
	now := s.level
	s.mu.Unlock()
	if now == was {
		return
	}
	const stop = typesv1.SpaceLevel_SPACE_LEVEL_STOP
	log := s.node.log.With("space", u.String())
	switch {
	case now == stop:
		log.Error("the disk is nearly full: the node stops its shards until there is room", "limit_percent", s.cfg.Limits.Stop)
	case now == typesv1.SpaceLevel_SPACE_LEVEL_LOW:
		log.Warn("disk space is low: the node hands its leaderships away, and a shard refuses writes when most of its voters are so", "limit_percent", s.cfg.Limits.Low)
	case was != typesv1.SpaceLevel_SPACE_LEVEL_UNSPECIFIED:
		log.Info("there is room on the disk again")
	}
	if now == stop || was == stop {
		s.changed.set()
	}
}

// keepReserve makes the reserve when there is room for it.
func (s *space) keepReserve() {
	s.mu.Lock()
	usage, level := s.usage, s.level
	s.mu.Unlock()
	if s.reserved || s.cfg.Dir == "" || level != typesv1.SpaceLevel_SPACE_LEVEL_OK {
		return
	}
	size := s.cfg.Limits.reserve(usage)
	if size == 0 {
		return
	}
	if err := store.HoldReserve(s.cfg.Dir, int64(size)); err != nil {
		s.node.log.Warn("no disk space could be reserved", "error", err)
		return
	}
	s.reserved = true
}

// relieveGroups lets every group that this node leads refuse writes, or take
// them, as relieve says, and returns to whom leaderships are to be handed.
func (s *space) relieveGroups(ctx context.Context) []transfer {
	var led []group
	voters := map[group][]string{}
	var others []string
	leads := map[string]int{}
	for _, g := range s.node.host.Groups() {
		if leader, known := g.Leader(); known {
			leads[leader]++
		}
		if _, leading := g.Leading(); !leading {
			g.RefuseGrowth("")
			continue
		}
		led = append(led, g)
		voters[g] = g.Status().Voters
		for _, id := range voters[g] {
			if id != s.node.cfg.Self.GetId() && !slices.Contains(others, id) {
				others = append(others, id)
			}
		}
	}
	answered := s.askPeers(ctx, others)
	var away []transfer
	for _, g := range led {
		target, refuse := relieve(s.rooms(voters[g], answered), leads)
		if refuse {
			g.RefuseGrowth(s.refusal(voters[g]))
		} else {
			g.RefuseGrowth("")
		}
		if target != "" {
			away = append(away, transfer{g, target})
			leads[target]++
		}
	}
	return away
}

// transfer is a leadership that is to be handed to another voter.
type transfer struct {
	group group
	to    string
}

// handAway hands leaderships to nodes with room, a few at a time.
func (s *space) handAway(ctx context.Context, away []transfer) {
	var work sync.WaitGroup
	places := make(chan struct{}, handOvers)
	for _, t := range away {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			if _, leading := t.group.Leading(); !leading || ctx.Err() != nil {
				return
			}
			call, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			if err := t.group.TransferLeadership(call, t.to); err != nil {
				s.node.log.Warn("leadership could not be handed to a node with room on its disk", "group", t.group.ID(), "to", t.to, "error", err)
			}
		})
	}
	work.Wait()
}

// rooms puts this node before the other voters, as relieve wants it.
func (s *space) rooms(ids []string, answered map[string]bool) []voterRoom {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := s.node.cfg.Self.GetId()
	rooms := []voterRoom{{id: self, level: s.level, fresh: true}}
	for _, id := range ids {
		if id != self {
			rooms = append(rooms, voterRoom{id: id, level: s.peers[id], fresh: answered[id]})
		}
	}
	return rooms
}

// refusal tells clients why they are refused.
func (s *space) refusal(voters []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	short := 0
	for _, id := range voters {
		level := s.peers[id]
		if id == s.node.cfg.Self.GetId() {
			level = s.level
		}
		if level > typesv1.SpaceLevel_SPACE_LEVEL_OK {
			short++
		}
	}
	return fmt.Sprintf("it takes no new data: %d of the %d nodes that hold it have less than %g %% of their disk free; "+
		"reads and deletions go on; make room, and it takes data again", short, len(voters), s.cfg.Limits.Low)
}

// askPeers asks nodes about their room and returns who answered.
func (s *space) askPeers(ctx context.Context, ids []string) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, max(s.cfg.period(), time.Second))
	defer cancel()
	answered := map[string]bool{}
	var work sync.WaitGroup
	for _, id := range ids {
		work.Go(func() {
			resp, err := s.node.cfg.Peers.Status(ctx, id, &peerv1.StatusRequest{SpaceOnly: true})
			if err != nil {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.peers[id] = resp.GetSpace().GetLevel()
			answered[id] = true
		})
	}
	work.Wait()
	return answered
}

// followSpace stops the shards of this node when its disk is nearly full, and
// opens them again. It runs where shards are opened and closed.
func (n *Node) followSpace(ctx context.Context) {
	why := n.space.stopped()
	n.mu.Lock()
	var stop, start []uint32
	for id := range n.replicas {
		stop = append(stop, id)
	}
	for id, err := range n.refused {
		if why == nil && errors.As(err, new(*spaceError)) {
			delete(n.refused, id)
			start = append(start, id)
		}
	}
	n.mu.Unlock()
	for _, id := range start {
		n.openReplica(id)
	}
	if why == nil {
		return
	}
	var work sync.WaitGroup
	for _, id := range stop {
		work.Go(func() { _ = n.closeReplica(ctx, id, why) })
	}
	work.Wait()
}
