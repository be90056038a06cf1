package transport

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/callctx"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestPeersFillTheTarget(t *testing.T) {
	m := newPeerMesh(t)
	var mu sync.Mutex // guards seen
	seen := map[string]bool{}
	for _, id := range []string{"n2", "n3"} {
		m.start(id, id+":1", &fakeHandler{confirm: func(_ context.Context, r *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
			want := &peerv1.Target{ClusterId: meshCluster, Group: 7, From: "n1", To: id}
			if !proto.Equal(r.GetTarget(), want) || r.GetTerm() != 42 {
				t.Errorf("%s got %v", id, r)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[id] = true
			return &peerv1.ConfirmResponse{Confirmed: true, Term: r.GetTerm()}, nil
		}}, nil)
	}
	peers := m.start("n1", "n1:1", nil, nil).Peers()
	// One request to both at once, as a confirm round does.
	req := &peerv1.ConfirmRequest{Target: &peerv1.Target{Group: 7}, Term: 42}
	var wg sync.WaitGroup
	for _, id := range []string{"n2", "n3"} {
		wg.Go(func() {
			resp, err := peers.Confirm(t.Context(), id, req)
			if err != nil || !resp.GetConfirmed() || resp.GetTerm() != 42 {
				t.Errorf("%s: %v, %v", id, resp, err)
			}
		})
	}
	wg.Wait()
	if len(seen) != 2 {
		t.Errorf("reached %v", seen)
	}
	if want := (&peerv1.ConfirmRequest{Target: &peerv1.Target{Group: 7}, Term: 42}); !proto.Equal(req, want) {
		t.Errorf("the caller's request became %v", req)
	}
}

func TestWithTargetCopiesEveryField(t *testing.T) {
	req := &peerv1.ForwardRequest{
		Hops: 2, Principal: "eve",
		Request: &peerv1.ForwardRequest_Get{Get: &spexv1.GetInstanceRequest{Id: "i"}},
	}
	got := withTarget(req, testTarget)
	want := proto.Clone(req).(*peerv1.ForwardRequest)
	want.Target = testTarget
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if req.Target != nil {
		t.Error("the request was changed")
	}
}

