package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/spexio/spex/shard"
)

// logGroups holds the groups of a process of the simulation.
type logGroups struct{ proc *worldProc }

func (h logGroups) Open(cfg shard.Config) (group, error) {
	l := h.proc.w.log(cfg.ID)
	d := l.disks[h.proc.id]
	if d == nil {
		d = &logDisk{returning: l.deleted[h.proc.id]}
		l.disks[h.proc.id] = d
	}
	r := &logReplica{log: l, proc: h.proc, cfg: cfg, disk: d}
	if d.snapshot != nil {
		if err := cfg.Machine.Restore(io.Reader(bytes.NewReader(d.snapshot))); err != nil {
			return nil, err
		}
		r.applied, r.commit = d.first, d.first
		if cfg.OnRestore != nil {
			cfg.OnRestore(cfg.Machine.Applied())
		}
	}
	h.proc.replicas[cfg.ID] = r
	h.proc.w.trace("%s opens group %d at %d of %d", h.proc.id, cfg.ID, r.applied, d.has)
	return r, nil
}

func (h logGroups) Get(id uint32) (group, bool) {
	if r := h.proc.replicas[id]; r != nil {
		return r, true
	}
	return nil, false
}

func (h logGroups) Groups() (list []group) {
	for _, r := range h.proc.open() {
		list = append(list, r)
	}
	return list
}

func (h logGroups) CloseGroup(_ context.Context, id uint32) error {
	if r := h.proc.replicas[id]; r != nil {
		r.log.resign(r)
		r.closed = true
		delete(h.proc.replicas, id)
	}
	return nil
}

func (h logGroups) Remove(id uint32, _ uint64) error {
	l := h.proc.w.log(id)
	if l.disks[h.proc.id] == nil {
		return nil
	}
	h.proc.w.trace("%s deletes group %d", h.proc.id, id)
	h.proc.w.check.deleted(l, h.proc)
	delete(l.disks, h.proc.id)
	l.deleted[h.proc.id] = true
	h.proc.w.disturbed++
	l.durable()
	if h.proc.w.fault(4) {
		return errors.New("a file cannot be deleted")
	}
	return nil
}

func (h logGroups) Close(ctx context.Context) error {
	for _, r := range h.proc.open() {
		_ = h.CloseGroup(ctx, r.log.id)
	}
	return nil
}

// open lists the open groups by id.
func (p *worldProc) open() []*logReplica {
	var list []*logReplica
	for _, r := range p.replicas {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *logReplica) int { return cmp.Compare(a.log.id, b.log.id) })
	return list
}
