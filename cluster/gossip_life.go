package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// updateTimeout bounds the wait until some node was told a change of this one;
// the rest comes with the regular exchange of states.
const updateTimeout = time.Second

// rejoin contacts others for ever, see GossipTimings.Rejoin.
func (g *Gossip) rejoin(ctx context.Context) {
	failing := false
	for {
		targets := g.rejoinTargets()
		if len(targets) > 0 {
			err := g.contact(ctx, targets)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !failing {
				g.log.Warn("gossip reached none of its targets; trying on", "targets", targets, "error", err)
			}
			failing = err != nil
		}
		pause := g.cfg.Timings.Rejoin
		if !g.inContact() {
			pause = g.cfg.Timings.FirstContact
		}
		timer := time.NewTimer(g.cfg.Jitter(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// contact tries all targets, and fails when it reached none. One at a time: an
// attempt cannot be ended, and those at addresses where nobody is any more take their
// whole deadline, for which a node that stops must not wait more than once.
func (g *Gossip) contact(ctx context.Context, targets []string) error {
	var errs []error
	for _, target := range targets {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := g.list.Join([]string{target}); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(targets) {
		return nil
	}
	return errors.Join(errs...)
}

// rejoinTargets returns the seeds, the last addresses of the dead, and those
// remembered of nodes that are not alive, without this node's own. The order counts,
// since an address where nobody is any more takes long: seeds are kept up to date by
// people, the dead were there lately, and what is remembered may be from long ago.
func (g *Gossip) rejoinTargets() []string {
	var remembered map[string]string
	if g.cfg.Remembered != nil {
		remembered = g.cfg.Remembered()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var dead, old []string
	for _, m := range g.known {
		if m.Status == StatusDead {
			dead = append(dead, m.GossipAddress)
		}
	}
	for id, address := range remembered {
		if g.known[id].Status != StatusAlive && id != g.self.ID {
			old = append(old, address)
		}
	}
	slices.Sort(dead)
	slices.Sort(old)
	seen := map[string]bool{g.addr: true}
	return slices.DeleteFunc(slices.Concat(g.cfg.Seeds, dead, old), func(a string) bool {
		again := seen[a]
		seen[a] = true
		return again
	})
}

func (g *Gossip) inContact() bool {
	self := g.cfg.Self.ID
	return slices.ContainsFunc(g.Members(), func(m Member) bool { return m.ID != self && m.Status == StatusAlive })
}

// SetClusterID tells the other nodes which cluster this one belongs to, and
// from then on refuses nodes of another. It waits about a second at most.
func (g *Gossip) SetClusterID(id string) {
	g.mu.Lock()
	if g.self.ClusterID == id {
		g.mu.Unlock()
		return
	}
	g.self.ClusterID = id
	g.rebuildLocked()
	g.mu.Unlock()
	if err := g.publish(updateTimeout); err != nil {
		g.log.Debug("gossip: nobody was told at once", "error", err)
	}
}

// publish makes memberlist spread what NodeMeta says now, and waits until that has
// begun. It fails when it has not within the timeout, and is spread all the same.
func (g *Gossip) publish(timeout time.Duration) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.stopped {
		return nil
	}
	var err error
	for range 3 {
		err = g.list.UpdateNode(timeout)
		// An update is dropped when the node refutes a rumour of its death in the middle
		// of it. Nothing but updates writes these bytes, and updates hold life.
		if bytes.Equal(g.list.LocalNode().Meta, gossipCallbacks{g}.NodeMeta(memberlist.MetaMaxSize)) {
			break
		}
	}
	return err
}

// Leave tells the other nodes that this one stops, so that they need not find
// out. It returns within the deadline of ctx, or within two seconds. The node
// does not come back before a new StartGossip; Shutdown must follow.
func (g *Gossip) Leave(ctx context.Context) error {
	g.cancel() // who leaves looks for nobody
	deadline := time.Now().Add(2 * updateTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	timeout := time.Until(deadline)
	if timeout <= 0 {
		return fmt.Errorf("leave gossip: %w", context.DeadlineExceeded)
	}
	g.mu.Lock()
	g.leaving = true
	g.mu.Unlock()
	// The death that memberlist spreads does not say to its receivers whether it
	// was wanted; the flag in the node's data does. News keeps no order, and who has
	// heard of the death takes the flag no more: so everybody is told the flag first,
	// and has a round of gossip's time to take in what it has acknowledged.
	_ = g.publish(time.Nanosecond) // no need to wait: they are told directly
	g.tellMembers(timeout / 2)
	select {
	case <-time.After(min(g.cfg.Timings.Gossip, timeout/4)):
	case <-ctx.Done():
	}
	g.life.Lock()
	defer g.life.Unlock()
	if g.stopped {
		return nil
	}
	if err := g.list.Leave(max(time.Until(deadline), time.Millisecond)); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// tellMembers exchanges states with every node that is alive, with all at once, and waits
// no longer than patience for their answers. Attempts that have not ended then go on.
func (g *Gossip) tellMembers(patience time.Duration) {
	told, attempts := make(chan struct{}), 0
	enough, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g.life.Lock()
	for _, m := range g.Members() {
		if g.stopped || m.ID == g.cfg.Self.ID || m.Status != StatusAlive {
			continue
		}
		attempts++
		g.contacts.Go(func() {
			if _, err := g.list.Join([]string{m.GossipAddress}); err != nil {
				g.log.Debug("gossip: a node was not told directly", "member", m.ID, "error", err)
			}
			select {
			case told <- struct{}{}:
			case <-enough.Done():
			}
		})
	}
	g.life.Unlock()
	for range attempts {
		select {
		case <-told:
		case <-enough.Done():
			return
		}
	}
}

// Shutdown closes the listener and stops all goroutines. It may be called
// twice. When ctx ends before the contact attempts under way do, the error says so.
func (g *Gossip) Shutdown(ctx context.Context) error {
	g.cancel()
	g.life.Lock()
	var err error
	if !g.stopped {
		g.stopped = true
		err = g.list.Shutdown()
	}
	g.life.Unlock()
	ended := make(chan struct{})
	go func() {
		g.contacts.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("stop gossip: a contact attempt has not ended yet: %w", ctx.Err()))
	}
}
