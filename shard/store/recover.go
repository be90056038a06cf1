package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Reasons for which a group is not recovered. Test with errors.Is.
var (
	// ErrNothingToRecover: this node is the group's only voter already, or the group has no state here.
	ErrNothingToRecover = errors.New("there is nothing to recover")
	// ErrNotMember: this node is not in the group's configuration.
	ErrNotMember = errors.New("this node is not a member of the group")
)

// Recovery is what Recover does, or would do: it makes this node the only
// voter of a group that has lost the majority of its voters for good.
type Recovery struct {
	Group uint32
	// Voters and Nonvoters are the members of the configuration that is given up.
	Voters, Nonvoters []string
	// LastIndex and LastTerm are those of this replica's last entry. Of several
	// survivors the one with the highest LastTerm, and of these the one with the
	// highest LastIndex, has every acknowledged entry that any of them has.
	LastIndex, LastTerm uint64
	// SnapshotIndex is where the newest snapshot ends, 0 without one.
	SnapshotIndex uint64
	// Index and Term are those of the entry with the new configuration.
	Index, Term uint64
}

// Recover rewrites the configuration of a group whose majority is lost, so that
// this node alone decides for it; its raft must not run. Entries that only lost
// voters had are lost. Entries of this replica's log that were never
// acknowledged may take effect. With dry it only says what it would do.
//
// The new configuration is an entry of a new term at the end of the log: the
// term is written first, so that a crash in between changes nothing that
// matters and Recover can be called again.
func (g *Group) Recover(dry bool) (*Recovery, error) {
	r, self, err := g.planRecovery()
	if err != nil || dry {
		return r, err
	}
	if err := g.stable.SetUint64(raftTermKey, r.Term); err != nil {
		return nil, fmt.Errorf("recover group %d: %w", g.id, err)
	}
	conf := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: self.ID, Address: self.Address}}}
	err = g.logs.StoreLog(&raft.Log{Index: r.Index, Term: r.Term, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(conf), AppendedAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("recover group %d: %w", g.id, err)
	}
	return r, nil
}

func (g *Group) planRecovery() (*Recovery, raft.Server, error) {
	var self raft.Server
	if !g.HasState() {
		return nil, self, fmt.Errorf("group %d: %w: it has no state on this node", g.id, ErrNothingToRecover)
	}
	conf, r, err := g.lastConfiguration()
	if err != nil {
		return nil, self, err
	}
	member := false
	for _, s := range conf.Servers {
		if string(s.ID) == g.store.opts.NodeID {
			self, member = s, true
		}
		if s.Suffrage == raft.Voter {
			r.Voters = append(r.Voters, string(s.ID))
		} else {
			r.Nonvoters = append(r.Nonvoters, string(s.ID))
		}
	}
	if !member {
		return r, self, fmt.Errorf("group %d: %w: its voters are %v", g.id, ErrNotMember, r.Voters)
	}
	if len(r.Voters) == 1 && self.Suffrage == raft.Voter {
		return r, self, fmt.Errorf("group %d: %w: this node is its only voter", g.id, ErrNothingToRecover)
	}
	term, err := g.stable.GetUint64(raftTermKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, self, err
	}
	r.Term, r.Index = max(term, r.LastTerm)+1, r.LastIndex+1
	return r, self, nil
}

// lastConfiguration reads the newest configuration, which is in the log or, if
// it is older than that, in the snapshot.
func (g *Group) lastConfiguration() (conf raft.Configuration, r *Recovery, err error) {
	r = &Recovery{Group: g.id}
	list, err := g.snaps.List()
	if err != nil {
		return conf, nil, err
	}
	if len(list) > 0 {
		conf = list[0].Configuration
		r.SnapshotIndex, r.LastIndex, r.LastTerm = list[0].Index, list[0].Index, list[0].Term
	}
	err = g.log.be.scan(func(l *raft.Log) error {
		if l.Type == raft.LogConfiguration {
			conf = raft.DecodeConfiguration(l.Data)
		}
		r.LastIndex, r.LastTerm = max(r.LastIndex, l.Index), max(r.LastTerm, l.Term)
		return nil
	})
	return conf, r, err
}
