package shard

// haltLoop ends Raft once the replica has halted. It runs beside the goroutine
// that applies entries, which Raft waits for when it shuts down.
//
// The order matters: the halted replica goes on to answer Raft, with an error,
// so that everything in flight is answered before Raft ends.
func (g *Group) haltLoop() {
	select {
	case <-g.ctx.Done():
		return
	case <-g.replica.halted:
	}
	g.queue.close(g.haltedError(true))
	if g.cfg.OnHalt != nil {
		g.cfg.OnHalt(g.replica.haltCause())
	}
	g.quiesce(g.ctx)
	g.beginShutdown()
	select {
	case <-g.shutdown:
		g.announce()
	case <-g.ctx.Done():
	}
}
