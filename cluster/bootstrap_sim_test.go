package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sim is a network of nodes in memory, run inside a synctest bubble. Messages
// take time and get lost, views are stale, writes fail and nodes are killed in
// the middle of them; what the nodes' disks hold survives.
type sim struct {
	t      *testing.T
	expect int
	dir    string

	mu     sync.Mutex // guards all below, and the fields of nodes and procs marked so
	rng    *rand.Rand
	nodes  map[string]*simNode
	hidden map[[2]string]bool
	loss   float64
	// formed are the clusters that were bootstrapped: more than one is the disaster.
	formed map[string]bool
	broken []string
}

// simNode is a machine with a disk.
type simNode struct {
	name string
	disk map[string][]byte
	proc *simProc // nil while down
	// crashIn > 0: the process dies in that many writes; crashAfter: the write is done.
	crashIn    int
	crashAfter bool
	// failWrites: that many writes fail, every second one after it took effect.
	failWrites int
	// shards is what the node is configured with; 0 means 16.
	shards uint32
}

// simProc is one run of a node's process.
type simProc struct {
	s         *sim
	node      *simNode
	id        string
	identity  *Identity
	bootstrap *Bootstrap
	cancel    context.CancelFunc
	done      chan struct{}
	dead      bool // by a crash in a write
	published string
	outcome   OutcomeKind
	view      []Member
	subs      map[chan struct{}]struct{}
}

func newSim(t *testing.T, seed uint64, expect int) *sim {
	return &sim{
		t: t, expect: expect, dir: t.TempDir(),
		rng: rand.New(rand.NewPCG(seed, 7)), nodes: map[string]*simNode{},
		hidden: map[[2]string]bool{}, formed: map[string]bool{},
	}
}

func (s *sim) node(name string) *simNode {
	if s.nodes[name] == nil {
		s.nodes[name] = &simNode{name: name, disk: map[string][]byte{}}
	}
	return s.nodes[name]
}

var errCrashed = errors.New("the process is dead")

// files is the disk of a node as one process sees it.
func (p *simProc) files() Files {
	return Files{
		Read: func(path string) ([]byte, error) {
			p.s.mu.Lock()
			defer p.s.mu.Unlock()
			data, ok := p.node.disk[filepath.Base(path)]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return data, nil
		},
		Write: func(path string, data []byte) error {
			p.s.mu.Lock()
			defer p.s.mu.Unlock()
			return p.writeLocked(filepath.Base(path), data)
		},
	}
}

func (p *simProc) writeLocked(name string, data []byte) error {
	n := p.node
	if p.dead {
		return errCrashed
	}
	if n.crashIn > 0 {
		n.crashIn--
		if n.crashIn == 0 {
			if n.crashAfter {
				n.disk[name] = bytes.Clone(data)
			}
			p.dead = true
			p.cancel()
			return errCrashed
		}
	}
	if n.failWrites > 0 {
		n.failWrites--
		if n.failWrites%2 == 0 {
			n.disk[name] = bytes.Clone(data)
		}
		return errors.New("i/o error")
	}
	n.disk[name] = bytes.Clone(data)
	return nil
}

