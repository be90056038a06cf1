package transport

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

// roundTrips holds every RPC struct of raft with the way that it takes over the
// wire. A conversion that forgets a field of raft's, be it a new one, fails.
var roundTrips = []struct {
	sample any
	trip   func(t *testing.T, in any) any
}{
	{&raft.AppendEntriesRequest{}, wireTrip(withTestTarget(raftAppendToProto), raftAppendFromProto)},
	{&raft.AppendEntriesResponse{}, wireTrip(raftAppendRespToProto, raftAppendRespFromProto)},
	{&raft.RequestVoteRequest{}, wireTrip(withTestTarget(raftVoteToProto), raftVoteFromProto)},
	{&raft.RequestVoteResponse{}, wireTrip(raftVoteRespToProto, raftVoteRespFromProto)},
	{&raft.RequestPreVoteRequest{}, wireTrip(withTestTarget(raftPreVoteToProto), raftPreVoteFromProto)},
	{&raft.RequestPreVoteResponse{}, wireTrip(raftPreVoteRespToProto, raftPreVoteRespFromProto)},
	{&raft.TimeoutNowRequest{}, wireTrip(withTestTarget(raftTimeoutNowToProto), raftTimeoutNowFromProto)},
	{&raft.TimeoutNowResponse{}, wireTrip(raftTimeoutNowRespToProto, raftTimeoutNowRespFromProto)},
	{&raft.InstallSnapshotRequest{}, wireTrip(withTestTarget(raftInstallToProto), raftInstallFromProto)},
	{&raft.InstallSnapshotResponse{}, wireTrip(raftInstallRespToProto, raftInstallRespFromProto)},
}

func TestRaftStructsSurviveTheWire(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for _, rt := range roundTrips {
		typ := reflect.TypeOf(rt.sample).Elem()
		t.Run(typ.Name(), func(t *testing.T) {
			for range 50 {
				in := reflect.New(typ)
				fillNonZero(t, rng, in.Elem(), typ.Name())
				if out := rt.trip(t, in.Interface()); !reflect.DeepEqual(in.Interface(), out) {
					t.Fatalf("sent %+v\ngot  %+v", in.Interface(), out)
				}
			}
			zero := reflect.New(typ).Interface()
			if out := rt.trip(t, zero); !reflect.DeepEqual(zero, out) {
				t.Fatalf("the zero value became %+v", out)
			}
		})
	}
}

// TestEveryRaftCallIsCovered fails when raft's transport gains a method with a
// struct that roundTrips does not know.
func TestEveryRaftCallIsCovered(t *testing.T) {
	known := map[reflect.Type]bool{}
	for _, rt := range roundTrips {
		known[reflect.TypeOf(rt.sample)] = true
	}
	seen := 0
	for _, iface := range []reflect.Type{reflect.TypeFor[raft.Transport](), reflect.TypeFor[raft.WithPreVote]()} {
		for i := range iface.NumMethod() {
			for j := range iface.Method(i).Type.NumIn() {
				in := iface.Method(i).Type.In(j)
				if in.Kind() != reflect.Pointer || in.Elem().Kind() != reflect.Struct {
					continue
				}
				seen++
				if !known[in] {
					t.Errorf("%s.%s takes a %s, for which there is no round trip", iface, iface.Method(i).Name, in)
				}
			}
		}
	}
	if seen != len(roundTrips) {
		t.Errorf("raft's interfaces name %d structs, the table %d", seen, len(roundTrips))
	}
}

// fillNonZero sets every field, however deep, to a random value that is not zero.
func fillNonZero(t *testing.T, rng *rand.Rand, v reflect.Value, path string) {
	t.Helper()
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1+rng.Int64N(1<<32), rng.Int64N(1e9)).UTC()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				t.Fatalf("%s.%s is not exported: it cannot travel", path, f.Name)
			}
			fillNonZero(t, rng, v.Field(i), path+"."+f.Name)
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillNonZero(t, rng, v.Elem(), path)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+rng.IntN(5), 5))
		for i := range v.Len() {
			fillNonZero(t, rng, v.Index(i), path)
		}
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Uint8:
		v.SetUint(1 + rng.Uint64N(255))
	case v.Kind() == reflect.Uint64:
		v.SetUint(1 + rng.Uint64N(1<<63))
	case v.Kind() == reflect.Int || v.Kind() == reflect.Int64:
		v.SetInt(1 + rng.Int64N(1<<62))
	default:
		t.Fatalf("%s has type %s, which this test cannot fill yet", path, v.Type())
	}
}

// wireTrip converts, encodes, decodes and converts back.
func wireTrip[In any, Wire proto.Message](to func(*In) Wire, from func(Wire) *In) func(*testing.T, any) any {
	return func(t *testing.T, in any) any {
		sent := to(in.(*In))
		encoded, err := proto.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		got := sent.ProtoReflect().New().Interface().(Wire)
		if err := proto.Unmarshal(encoded, got); err != nil {
			t.Fatal(err)
		}
		if r, ok := any(got).(peerRequest); ok && !proto.Equal(r.GetTarget(), testTarget) {
			t.Fatalf("the target became %v", r.GetTarget())
		}
		return from(got)
	}
}

var testTarget = &peerv1.Target{ClusterId: "c", Group: 3, From: "n1", To: "n2"}

func withTestTarget[In, Out any](to func(*In, *peerv1.Target) Out) func(*In) Out {
	return func(in *In) Out { return to(in, testTarget) }
}

func TestHeartbeatsAreToldAsRaftTellsThem(t *testing.T) {
	beat := func() *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: []byte("n1")}, Term: 4}
	}
	tests := []struct {
		name   string
		change func(*raft.AppendEntriesRequest)
		want   bool
	}{
		{"by address", func(*raft.AppendEntriesRequest) {}, true},
		//lint:ignore SA1019 Raft asks for the deprecated field too.
		{"by leader", func(r *raft.AppendEntriesRequest) { r.Addr, r.Leader = nil, []byte("n1") }, true},
		{"nobody", func(r *raft.AppendEntriesRequest) { r.Addr = nil }, false},
		{"no term", func(r *raft.AppendEntriesRequest) { r.Term = 0 }, false},
		{"previous entry", func(r *raft.AppendEntriesRequest) { r.PrevLogEntry = 1 }, false},
		{"previous term", func(r *raft.AppendEntriesRequest) { r.PrevLogTerm = 1 }, false},
		{"commit index", func(r *raft.AppendEntriesRequest) { r.LeaderCommitIndex = 1 }, false},
		{"entries", func(r *raft.AppendEntriesRequest) { r.Entries = []*raft.Log{{}} }, false},
	}
	for _, tt := range tests {
		r := beat()
		tt.change(r)
		if got := isHeartbeat(r); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
