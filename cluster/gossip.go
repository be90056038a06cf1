package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/spexio/spex/internal/hclogslog"
)

// GossipTimings are the paces of gossip.
type GossipTimings struct {
	// Probe is how often a random node is probed, ProbeTimeout how long for.
	Probe, ProbeTimeout time.Duration
	// Gossip is how often news is sent, PushPull how often whole states are exchanged.
	Gossip, PushPull time.Duration
	// Stream bounds the making and use of a connection.
	Stream time.Duration
	// Rejoin is the mean time between two rounds of contacting the seeds, the dead
	// and the remembered, for ever: it is what heals a partition that outlasted the memory of
	// the dead. FirstContact is the mean until any other node was reached.
	Rejoin, FirstContact time.Duration
}

// LANTimings suit servers in one network: a dead node is noticed in 5 to 10 s.
func LANTimings() GossipTimings {
	return GossipTimings{
		Probe: time.Second, ProbeTimeout: 500 * time.Millisecond,
		Gossip: 200 * time.Millisecond, PushPull: 10 * time.Second,
		Stream: 5 * time.Second, Rejoin: 45 * time.Second, FirstContact: time.Second,
	}
}

// WANTimings suit servers that are far from each other: a dead node is noticed in
// 20 to 40 s.
func WANTimings() GossipTimings {
	return GossipTimings{
		Probe: 5 * time.Second, ProbeTimeout: 3 * time.Second,
		Gossip: 500 * time.Millisecond, PushPull: 30 * time.Second,
		Stream: 15 * time.Second, Rejoin: 60 * time.Second, FirstContact: 3 * time.Second,
	}
}

// TestTimings suit nodes in one process.
func TestTimings() GossipTimings {
	return GossipTimings{
		Probe: 50 * time.Millisecond, ProbeTimeout: 25 * time.Millisecond,
		Gossip: 10 * time.Millisecond, PushPull: 100 * time.Millisecond,
		Stream: time.Second, Rejoin: 100 * time.Millisecond, FirstContact: 20 * time.Millisecond,
	}
}

// GossipConfig configures a Gossip.
type GossipConfig struct {
	// ClusterName is the label of all messages: nodes of another name are not heard.
	ClusterName string
	// Self is this node; Status and GossipAddress are ignored.
	Self Member
	// Bind is the host:port to listen on, Advertise the one that others are told
	// ("" means Bind's). Port 0 lets the system choose.
	Bind, Advertise string
	// Seeds are the host:port of nodes to contact.
	Seeds []string
	// Remembered returns where nodes were found before, host:port by id; those that
	// are not alive are contacted there too, so that stale seeds keep no node away.
	// It is called before every round of contacts, and may be nil.
	Remembered func() map[string]string
	// SecretKey encrypts gossip if it has 16, 24 or 32 bytes; empty means plain.
	SecretKey []byte
	// Timings are the paces; the zero value means LANTimings.
	Timings GossipTimings
	Logger  *slog.Logger
	// Hints are spread, and taken in; nil means that this node has none to tell.
	Hints *LeaderHints
	// Jitter spreads a pause; nil means within a quarter either way.
	Jitter func(time.Duration) time.Duration
	// Transport replaces the network; test-only.
	Transport memberlist.Transport
}

// Gossip tells nodes of each other. It decides nothing. It is safe for
// concurrent use, and a Resolver.
type Gossip struct {
	cfg  GossipConfig
	log  *slog.Logger
	list *memberlist.Memberlist
	addr string

	view atomic.Pointer[gossipView]

	// mu guards the fields below. memberlist calls back with a lock of its own
	// held, so no method of it may be called under mu.
	mu      sync.Mutex
	self    Member
	leaving bool
	known   map[string]Member
	fallen  []string // ids of the dead and left, the oldest first
	refused map[string]string
	// elsewhere is the peer address of a process that calls itself by this node's id, as
	// was heard since Elsewhere was asked last.
	elsewhere string
	subs      map[chan struct{}]struct{}

	// life serialises Leave and Shutdown, and guards stopped. Whatever joins contacts
	// does so under it while not stopped.
	life     sync.Mutex
	stopped  bool
	cancel   context.CancelFunc
	contacts sync.WaitGroup // the rejoin loop, and the attempts of Leave
}

// gossipView is an immutable picture of the members.
type gossipView struct {
	members []Member // in order of id, foreign ones left out
	byID    map[string]Member
}

