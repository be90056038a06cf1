package drill

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// fakeCluster tells its status, and nothing else.
type fakeCluster struct {
	spexv1.UnimplementedClusterServiceServer

	mu   sync.Mutex // guards the fields below
	now  *spexv1.GetStatusResponse
	asks int
	// each is called before every answer and may change it.
	each func(asks int, st *spexv1.GetStatusResponse)
}

func (f *fakeCluster) GetStatus(context.Context, *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asks++; f.each != nil {
		f.each(f.asks, f.now)
	}
	return proto.CloneOf(f.now), nil
}

// change changes what is told from now on.
func (f *fakeCluster) change(do func(*spexv1.GetStatusResponse)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.now)
}

// startCluster serves a cluster of three nodes with one shard, to a workload that
// counts as running.
func startCluster(t *testing.T) (*fakeCluster, *Workload) {
	t.Helper()
	f := &fakeCluster{now: &spexv1.GetStatusResponse{Catalog: &spexv1.ShardStatus{}, Shards: []*spexv1.ShardStatus{{Id: 1}}}}
	for _, name := range []string{"n1", "n2", "n3"} {
		f.now.Nodes = append(f.now.Nodes, &spexv1.NodeStatus{Id: name, Name: name, Reachable: true})
		for _, s := range append(f.now.GetShards(), f.now.GetCatalog()) {
			r := &spexv1.ReplicaStatus{NodeId: name, NodeName: name, State: "follower", StateHash: "5f2a", StateHashIndex: 7}
			if s.Leader == "" {
				s.Leader, s.LeaderName, r.State = name, name, "leader"
			}
			s.Replicas = append(s.Replicas, r)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	spexv1.RegisterClusterServiceServer(srv, f)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	w, err := NewWorkload(Config{Addresses: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if w.control, err = client.Dial(t.Context(), client.Options{Addresses: w.cfg.Addresses}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.start = time.Now()
	w.acked.Store(1)
	return f, w
}

// testBreaker takes down what it is asked to do.
type testBreaker struct {
	broken, mended []string
	// breaks and mends, when set, are what happens.
	breaks, mends func(node string) error
}

func (b *testBreaker) Nodes() []string { return []string{"n1", "n2", "n3"} }

func (b *testBreaker) Break(_ context.Context, node string, _ FaultKind) error {
	b.broken = append(b.broken, node)
	if b.breaks == nil {
		return nil
	}
	return b.breaks(node)
}

func (b *testBreaker) Mend(_ context.Context, node string, _ FaultKind) error {
	b.mended = append(b.mended, node)
	if b.mends == nil {
		return nil
	}
	return b.mends(node)
}

func away(name string) func(*spexv1.GetStatusResponse) {
	return func(st *spexv1.GetStatusResponse) {
		for _, n := range st.GetNodes() {
			n.Reachable = n.GetReachable() && n.GetName() != name
		}
	}
}

// TestOneNodeIsBrokenAtATime: there is no fault while a node is away, whether it
// was so before or has not come back from the last one.
func TestOneNodeIsBrokenAtATime(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrange func(*fakeCluster, *testBreaker)
		faults  int
		want    string
	}{
		{"all is well", func(*fakeCluster, *testBreaker) {}, 3, ""},
		{"a node is away before", func(f *fakeCluster, _ *testBreaker) { f.change(away("n2")) }, 0, "node n2 does not answer"},
		{"a replica does not follow", func(f *fakeCluster, _ *testBreaker) {
			f.change(func(st *spexv1.GetStatusResponse) { st.Shards[0].Replicas[2].Lag = smallLag + 1 })
		}, 0, "the replica of group 1 on n3 is follower and 65 entries behind"},
		{"a node stays away", func(f *fakeCluster, b *testBreaker) {
			b.breaks = func(node string) error {
				f.change(away(node))
				return nil
			}
		}, 1, "the cluster is not whole after 2s"},
		{"a fault is not undone", func(_ *fakeCluster, b *testBreaker) {
			b.mends = func(string) error { return errors.New("the fuse has blown") }
		}, 1, "undo it: the fuse has blown"},
		{"a fault cannot be made", func(_ *fakeCluster, b *testBreaker) {
			b.breaks = func(string) error { return errors.New("the axe is blunt") }
		}, 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, w := startCluster(t)
			b := &testBreaker{}
			c.arrange(f, b)
			schedule := Schedule{Kinds: []FaultKind{Kill}, Count: 3, Patience: 2 * time.Second}
			if c.want == "" {
				schedule.Patience = time.Minute // which is not needed
			}
			faults, err := w.Inject(t.Context(), b, schedule)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if len(faults) != c.faults || len(b.broken) != c.faults || !slices.Equal(b.broken, b.mended) {
				t.Errorf("%d faults; broken %v, mended %v; want %d", len(faults), b.broken, b.mended, c.faults)
			}
			for _, made := range faults {
				if (made.Error != "") != (b.breaks != nil && c.want == "" || b.mends != nil) || (made.Whole > 0) != (c.want == "") {
					t.Errorf("%+v", made)
				}
			}
		})
	}
}

// TestInjectEndsWithItsContext: that is no error, and what is broken is mended.
func TestInjectEndsWithItsContext(t *testing.T) {
	f, w := startCluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := &testBreaker{breaks: func(node string) error {
		f.change(away(node))
		cancel()
		return nil
	}}
	faults, err := w.Inject(ctx, b, Schedule{Kinds: []FaultKind{Pause}, Hold: time.Hour})
	if err != nil || len(faults) != 1 || len(b.mended) != 1 || faults[0].Whole != 0 {
		t.Errorf("%+v, mended %v: %v", faults, b.mended, err)
	}
}

// TestInterruptedFault: one that the end of the context kept from being made is none
// that failed; one that failed before is.
func TestInterruptedFault(t *testing.T) {
	for _, interrupted := range []bool{true, false} {
		_, w := startCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		b := &testBreaker{breaks: func(string) error { return errors.New("no answer") }}
		b.mends = func(string) error {
			cancel()
			return nil
		}
		if interrupted {
			b.breaks = func(string) error {
				cancel()
				return ctx.Err()
			}
		}
		faults, err := w.Inject(ctx, b, Schedule{Kinds: []FaultKind{Pause}})
		if err != nil || len(b.mended) != 1 || (len(faults) == 0) != interrupted {
			t.Errorf("interrupted %v: %+v, mended %v: %v", interrupted, faults, b.mended, err)
		}
	}
}

// TestAgreement: replicas agree when all of a group were seen at one index, and
// not when nobody could compare them.
func TestAgreement(t *testing.T) {
	replica := func(st *spexv1.GetStatusResponse, i int) *spexv1.ReplicaStatus {
		return st.GetShards()[0].GetReplicas()[i]
	}
	for _, c := range []struct {
		name string
		each func(asks int, st *spexv1.GetStatusResponse)
		want string
	}{
		{"all are equal", nil, ""},
		{"one has no hash for a while", func(asks int, st *spexv1.GetStatusResponse) {
			if replica(st, 1).StateHash = ""; asks > 2 {
				replica(st, 1).StateHash = "5f2a"
			}
		}, ""},
		{"they come to one index in turn", func(asks int, st *spexv1.GetStatusResponse) {
			for i := range 3 {
				if replica(st, i).StateHash, replica(st, i).StateHashIndex = "0a", uint64(100*i+asks+10); i == asks%3 {
					replica(st, i).StateHash, replica(st, i).StateHashIndex = "5f2a", 7
				}
			}
		}, ""},
		{"they differ, once", func(asks int, st *spexv1.GetStatusResponse) {
			if replica(st, 2).StateHash = "0bad"; asks > 1 {
				replica(st, 2).StateHash = "5f2a"
			}
		}, "group 1: at index 7 the state of n"},
		{"one never has a hash", func(_ int, st *spexv1.GetStatusResponse) { replica(st, 1).StateHash = "" },
			"group 1 was not compared: its replicas were not seen at one index: n1 is leader at index 7, n2 is follower at index 7 without a hash"},
		{"one stays behind", func(_ int, st *spexv1.GetStatusResponse) { replica(st, 1).StateHashIndex = 6 }, "n2 is follower at index 6"},
		{"nobody knows of a shard", func(_ int, st *spexv1.GetStatusResponse) { st.Shards = nil }, "no group was compared"},
		{"nobody knows the replicas of the catalog", func(_ int, st *spexv1.GetStatusResponse) { st.Catalog = nil }, "group 0 was not compared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, w := startCluster(t)
			f.each = c.each
			patience := 10 * time.Second
			if c.want != "" {
				patience = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			got := strings.Join(w.agreement(ctx), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if one := strings.Join(Disagreement(f.now), "\n"); c.want != "" && !strings.Contains(one, c.want) {
				t.Errorf("in one look: %q, want %q", one, c.want)
			}
		})
	}
	f, _ := startCluster(t)
	if odd := Disagreement(f.now); odd != nil {
		t.Errorf("replicas that are the same: %v", odd)
	}
	if f.now.Shards[0].Leader = ""; !slices.Equal(Disagreement(f.now), []string{"group 1 has no leader"}) {
		t.Errorf("without a leader: %v", Disagreement(f.now))
	}
}
