package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// MemberStatus is what gossip thinks of a node. It is a rumour: it never takes
// a vote away and never starts a move of data. memberlist does not tell when a
// node is merely suspected, so such a node is alive here until it is dead.
type MemberStatus int

const (
	// StatusAlive: the node answers, or is not known not to.
	StatusAlive MemberStatus = iota + 1
	// StatusDead: the node stopped answering.
	StatusDead
	// StatusLeft: the node said that it stops.
	StatusLeft
)

// String gives the status in lower case.
func (s MemberStatus) String() string {
	switch s {
	case StatusAlive:
		return "alive"
	case StatusDead:
		return "dead"
	case StatusLeft:
		return "left"
	default:
		return fmt.Sprintf("status %d", int(s))
	}
}

// Member is a node as it presents itself in gossip.
type Member struct {
	// ID is the node id.
	ID string
	// ClientAddress and PeerAddress are the host:port of its two listeners.
	ClientAddress string
	PeerAddress   string
	// ClusterID is the cluster that it belongs to, "" while it has none.
	ClusterID string
	// Version is its release, FeatureLevel the newest level it can apply.
	Version      string
	FeatureLevel uint32
	// GossipAddress and Status are what the receiver saw, not what the node said.
	GossipAddress string
	Status        MemberStatus
}

// Node returns the member in the form that the catalog keeps.
func (m Member) Node() *statev1.Node {
	return &statev1.Node{
		Id:            m.ID,
		Name:          NodeName(m.ID),
		ClientAddress: m.ClientAddress,
		PeerAddress:   m.PeerAddress,
		FeatureLevel:  m.FeatureLevel,
		Version:       m.Version,
	}
}

// metaVersion changes only when older releases must not read what follows. New
// fields go to the end instead: readers ignore what they do not know.
const metaVersion = 1

const (
	metaLeaving  = 1 << iota // the node is about to stop
	metaSameHost             // the peer address has the host of the client address
	metaUUID                 // the cluster id is a UUID and travels as 16 bytes
)

var errMetaTooLong = errors.New("the node's addresses do not fit into gossip")

// encodeMeta packs a member into the at most 512 bytes that gossip has for a
// node: version, flags, feature level, then id, cluster id, release, client
// address and peer address, each behind its length.
func encodeMeta(m Member, leaving bool) ([]byte, error) {
	var flags byte
	if leaving {
		flags |= metaLeaving
	}
	peer := m.PeerAddress
	if port, ok := sharedHost(m.ClientAddress, m.PeerAddress); ok {
		flags |= metaSameHost
		peer = port
	}
	clusterID := m.ClusterID
	if u, err := uuid.Parse(clusterID); err == nil && u.String() == clusterID {
		flags |= metaUUID
		clusterID = string(u[:])
	}
	buf := []byte{metaVersion, flags}
	buf = binary.AppendUvarint(buf, uint64(m.FeatureLevel))
	for _, s := range []string{m.ID, clusterID, m.Version, m.ClientAddress, peer} {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	if len(buf) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d: use one host name for --listen and --peer-listen, or shorter ones (%q, %q)",
			errMetaTooLong, len(buf), memberlist.MetaMaxSize, m.ClientAddress, m.PeerAddress)
	}
	return buf, nil
}

// sharedHost returns the port of b if it has the host of a, in the same spelling.
func sharedHost(a, b string) (port string, ok bool) {
	host, _, err := net.SplitHostPort(a)
	if err != nil {
		return "", false
	}
	hostB, portB, err := net.SplitHostPort(b)
	if err != nil || hostB != host || net.JoinHostPort(host, portB) != b {
		return "", false
	}
	return portB, true
}

// decodeMeta is the inverse of encodeMeta. The input comes from the network.
func decodeMeta(data []byte) (m Member, leaving bool, err error) {
	if len(data) < 2 {
		return Member{}, false, errors.New("gossip: node data is cut off")
	}
	if data[0] != metaVersion {
		return Member{}, false, fmt.Errorf("gossip: node data of version %d: this release reads %d", data[0], metaVersion)
	}
	flags, rest := data[1], data[2:]
	level, n := binary.Uvarint(rest)
	if n <= 0 || level > 1<<32-1 {
		return Member{}, false, errors.New("gossip: bad feature level")
	}
	rest = rest[n:]
	m.FeatureLevel = uint32(level)
	var fields [5]string
	for i := range fields {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return Member{}, false, errors.New("gossip: node data is cut off")
		}
		fields[i] = string(rest[n : n+int(size)])
		rest = rest[n+int(size):]
	}
	m.ID, m.ClusterID, m.Version, m.ClientAddress, m.PeerAddress = fields[0], fields[1], fields[2], fields[3], fields[4]
	if m.ID == "" {
		return Member{}, false, errors.New("gossip: a node without an id")
	}
	if flags&metaUUID != 0 {
		u, err := uuid.FromBytes([]byte(m.ClusterID))
		if err != nil {
			return Member{}, false, fmt.Errorf("gossip: bad cluster id: %w", err)
		}
		m.ClusterID = u.String()
	}
	if flags&metaSameHost != 0 {
		host, _, err := net.SplitHostPort(m.ClientAddress)
		if err != nil {
			return Member{}, false, fmt.Errorf("gossip: bad client address: %w", err)
		}
		m.PeerAddress = net.JoinHostPort(host, m.PeerAddress)
	}
	return m, flags&metaLeaving != 0, nil
}
