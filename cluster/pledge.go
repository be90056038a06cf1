package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

const (
	pledgeFile   = "pledge.json"
	pledgeFormat = 1
)

// Proposal is a new cluster as its proposer thought of it. Two proposals are
// the same only if they are equal in every field.
type Proposal struct {
	ClusterName string `json:"cluster_name"`
	// ClusterID is made by the proposer, together with the list of members. It is
	// empty in a trial, which asks what the answer would be and binds nobody.
	ClusterID string `json:"cluster_id"`
	// Members are the node ids, sorted; the first one is the proposer.
	Members  []string `json:"members"`
	Shards   uint32   `json:"shards"`
	Replicas uint32   `json:"replicas"`
}

// Proposer returns the id of the node that made the proposal.
func (p Proposal) Proposer() string {
	if len(p.Members) == 0 {
		return ""
	}
	return p.Members[0]
}

// Equal reports whether two proposals are the same.
func (p Proposal) Equal(q Proposal) bool {
	return p.ClusterName == q.ClusterName && p.ClusterID == q.ClusterID &&
		p.Shards == q.Shards && p.Replicas == q.Replicas && slices.Equal(p.Members, q.Members)
}

// check finds what no proposer would have made.
func (p Proposal) check() error {
	switch {
	case p.ClusterName == "":
		return errors.New("a proposal without cluster name")
	case len(p.Members) == 0 || slices.Contains(p.Members, ""):
		return errors.New("a proposal without members, or with an empty one")
	case !slices.IsSorted(p.Members) || len(slices.Compact(slices.Clone(p.Members))) != len(p.Members):
		return errors.New("a proposal whose members are not sorted, or repeated")
	case p.Shards == 0 || p.Replicas == 0:
		return errors.New("a proposal without shards or replicas")
	}
	return nil
}

func (p Proposal) request() *peerv1.PledgeRequest {
	return &peerv1.PledgeRequest{
		ClusterName: p.ClusterName,
		ClusterId:   p.ClusterID,
		Members:     slices.Clone(p.Members),
		Shards:      p.Shards,
		Replicas:    p.Replicas,
	}
}

func proposalOf(req *peerv1.PledgeRequest) Proposal {
	return Proposal{
		ClusterName: req.GetClusterName(),
		ClusterID:   req.GetClusterId(),
		Members:     slices.Clone(req.GetMembers()),
		Shards:      req.GetShards(),
		Replicas:    req.GetReplicas(),
	}
}

// pledgeBook holds the one proposal that a node supports, for ever. It is safe
// for concurrent use.
type pledgeBook struct {
	dir   string
	files Files

	mu sync.Mutex // guards the fields below and makes writes one at a time
	// bound is the proposal of the first call of pledge. It stays when the write
	// failed, because the file may hold it all the same: supporting another one
	// could give two proposals a pledge of this node each.
	bound *Proposal
	// durable: bound is known to be on disk. durable implies bound != nil.
	durable bool
}

type pledgeRecord struct {
	Format int `json:"format"`
	Proposal
}

// openPledges reads the pledge of a data directory. The error is a
// *DirectoryError when there is one that cannot be understood.
func openPledges(dir string, files Files) (*pledgeBook, error) {
	b := &pledgeBook{dir: dir, files: files}
	data, err := files.Read(filepath.Join(dir, pledgeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pledge: %w", err)
	}
	var r pledgeRecord
	err = json.Unmarshal(data, &r)
	if err == nil && r.Format != pledgeFormat {
		err = fmt.Errorf("format %d, this release reads %d", r.Format, pledgeFormat)
	}
	if err == nil && r.ClusterID == "" {
		err = errors.New("no cluster id")
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, dirError(dir, ErrDirectoryDamaged, mendDamaged, "%s: %v", pledgeFile, err)
	}
	b.bound, b.durable = &r.Proposal, true
	return b, nil
}

// current returns the proposal that the node is bound to, and whether it is
// known to be on disk.
func (b *pledgeBook) current() (p Proposal, bound, durable bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bound == nil {
		return Proposal{}, false, false
	}
	return *b.bound, true, b.durable
}

// errPledgedElsewhere: the node supports another proposal.
var errPledgedElsewhere = errors.New("pledged to another proposal")

// pledge binds the node to p, durably once it returned nil. It fails with
// errPledgedElsewhere if the node is bound to another proposal.
func (b *pledgeBook) pledge(p Proposal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bound != nil && !b.bound.Equal(p) {
		return errPledgedElsewhere
	}
	if b.durable {
		return nil
	}
	b.bound = &p
	data, err := json.MarshalIndent(pledgeRecord{Format: pledgeFormat, Proposal: p}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode pledge: %w", err)
	}
	if err := b.files.Write(filepath.Join(b.dir, pledgeFile), append(data, '\n')); err != nil {
		return fmt.Errorf("store pledge: %w", err)
	}
	b.durable = true
	return nil
}
