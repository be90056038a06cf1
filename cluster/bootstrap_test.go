package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

// aloneBootstrap is a node without gossip.
func aloneBootstrap(t *testing.T, dir string, change func(*BootstrapConfig)) (*Bootstrap, *Identity, error) {
	t.Helper()
	identity := mustOpenIdentity(t, dir, "n1", "spex")
	cfg := BootstrapConfig{Self: Member{ID: identity.NodeID(), PeerAddress: "127.0.0.1:1"}, Expect: 1, Shards: 16, Replicas: 3}
	if change != nil {
		change(&cfg)
	}
	b, err := NewBootstrap(identity, cfg)
	return b, identity, err
}

// TestOneServerOnRealFiles: formed, killed before it was noted, formed with the
// same id again, noted, restarted.
func TestOneServerOnRealFiles(t *testing.T) {
	dir := t.TempDir()
	var first Outcome
	for round := range 3 {
		b, identity, err := aloneBootstrap(t, dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		out, err := b.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch round {
		case 0:
			first = out
			if out.Kind != Formed || len(out.Members) != 1 || out.Members[0].ID != identity.NodeID() || out.Members[0].PeerAddress == "" || out.Shards != 16 || out.Replicas != 3 {
				t.Fatalf("%+v", out)
			}
		case 1:
			if out.Kind != Formed || out.ClusterID != first.ClusterID {
				t.Fatalf("%+v after %+v", out, first)
			}
			if err := identity.SetClusterID(out.ClusterID); err != nil {
				t.Fatal(err)
			}
		case 2:
			if out.Kind != Restarted || out.ClusterID != first.ClusterID {
				t.Fatalf("%+v after %+v", out, first)
			}
		}
		if err := identity.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPledgedDirectoryOfAnotherClusterName(t *testing.T) {
	dir := t.TempDir()
	b, identity, err := aloneBootstrap(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := identity.Close(); err != nil {
		t.Fatal(err)
	}
	other := mustOpenIdentity(t, dir, "n1", "prod")
	_, err = NewBootstrap(other, BootstrapConfig{Self: Member{ID: other.NodeID()}, Expect: 1, Shards: 1, Replicas: 1})
	if !errors.Is(err, ErrOtherCluster) || !strings.Contains(err.Error(), "--cluster spex") {
		t.Errorf("got %v", err)
	}
}

func TestBootstrapRefusesBadSettings(t *testing.T) {
	for name, change := range map[string]func(*BootstrapConfig){
		"no gossip": func(c *BootstrapConfig) { c.Expect = 3 },
		"no shards": func(c *BootstrapConfig) { c.Shards = 0 },
		"no peers":  func(c *BootstrapConfig) { c.Membership = members{} },
		"other id":  func(c *BootstrapConfig) { c.Self.ID = "x" },
	} {
		if _, _, err := aloneBootstrap(t, t.TempDir(), change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRunEndsWithItsContext: waiting for servers that never come.
func TestRunEndsWithItsContext(t *testing.T) {
	b, _, err := aloneBootstrap(t, t.TempDir(), func(c *BootstrapConfig) {
		c.Expect, c.Membership, c.Peers = 3, members{}, &simProc{}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if out, err := b.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", out, err)
	}
}

// members is a view that never changes.
type members []Member

func (m members) Members() []Member                  { return m }
func (members) Subscribe() (<-chan struct{}, func()) { return nil, func() {} }
func alive(ids ...string) (view members) {
	for _, id := range ids {
		id, cluster, _ := strings.Cut(id, ":")
		view = append(view, Member{ID: id, ClusterID: cluster, Status: StatusAlive})
	}
	return view
}

// TestHandlePledge: what a node answers to a proposer, and that a refusal
// binds it to nothing.
func TestHandlePledge(t *testing.T) {
	for name, c := range map[string]struct {
		view   members
		change func(req *peerv1.PledgeRequest)
		says   string // "" means pledged
	}{
		"agreed":           {view: alive("a", "c")},
		"other name":       {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.ClusterName = "prod" }, says: `not of "prod"`},
		"not the lowest":   {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Target.From = "c" }, says: "the lowest id"},
		"nobody asks":      {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Target = nil }, says: "the lowest id"},
		"not in the list":  {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Members = []string{"a", "c", "d"} }, says: "not in the list"},
		"other number":     {view: alive("a"), change: func(r *peerv1.PledgeRequest) { r.Members = []string{"a", r.Target.To} }, says: "--expect 3"},
		"other shards":     {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Shards = 8 }, says: "--shards 16"},
		"other replicas":   {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Replicas = 1 }, says: "--replicas 3"},
		"unsorted":         {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.Members[0], r.Members[2] = "c", "a" }, says: "not sorted"},
		"empty":            {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { *r = peerv1.PledgeRequest{} }, says: "without"},
		"trial refused":    {view: alive("a", "c"), change: func(r *peerv1.PledgeRequest) { r.ClusterId, r.Shards = "", 8 }, says: "--shards 16"},
		"does not see all": {view: alive("a"), says: "sees a"},
		"sees one more":    {view: alive("a", "c", "d"), says: "not the proposed list"},
		"sees a cluster":   {view: alive("a", "c", "z:Z"), says: "existing cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			b, identity, err := aloneBootstrap(t, t.TempDir(), func(c2 *BootstrapConfig) {
				c2.Expect, c2.Membership, c2.Peers = 3, c.view, &simProc{}
			})
			if err != nil {
				t.Fatal(err)
			}
			self := identity.NodeID() // "n1-…" sorts between c and z
			request := func() *peerv1.PledgeRequest {
				return &peerv1.PledgeRequest{Target: &peerv1.Target{From: "a", To: self}, ClusterName: "spex", ClusterId: "X",
					Members: []string{"a", "c", self}, Shards: 16, Replicas: 3}
			}
			req := request()
			if c.change != nil {
				c.change(req)
			}
			resp, err := b.HandlePledge(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if c.says != "" {
				if resp.GetPledged() || !strings.Contains(resp.GetReason(), c.says) {
					t.Fatalf("%v", resp)
				}
				if _, bound, _ := b.pledges.current(); bound {
					t.Fatal("a refusal bound the node")
				}
				return
			}
			if !resp.GetPledged() {
				t.Fatalf("%v", resp)
			}
			// The same again, also with nobody in sight: yes. Another one: never.
			b.cfg.Membership = members{}
			if resp, err = b.HandlePledge(t.Context(), request()); err != nil || !resp.GetPledged() {
				t.Errorf("the same again: %v, %v", resp, err)
			}
			other := request()
			other.ClusterId = "Y"
			if resp, err = b.HandlePledge(t.Context(), other); err != nil || resp.GetPledged() || resp.GetClusterId() != "X" {
				t.Errorf("another: %v, %v", resp, err)
			}
		})
	}
}