func TestPeersPassOnErrorsPrincipalAndTrace(t *testing.T) {
	m := newPeerMesh(t)
	refusal := &fsm.Error{Reason: typesv1.Reason_REASON_NOT_LEADER, Message: "try n3", LeaderID: "n3",
		LeaderAddress: "c:1", Shard: 4, CurrentSeq: 9, NotApplied: true}
	trace := callctx.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	m.start("n2", "b:1", &fakeHandler{forward: func(ctx context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
		if got := callctx.Principal(ctx); got != "eve" {
			t.Errorf("principal %q", got)
		}
		if got := callctx.TraceFrom(ctx); got != trace {
			t.Errorf("trace %+v", got)
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return nil, refusal
	}}, nil)
	peers := m.start("n1", "a:1", nil, nil).Peers()
	_, err := peers.Forward(callctx.WithTrace(t.Context(), trace), "n2", &peerv1.ForwardRequest{Principal: "eve"})
	if !reflect.DeepEqual(err, error(refusal)) {
		t.Errorf("got %+v, want %+v", err, refusal)
	}
}

func TestPeersKnowWhenNothingWasSent(t *testing.T) {
	m := newPeerMesh(t)
	got := make(chan struct{}, 10)
	m.start("n2", "b:1", &fakeHandler{forward: func(ctx context.Context, _ *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
		got <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}, nil)
	m.announce("n3", "nobody:1")
	n1 := m.start("n1", "a:1", nil, nil)
	peers := n1.Peers()
	forward := func(to string, req *peerv1.ForwardRequest) *fsm.Error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := peers.Forward(ctx, to, req)
		e, ok := err.(*fsm.Error)
		if !ok {
			t.Fatalf("got %T: %v", err, err)
		}
		return e
	}
	large := &peerv1.ForwardRequest{Principal: strings.Repeat("x", MaxPeerMessageBytes)}
	tests := []struct {
		name, to   string
		req        *peerv1.ForwardRequest
		reason     typesv1.Reason
		notApplied bool
	}{
		{"no answer", "n2", &peerv1.ForwardRequest{}, typesv1.Reason_REASON_UNAVAILABLE, false},
		{"nobody listens", "n3", &peerv1.ForwardRequest{}, typesv1.Reason_REASON_UNAVAILABLE, true},
		{"no address", "n4", &peerv1.ForwardRequest{}, typesv1.Reason_REASON_UNAVAILABLE, true},
		{"too large", "n2", large, typesv1.Reason_REASON_LIMIT_EXCEEDED, true},
	}
	for _, tt := range tests {
		e := forward(tt.to, tt.req)
		if e.Reason != tt.reason || e.NotApplied != tt.notApplied || !strings.Contains(e.Message, tt.to) {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
	if len(got) != 1 {
		t.Errorf("%d requests arrived, want 1", len(got))
	}
	_ = n1.Close()
	if e := forward("n2", &peerv1.ForwardRequest{}); e.Reason != typesv1.Reason_REASON_UNAVAILABLE || !e.NotApplied {
		t.Errorf("on a closed network: %+v", e)
	}
}

func TestPeerServerGivesADeadline(t *testing.T) {
	m := newPeerMesh(t)
	short := func(c *NetConfig) { c.Timing.Request = 100 * time.Millisecond }
	m.start("n2", "b:1", &fakeHandler{confirm: func(ctx context.Context, _ *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, short)
	n1 := m.start("n1", "a:1", nil, nil)
	cc, err := n1.conn("n2")
	if err != nil {
		t.Fatal(err)
	}
	_, err = peerv1.NewPeerServiceClient(cc).Confirm(context.Background(), &peerv1.ConfirmRequest{Target: n1.target(1, "n2")})
	wantReason(t, ErrorFromStatus(err), typesv1.Reason_REASON_UNAVAILABLE)
}

func TestPeerServerSurvivesPanics(t *testing.T) {
	m := newPeerMesh(t)
	m.start("n2", "b:1", &fakeHandler{confirm: func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
		panic("secret")
	}}, nil)
	peers := m.start("n1", "a:1", nil, nil).Peers()
	for range 2 {
		_, err := peers.Confirm(t.Context(), "n2", &peerv1.ConfirmRequest{})
		if e := wantReason(t, err, typesv1.Reason_REASON_INTERNAL); e.NotApplied || strings.Contains(e.Message, "secret") {
			t.Errorf("%+v", e)
		}
	}
}

func TestTargetsAreChecked(t *testing.T) {
	const own = meshCluster
	ok := typesv1.Reason_REASON_UNSPECIFIED
	wrongTarget, wrongCluster := typesv1.Reason_REASON_WRONG_TARGET, typesv1.Reason_REASON_WRONG_CLUSTER
	tests := []struct {
		receiver string
		target   *peerv1.Target
		// Once the cluster is formed, and while it forms.
		formed, unformed typesv1.Reason
	}{
		{own, &peerv1.Target{ClusterId: own, From: "n1", To: "n2"}, ok, ok},
		{own, &peerv1.Target{ClusterId: own, From: "n1", To: "n3"}, wrongTarget, wrongTarget},
		{own, &peerv1.Target{ClusterId: own, From: "n1"}, wrongTarget, wrongTarget},
		{own, &peerv1.Target{ClusterId: own, To: "n2"}, wrongTarget, wrongTarget},
		{own, nil, wrongTarget, wrongTarget},
		{own, &peerv1.Target{ClusterId: "other", From: "n1", To: "n2"}, wrongCluster, wrongCluster},
		{own, &peerv1.Target{From: "n1", To: "n2"}, wrongCluster, ok},
		{"", &peerv1.Target{ClusterId: own, From: "n1", To: "n2"}, wrongCluster, ok},
		{"", &peerv1.Target{From: "n1", To: "n2"}, wrongCluster, ok},
		{"", &peerv1.Target{From: "n1", To: "n3"}, wrongTarget, wrongTarget},
	}
	for _, tt := range tests {
		n, err := NewPeerNet(NetConfig{NodeID: "n2", ClusterID: func() string { return tt.receiver }, Resolver: &peerMesh{}})
		if err != nil {
			t.Fatal(err)
		}
		for unformed, want := range map[bool]typesv1.Reason{false: tt.formed, true: tt.unformed} {
			err := n.checkTarget(tt.target, unformed)
			if got := fsm.ReasonOf(err); got != want {
				t.Errorf("receiver %q, unformed %v, %v: got %v, want %s", tt.receiver, unformed, tt.target, err, want)
			}
		}
	}
	for req, want := range map[any]bool{
		&peerv1.PledgeRequest{}: true, &peerv1.JoinRequest{}: true, &peerv1.StatusRequest{}: true,
		&peerv1.ForwardRequest{}: false, &peerv1.ProposeRequest{}: false, &peerv1.ReadIndexRequest{}: false, &peerv1.ConfirmRequest{}: false,
		&peerv1.AppendEntriesRequest{}: false, &peerv1.RequestVoteRequest{}: false,
	} {
		if beforeFormation(req) != want {
			t.Errorf("%T before the cluster is formed: %v", req, !want)
		}
	}
}

func TestClusterFormsAcrossUnknownClusterIDs(t *testing.T) {
	m := newPeerMesh(t)
	none := func(c *NetConfig) { c.ClusterID = func() string { return "" } }
	reached := 0
	m.start("n2", "b:1", &fakeHandler{
		pledge: func(context.Context, *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
			reached++
			return &peerv1.PledgeResponse{Pledged: true}, nil
		},
		confirm: func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
			t.Error("a request of a formed cluster got through")
			return nil, nil
		},
	}, none)
	peers := m.start("n1", "a:1", nil, none).Peers()
	if resp, err := peers.Pledge(t.Context(), "n2", &peerv1.PledgeRequest{}); err != nil || !resp.GetPledged() || reached != 1 {
		t.Errorf("%v, %v", resp, err)
	}
	_, err := peers.Confirm(t.Context(), "n2", &peerv1.ConfirmRequest{})
	if e := wantReason(t, err, typesv1.Reason_REASON_WRONG_CLUSTER); !e.NotApplied {
		t.Errorf("a refusal leaves the outcome open: %+v", e)
	}
}

func TestPeerServerAnswersHealthChecks(t *testing.T) {
	m := newPeerMesh(t)
	m.start("n2", "b:1", nil, nil)
	cc, err := m.start("n1", "a:1", nil, nil).conn("n2")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestNetConfigIsChecked(t *testing.T) {
	id, cluster := "n1", func() string { return "" }
	for _, tt := range []struct {
		cfg  NetConfig
		want string
	}{
		{NetConfig{ClusterID: cluster, Resolver: &peerMesh{}}, "NodeID"},
		{NetConfig{NodeID: id, Resolver: &peerMesh{}}, "ClusterID"},
		{NetConfig{NodeID: id, ClusterID: cluster}, "Resolver"},
		{NetConfig{NodeID: id, ClusterID: cluster, Resolver: &peerMesh{}, CopyRate: MinCopyRate - 1}, "CopyRate"},
		{NetConfig{NodeID: id, ClusterID: cluster, Resolver: &peerMesh{}, CopyRate: -1}, "CopyRate"},
	} {
		if _, err := NewPeerNet(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error about %s", err, tt.want)
		}
	}
}

func TestRefusalsAreLoggedSparingly(t *testing.T) {
	now := time.Unix(1000, 0)
	var logged strings.Builder
	n, err := NewPeerNet(NetConfig{
		NodeID: "n2", ClusterID: func() string { return meshCluster }, Resolver: &peerMesh{},
		Logger: slog.New(slog.NewTextHandler(&logged, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	stray := func(from string) {
		_ = n.checkTarget(&peerv1.Target{ClusterId: "other", From: from, To: "n2"}, false)
	}
	for range 100 {
		stray("n1")
		stray("n3")
	}
	now = now.Add(10 * time.Second)
	stray("n1")
	if got := strings.Count(logged.String(), "\n"); got != 3 {
		t.Errorf("%d lines, want 3:\n%s", got, logged.String())
	}
	if s := logged.String(); !strings.Contains(s, "other") || !strings.Contains(s, meshCluster) {
		t.Errorf("the log does not name both clusters: %s", s)
	}
}

// The limits must fit what they are derived for, whatever the constant.
func TestLimitsFitTogether(t *testing.T) {
	full := raftAppendToProto(entriesOf("n1", MaxAppendEntries, MaxEntryBytes), testTarget)
	for _, e := range full.Entries {
		e.Index, e.Term, e.AppendedAtUnixNano = 1<<63, 1<<63, time.Now().UnixNano()
	}
	if n := proto.Size(full); n > MaxPeerMessageBytes {
		t.Errorf("a full AppendEntries has %d bytes, the limit is %d", n, MaxPeerMessageBytes)
	}
	if MaxSnapshotChunkBytes > 1<<20 {
		t.Errorf("chunks of %d bytes are over 1 MiB", MaxSnapshotChunkBytes)
	}
	if keepaliveMinTime >= keepaliveTime {
		t.Error("servers would refuse the probes of our clients")
	}
	d := Timing{}.withDefaults()
	for v, i := reflect.ValueOf(d), 0; i < v.NumField(); i++ {
		if v.Field(i).Int() <= 0 {
			t.Errorf("%s has no default", v.Type().Field(i).Name)
		}
	}
}
