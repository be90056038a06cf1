package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrHostClosed is returned by Host.Open after Close.
var ErrHostClosed = errors.New("the host of the groups is closed")

// ErrGroupOpen is returned by Host.Open for a group that is open already.
var ErrGroupOpen = errors.New("the group is open already")

// Host holds the groups of this node. The zero value is ready to use, and all
// methods are safe for concurrent use.
type Host struct {
	mu sync.Mutex // guards the fields below
	// groups has nil for a group that is being opened or closed, so that nobody
	// opens its stores a second time.
	groups map[uint32]*Group
	// closing has those that are being closed, until they are.
	closing map[uint32]*Group
	closed  bool
	// turns are those of the groups at writing snapshots.
	turns *turns
	// opening counts the Opens that Close has to wait for.
	opening sync.WaitGroup
}

// Open opens a group and keeps it until CloseGroup or Close.
func (h *Host) Open(cfg Config) (*Group, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrHostClosed
	}
	if _, taken := h.groups[cfg.ID]; taken {
		h.mu.Unlock()
		return nil, fmt.Errorf("open group %d: %w", cfg.ID, ErrGroupOpen)
	}
	if h.groups == nil {
		h.groups = make(map[uint32]*Group)
		h.turns = newTurns()
	}
	h.groups[cfg.ID] = nil
	cfg.turns = h.turns
	h.opening.Add(1)
	h.mu.Unlock()
	defer h.opening.Done()

	g, err := Open(cfg)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		delete(h.groups, cfg.ID)
		return nil, err
	}
	h.groups[cfg.ID] = g
	return g, nil
}

// Get finds an open group. A group that is being opened or closed is not found.
func (h *Host) Get(id uint32) (*Group, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[id]
	return g, g != nil
}

// Groups lists the open groups by id.
func (h *Host) Groups() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*Group
	for _, g := range h.groups {
		if g != nil {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *Group) int { return cmp.Compare(a.ID(), b.ID()) })
	return list
}

// CloseGroup closes one group; it may be opened again afterwards. If it could not
// be closed within ctx it stays unusable, and its stores must not be touched
// before CloseGroup, which may be called again, says that it is closed. A group
// that is not open is no error.
func (h *Host) CloseGroup(ctx context.Context, id uint32) error {
	h.mu.Lock()
	if g := h.groups[id]; g != nil {
		if h.closing == nil {
			h.closing = make(map[uint32]*Group)
		}
		h.groups[id], h.closing[id] = nil, g
	}
	g := h.closing[id]
	h.mu.Unlock()
	if g == nil {
		return nil
	}
	if err := g.Close(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing[id] == g {
		delete(h.closing, id)
		delete(h.groups, id)
	}
	return nil
}

// Close closes all groups at the same time, and refuses to open more. The error
// joins those of the groups.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.opening.Wait()
	groups := h.Groups()
	h.mu.Lock()
	for _, g := range h.closing {
		groups = append(groups, g)
	}
	h.mu.Unlock()
	errs := make([]error, len(groups))
	var all sync.WaitGroup
	for i, g := range groups {
		all.Go(func() { errs[i] = h.CloseGroup(ctx, g.ID()) })
	}
	all.Wait()
	return errors.Join(errs...)
}
