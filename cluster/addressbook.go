package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

const (
	bookFile   = "addresses.json"
	bookFormat = 1
	// maxBook bounds how many nodes are remembered.
	maxBook = 256
)

// AddressBook remembers in the data directory where gossip found the other nodes
// of the cluster, so that a node whose configured addresses are stale finds them
// again. The catalog does not do for that: what its log holds is known to be
// committed only when a leader was found. It is safe for concurrent use.
type AddressBook struct {
	path  string
	files Files

	mu sync.Mutex // guards addresses, and makes writes of the file one at a time
	// addresses is what the file holds, by node id. The map is replaced, not changed.
	addresses map[string]string
}

type bookRecord struct {
	Format int               `json:"format"`
	Gossip map[string]string `json:"gossip"`
}

// OpenAddressBook reads the book of a data directory, which is empty when there is
// none yet. The error says that there is one that cannot be read; the book can be
// used all the same, and is empty.
func OpenAddressBook(dir string, files Files) (*AddressBook, error) {
	if files.Read == nil {
		files = OSFiles()
	}
	b := &AddressBook{path: filepath.Join(dir, bookFile), files: files}
	data, err := files.Read(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	var r bookRecord
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err == nil && r.Format != bookFormat {
		err = fmt.Errorf("it has format %d, this release reads %d", r.Format, bookFormat)
	}
	if err != nil {
		return b, fmt.Errorf("read the addresses of other nodes from %s: %w", b.path, err)
	}
	b.addresses = r.Gossip
	return b, nil
}

// Addresses returns the gossip address of each remembered node, by its id. The map
// must not be changed.
func (b *AddressBook) Addresses() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addresses
}

// Note remembers where the living members of the cluster are, other than self, and
// forgets the nodes that were removed from it. It writes only what is new; the
// error is that of the write.
func (b *AddressBook) Note(self Member, members []Member, removed func(id string) bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := make(map[string]string, len(b.addresses))
	for id, address := range b.addresses {
		if !removed(id) {
			next[id] = address
		}
	}
	for _, m := range members {
		_, known := next[m.ID]
		if m.ID != self.ID && m.Status == StatusAlive && self.ClusterID != "" && m.ClusterID == self.ClusterID && !removed(m.ID) && (known || len(next) < maxBook) {
			next[m.ID] = m.GossipAddress
		}
	}
	if maps.Equal(next, b.addresses) {
		return nil
	}
	data, err := json.MarshalIndent(bookRecord{Format: bookFormat, Gossip: next}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the addresses of other nodes: %w", err)
	}
	if err := b.files.Write(b.path, append(data, '\n')); err != nil {
		return fmt.Errorf("remember the addresses of other nodes: %w", err)
	}
	b.addresses = next
	return nil
}

// Removed reports whether a node was taken out of the cluster for good, as far as
// this node's catalog knows.
func (n *Node) Removed(id string) bool {
	return n.catalog.machine.NodeState(id) == statev1.NodeState_NODE_STATE_GONE
}