// TestTrialBindsNobody: after a trial any proposal may still come.
func TestTrialBindsNobody(t *testing.T) {
	b, identity, err := aloneBootstrap(t, t.TempDir(), func(c *BootstrapConfig) {
		c.Expect, c.Membership, c.Peers = 3, alive("a", "c"), &simProc{}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"", "", "X"} {
		resp, err := b.HandlePledge(t.Context(), &peerv1.PledgeRequest{Target: &peerv1.Target{From: "a"}, ClusterName: "spex", ClusterId: id,
			Members: []string{"a", "c", identity.NodeID()}, Shards: 16, Replicas: 3})
		if err != nil || !resp.GetPledged() || resp.GetClusterId() != id {
			t.Fatalf("%d: %v, %v", i, resp, err)
		}
		if _, bound, _ := b.pledges.current(); bound != (id != "") {
			t.Fatalf("%d: bound %t", i, bound)
		}
	}
}

// TestJoiningNodePledgesNothing: once asked, the cluster may have taken it in.
func TestJoiningNodePledgesNothing(t *testing.T) {
	b, identity, err := aloneBootstrap(t, t.TempDir(), func(c *BootstrapConfig) {
		c.Expect, c.Membership, c.Peers = 3, alive("a", "c"), &simProc{}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !b.startJoin("Z") {
		t.Fatal("cannot join")
	}
	req := &peerv1.PledgeRequest{Target: &peerv1.Target{From: "a"}, ClusterName: "spex", ClusterId: "X",
		Members: []string{"a", "c", identity.NodeID()}, Shards: 16, Replicas: 3}
	resp, err := b.HandlePledge(t.Context(), req)
	if err != nil || resp.GetPledged() || resp.GetClusterId() != "Z" {
		t.Errorf("%v, %v", resp, err)
	}
	if problem := b.propose([]string{identity.NodeID()}); problem == "" {
		t.Error("it proposes while it joins")
	}
}