// start boots a node that is down. A boot that fails is a process that ended.
func (s *sim) start(name string) {
	s.mu.Lock()
	n := s.node(name)
	running := n.proc != nil
	s.mu.Unlock()
	if running {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &simProc{s: s, node: n, cancel: cancel, done: make(chan struct{}), subs: map[chan struct{}]struct{}{}}
	identity, err := OpenIdentity(IdentityOptions{Dir: filepath.Join(s.dir, name), Name: name, ClusterName: "spex", Files: p.files(), Rand: simReader{s}})
	if err != nil {
		cancel()
		return
	}
	p.identity, p.id = identity, identity.NodeID()
	p.bootstrap, err = NewBootstrap(identity, BootstrapConfig{
		Self: Member{ID: p.id, PeerAddress: name + ":1"}, Expect: s.expect, HasSeeds: s.expect != 1,
		Shards: cmp.Or(n.shards, 16), Replicas: 3, Membership: p, Peers: p, Files: p.files(), Rand: simReader{s},
	})
	if err != nil {
		s.fail("start %s: %v", name, err)
		cancel()
		_ = identity.Close()
		return
	}
	s.mu.Lock()
	p.published = identity.ClusterID()
	n.proc = p
	s.mu.Unlock()
	go p.main(ctx)
}

// kill ends a process without warning and waits until it is gone.
func (s *sim) kill(name string) {
	s.mu.Lock()
	p := s.node(name).proc
	s.node(name).proc = nil
	if p != nil {
		p.dead = true
	}
	s.mu.Unlock()
	if p == nil {
		return
	}
	p.cancel()
	<-p.done
	if err := p.identity.Close(); err != nil {
		s.fail("close %s: %v", name, err)
	}
}

// wipe takes the disk of a node that is down.
func (s *sim) wipe(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node(name).disk = map[string][]byte{}
}

func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

// main is what the node does with its outcome.
func (p *simProc) main(ctx context.Context) {
	defer close(p.done)
	out, err := p.bootstrap.Run(ctx)
	if err != nil {
		return
	}
	if out.Kind == Formed && !p.form(out) {
		return
	}
	p.s.sleep(300)
	p.s.mu.Lock()
	known := p.s.formed[out.ClusterID]
	p.s.mu.Unlock()
	if !known {
		p.s.fail("%s: %s with cluster %s, which nobody formed", p.id, out.Kind, out.ClusterID)
	}
	for p.identity.SetClusterID(out.ClusterID) != nil {
		if ctx.Err() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.s.mu.Lock()
	p.published, p.outcome = out.ClusterID, out.Kind
	p.s.mu.Unlock()
	<-ctx.Done()
}

// form bootstraps the catalog on this node's disk, unless an earlier run did.
func (p *simProc) form(out Outcome) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if have := string(p.node.disk["catalog"]); have != "" && have != out.ClusterID {
		p.s.broken = append(p.s.broken, fmt.Sprintf("%s formed %s and %s", p.id, have, out.ClusterID))
	}
	if len(out.Members) != p.s.expect {
		p.s.broken = append(p.s.broken, fmt.Sprintf("%s formed with %d members", p.id, len(out.Members)))
	}
	err := p.writeLocked("catalog", []byte(out.ClusterID))
	if string(p.node.disk["catalog"]) == out.ClusterID {
		p.s.formed[out.ClusterID] = true
	}
	if len(p.s.formed) > 1 {
		p.s.broken = append(p.s.broken, fmt.Sprintf("%s formed a second cluster", p.id))
	}
	// A node whose store fails ends its process.
	p.dead = p.dead || err != nil
	return err == nil
}

// simReader makes ids that depend on the seed alone.
type simReader struct{ s *sim }

func (r simReader) Read(b []byte) (int, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for i := range b {
		b[i] = byte(r.s.rng.Uint32())
	}
	return len(b), nil
}

// state lists the nodes that are up with their outcome and whether they belong
// to the first formed cluster.
func (s *sim) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, n := range s.nodes {
		switch p := n.proc; {
		case p == nil || p.dead:
			parts = append(parts, n.name+" down")
		case p.published == "":
			parts = append(parts, n.name+" waits")
		default:
			parts = append(parts, n.name+" "+p.outcome.String())
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s; %d formed", strings.Join(parts, ", "), len(s.formed))
}

// clusters returns how many clusters were formed.
func (s *sim) clusters() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.formed)
}

// checkOneCluster checks that there is one cluster and that all belong to it.
func (s *sim) checkOneCluster() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.formed) != 1 {
		s.broken = append(s.broken, fmt.Sprintf("%d clusters formed", len(s.formed)))
	}
	for _, n := range s.nodes {
		if n.proc == nil || !s.formed[n.proc.published] {
			s.broken = append(s.broken, n.name+" does not belong to the cluster")
		}
	}
}

// runSim runs a scenario in a bubble and returns what went wrong.
func runSim(t *testing.T, seed uint64, expect int, scenario func(s *sim)) []string {
	var broken []string
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, seed, expect)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); s.gossip(ctx) }()
		scenario(s)
		for name := range s.nodes {
			s.kill(name)
		}
		cancel()
		<-done
		broken = s.broken
	})
	return broken
}
