package cluster

import (
	"context"
	"errors"
	"sync"
)

// handOvers is how many leaderships are moved at a time. Each costs its group a
// pause, which is the longer the more of them share the processors and the disk.
const handOvers = 2

// Retire moves the leadership of every group that this node leads to another
// node, a few at a time, and returns when it leads nothing, or with an error for
// each group that could not be moved before ctx ends. The node goes on serving
// and forwards what is asked of it, but says that it takes no leadership: a transfer
// to a node that ends meanwhile would hold up its group for an election timeout.
// Whoever calls Retire closes the node next.
func (n *Node) Retire(ctx context.Context) error {
	n.retiring.Store(true)
	var (
		work sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	places := make(chan struct{}, handOvers)
	for _, g := range n.host.Groups() {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			if err := retire(ctx, g); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// retire moves the leadership of one group.
func retire(ctx context.Context, g group) error {
	if err := g.HandOver(ctx); err != nil {
		return err
	}
	// Commands that came meanwhile find the new leader as soon as it is known here.
	for {
		changed := g.Changes()
		if _, known := g.Leader(); known {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil // it does not lead; the others will agree without this node
		}
	}
}
