package transport

import "github.com/spexio/spex/cluster"

// remember keeps the address book up to date with what gossip knows, until the
// server stops.
func (s *Server) remember() {
	changes, cancel := s.gossip.Subscribe()
	defer cancel()
	failing := false
	for {
		self := s.self
		self.ClusterID = s.currentClusterID()
		err := s.book.Note(self, s.gossip.Members(), s.removed)
		if err != nil && !failing {
			s.log.Warn("where the other nodes are is not remembered: should all addresses of --join become stale, this node will not find them", "error", err)
		}
		failing = err != nil
		select {
		case <-changes:
		case <-s.ctx.Done():
			return
		}
	}
}

// removed reports whether a node was taken out of the cluster, as far as is known here.
func (s *Server) removed(id string) bool {
	n := s.Node()
	return n != nil && n.Removed(id)
}

// openBook reads the address book. One that cannot be read is begun anew: it only
// adds to what --join says.
func (s *Server) openBook() {
	var err error
	if s.book, err = cluster.OpenAddressBook(s.cfg.DataDir, cluster.Files{}); err != nil {
		s.log.Warn("the remembered addresses of other nodes are lost", "error", err)
	}
}
