package cluster

import (
	"slices"
	"time"
)

// lease is for how long a leader may take itself for it that is not it any more, as
// far as its word on the members counts: Raft's own lease is shorter.
const lease = time.Second

// config is the configuration that a disk knows: the newest in its log, committed
// or not. It is what its replica goes by, as in Raft, from when it is written.
func (l *abstractLog) config(d *logDisk) (voters, nonvoters []string) {
	if e := d.unsettled(); e != nil {
		return e.voters, e.nonvoters
	}
	for i := min(d.has, len(l.entries)) - 1; i >= 0; i-- {
		if e := l.entries[i]; e.data == nil {
			return e.voters, e.nonvoters
		}
	}
	return nil, nil
}

// unsettled is the newest configuration that is on the disk and not known to be committed.
func (d *logDisk) unsettled() *logEntry {
	for _, e := range slices.Backward(d.tail) {
		if e.data == nil {
			return e
		}
	}
	return nil
}

// members lists whom the leader sends to.
func (l *abstractLog) members() []string {
	voters, nonvoters := l.voters, l.nonvoters
	if l.leader != nil {
		voters, nonvoters = l.config(l.leader.disk)
	}
	return slices.Concat(voters, nonvoters)
}

// absorb takes for committed what is on the disk and was committed since.
func (l *abstractLog) absorb(d *logDisk) {
	for len(d.tail) > 0 && d.has < len(l.entries) && d.tail[0] == l.entries[d.has] {
		d.has, d.tail = d.has+1, d.tail[1:]
	}
}

// newest is the term and the index of the last entry on a disk, by which votes go.
func (l *abstractLog) newest(d *logDisk) (term uint64, index int) {
	l.absorb(d)
	switch {
	case len(d.tail) > 0:
		term = d.tail[len(d.tail)-1].term
	case d.has > 0:
		term = l.entries[d.has-1].term
	}
	return term, d.has + len(d.tail)
}

// grants tells whether a voter would vote for a candidate: whose log is no older. A
// replica that was deleted on its node before does not vote until it has caught up.
func (l *abstractLog) grants(v, candidate *logReplica) bool {
	if v.disk.returning {
		return false
	}
	own, last := l.newest(v.disk)
	term, index := l.newest(candidate.disk)
	return term > own || term == own && index >= last
}

// truncate gives a disk the first entries of the log. What it has beyond them goes
// if it is not in the log: another leader wrote it.
func (l *abstractLog) truncate(d *logDisk, upto int) {
	if l.absorb(d); upto > d.has {
		d.has, d.tail = upto, nil
	}
	if d.has == len(l.entries) {
		d.returning = false
	}
}

// share gives another replica what the leader wrote and has not committed, or a part of it.
func (l *abstractLog) share(from, to *logReplica, n int) {
	l.absorb(to.disk)
	if n == 0 || from.disk.has != len(l.entries) || to.disk.has != from.disk.has {
		return
	}
	if tail := from.disk.tail[:n]; len(to.disk.tail) < n || !slices.Equal(to.disk.tail[:n], tail) {
		to.disk.tail = slices.Clone(tail)
	}
}

// spread has some others get what the leader wrote, although it is not committed.
func (l *abstractLog) spread(r *logReplica) {
	voters, nonvoters := l.config(r.disk)
	for _, other := range l.reachable(r, slices.Concat(voters, nonvoters)) {
		if other != r && l.w.rng.IntN(3) == 0 {
			l.send(r, other, len(l.entries))
			l.share(r, other, len(r.disk.tail))
		}
	}
}

// commitTail commits what the leader has written, if a majority of its configuration
// can be reached: it is then on the disks of some majority, and the leader has
// applied it. It returns the results of the last entry.
func (l *abstractLog) commitTail(r *logReplica) bool {
	voters, nonvoters := l.config(r.disk)
	there := l.reachable(r, voters)
	if !majority(voters, there) {
		return false
	}
	for _, e := range r.disk.tail {
		l.entries = append(l.entries, e)
		if e.data == nil {
			l.voters, l.nonvoters = e.voters, e.nonvoters
		}
		l.w.committed(l, uint64(len(l.entries)), *e)
	}
	index := len(l.entries)
	r.disk.has, r.disk.tail = index, nil
	// The rest of the majority, and whom it reached beside.
	need := len(voters)/2 + 1
	if slices.Contains(voters, r.proc.id) {
		need--
	}
	l.w.shuffle(len(there), func(i, j int) { there[i], there[j] = there[j], there[i] })
	for _, other := range append(there, l.reachable(r, nonvoters)...) {
		if other == r {
			continue
		}
		if need > 0 || l.w.rng.IntN(2) == 0 {
			l.send(r, other, index)
			need--
		}
	}
	l.durable()
	return true
}