// StartGossip opens the listener, begins to contact the seeds and to answer
// others. It does not wait for contact.
func StartGossip(cfg GossipConfig) (*Gossip, error) {
	if err := CheckName("cluster name", cfg.ClusterName); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Jitter == nil {
		cfg.Jitter = quarterJitter
	}
	if cfg.Hints == nil {
		cfg.Hints = NewLeaderHints()
	}
	if cfg.Timings == (GossipTimings{}) {
		cfg.Timings = LANTimings()
	}
	self := cfg.Self
	self.Status = StatusAlive
	if self.ID == "" {
		return nil, errors.New("gossip: the node has no id")
	}
	withCluster := self
	if withCluster.ClusterID == "" {
		withCluster.ClusterID = "00000000-0000-0000-0000-000000000000"
	}
	if _, err := encodeMeta(withCluster, true); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gossip{
		cfg: cfg, log: cfg.Logger, self: self,
		known:   make(map[string]Member),
		refused: make(map[string]string),
		subs:    make(map[chan struct{}]struct{}),
		cancel:  cancel,
	}
	g.view.Store(&gossipView{})
	conf, err := g.listConfig()
	if err == nil {
		g.list, err = memberlist.Create(conf)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("gossip on %s: %w", cfg.Bind, err)
	}
	g.addr = g.list.LocalNode().Address()
	g.mu.Lock()
	g.self.GossipAddress = g.addr
	g.rebuildLocked()
	g.mu.Unlock()
	g.contacts.Go(func() { g.rejoin(ctx) })
	return g, nil
}

// quarterJitter spreads a pause over three to five quarters of it.
func quarterJitter(d time.Duration) time.Duration {
	if d <= 0 {
		return d
	}
	return d*3/4 + rand.N(d/2+1)
}

func (g *Gossip) listConfig() (*memberlist.Config, error) {
	t := g.cfg.Timings
	c := memberlist.DefaultLANConfig()
	c.Name = g.cfg.Self.ID
	c.Label = g.cfg.ClusterName
	c.ProbeInterval, c.ProbeTimeout = t.Probe, t.ProbeTimeout
	c.GossipInterval, c.PushPullInterval = t.Gossip, t.PushPull
	c.TCPTimeout = t.Stream
	c.SecretKey = g.cfg.SecretKey
	// A node that restarts on other ports keeps its id: without this, its dead
	// entry would keep the new one out. An id belongs to one locked directory, so
	// nobody else takes it.
	c.DeadNodeReclaimTime = t.Probe
	c.RequireNodeNames = false
	c.Logger = hclogslog.StdLogger(g.log)
	callbacks := gossipCallbacks{g}
	c.Delegate, c.Events, c.Alive = callbacks, callbacks, callbacks
	if g.cfg.Transport != nil {
		c.Transport = g.cfg.Transport
		return c, nil
	}
	var err error
	if c.BindAddr, c.BindPort, err = resolveBind(g.cfg.Bind); err != nil {
		return nil, err
	}
	c.AdvertiseAddr, c.AdvertisePort = "", c.BindPort
	if g.cfg.Advertise != "" {
		if c.AdvertiseAddr, c.AdvertisePort, err = resolveBind(g.cfg.Advertise); err != nil {
			return nil, fmt.Errorf("advertised address: %w", err)
		}
	}
	return c, probePort(c.BindAddr, c.BindPort)
}

// resolveBind splits host:port and resolves the host, since memberlist takes a
// host that is no IP address for "all interfaces".
func resolveBind(address string) (ip string, port int, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q: want host:port: %w", address, err)
	}
	port, err = strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q: bad port: want 0 to 65535", address)
	}
	if host == "" {
		return "0.0.0.0", port, nil
	}
	resolved, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", address, err)
	}
	return resolved.IP.String(), port, nil
}

// probePort finds out early that a port is taken, because memberlist hides
// the cause in a string.
func probePort(ip string, port int) error {
	if port == 0 {
		return nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("cannot listen: choose another address, or stop what uses it: %w", err)
	}
	return ln.Close()
}

// Address returns the host:port that other nodes contact.
func (g *Gossip) Address() string { return g.addr }

// Members returns every node of this cluster that gossip knows, this one
// included, in order of id. Nodes of another cluster id are left out once this
// node has one. The slice is shared and must not be changed.
func (g *Gossip) Members() []Member { return g.view.Load().members }

// Member returns one of Members by its id.
func (g *Gossip) Member(id string) (Member, bool) {
	m, ok := g.view.Load().byID[id]
	return m, ok
}

// PeerAddress implements Resolver with what the node said last, alive or not.
func (g *Gossip) PeerAddress(nodeID string) (string, bool) {
	m, ok := g.Member(nodeID)
	return m.PeerAddress, ok && m.PeerAddress != ""
}

// Elsewhere returns the peer address, other than this node's, at which a process with
// this node's id was said to be since it was last asked, "" for none. Mostly it is where
// the node was before it moved; a process that still answers there has a copy of its
// data directory. Subscribers are told.
func (g *Gossip) Elsewhere() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	address := g.elsewhere
	g.elsewhere = ""
	return address
}

// Subscribe returns a channel that gets a value after Members has changed, or Elsewhere;
// several changes may be one value, so re-read Members. cancel ends it.
func (g *Gossip) Subscribe() (changes <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.subs[ch] = struct{}{}
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.subs, ch)
	}
}
