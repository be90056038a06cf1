package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// fakeWatch answers watches with scripted responses, then with silence.
type fakeWatch struct {
	spexv1.UnimplementedWatchServiceServer
	responses []*spexv1.WatchResponse

	mu    sync.Mutex // guards asked
	asked *spexv1.WatchRequest
}

func (f *fakeWatch) Watch(req *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) error {
	f.mu.Lock()
	f.asked = req
	f.mu.Unlock()
	for _, r := range f.responses {
		if err := s.Send(r); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func startFakeWatch(t *testing.T, responses ...*spexv1.WatchResponse) (*fakeWatch, string) {
	t.Helper()
	f := &fakeWatch{responses: responses}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	spexv1.RegisterWatchServiceServer(srv, f)
	spexv1.RegisterSpecificationServiceServer(srv, onlyOrders{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return f, lis.Addr().String()
}

// watchedReports is a script: a deviation, a timeout, a gap and a seal.
func watchedReports() []*spexv1.WatchResponse {
	at := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return []*spexv1.WatchResponse{
		{Cursor: "c0"},
		{Cursor: "c1", Reports: []*spexv1.Report{
			{
				Shard: 2, Id: 7, Kind: typesv1.ReportKind_REPORT_KIND_DEVIATION, Time: at, Namespace: "default", Spec: "orders", SpecVersion: 1,
				Instance: "o-1", Incarnation: 9, Seq: 3, State: "paid", Transition: &typesv1.Transition{From: "new", Action: "skip", To: "paid"},
				Judgement: &typesv1.Judgement{Verdict: typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, Reason: "ACTION_NOT_IN_SPEC", Explanation: "Why."},
				Cursor:    "c0-1",
			},
			{
				Shard: 1, Id: 3, Kind: typesv1.ReportKind_REPORT_KIND_TIMEOUT, Time: at, Namespace: "default", Spec: "orders", SpecVersion: 1,
				Instance: "o-2", Incarnation: 4, Seq: 1, State: "new", Deadline: at, Rejected: true,
			},
		}},
		{
			Cursor: "c2", Gaps: []*spexv1.ReportGap{{Shard: 1, AfterId: 3, ThroughId: 9, Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_TIMEOUT}}},
			Failures: []*spexv1.ShardFailure{{Shard: 3, Error: &typesv1.ErrorDetail{Message: "no leader"}}},
			Reports: []*spexv1.Report{{
				Shard: 1, Id: 10, Kind: typesv1.ReportKind_REPORT_KIND_MODEL_MODE, Time: at, Namespace: "default", Spec: "orders", SpecVersion: 1,
				ModelMode: typesv1.ModelMode_MODEL_MODE_SEALED, ModeRevision: 2,
			}},
		},
	}
}

// runWatch runs the command and returns what it wrote.
func runWatch(ctx context.Context, addr string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, env: func(string) string { return "" }, now: time.Now}
	status = a.run(ctx, append([]string{"watch", "--addr", addr}, args...))
	return status, out.String(), errs.String()
}

func TestWatchForPeople(t *testing.T) {
	_, addr := startFakeWatch(t, watchedReports()...)
	status, out, errs := runWatch(context.Background(), addr, "--limit", "3")
	want := `2026-01-02 03:04:05Z  2/7  deviation    orders  o-1#3  new --[skip]-> paid  ` + showVerdict(verdictNotEquivalent) + `
    ACTION_NOT_IN_SPEC: Why.
2026-01-02 03:04:05Z  1/3  timeout      orders  o-2#1  still in new, due 2026-01-02 03:04:05Z
2026-01-02 03:04:05Z  1/10  model_mode   orders  version 1 is sealed, revision 2
`
	if status != exitOK || out != want {
		t.Errorf("status %d, got\n%swant\n%s", status, out, want)
	}
	for _, want := range []string{"shard 1: the reports 4 to 9 of these kinds are gone: timeout", "shard 3 (no leader)"} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr has no %q:\n%s", want, errs)
		}
	}
}

func TestWatchJSONLines(t *testing.T) {
	f, addr := startFakeWatch(t, watchedReports()...)
	status, out, _ := runWatch(context.Background(), addr, "--limit", "3", "-o", "json", "--from", "c", "--spec", "orders", "--kind", "timeout", "--kind", "Model_Mode", "--heartbeat", "1s")
	if status != exitOK {
		t.Fatalf("status %d", status)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want one for each report and gap:\n%s", len(lines), out)
	}
	var got []watchJSON
	for _, line := range lines {
		var e watchJSON
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, e)
	}
	// The last report of a response has the cursor of the response.
	for i, want := range []struct{ kind, cursor string }{{"deviation", "c0-1"}, {"timeout", "c1"}, {"gap", "c1"}, {"model_mode", "c2"}} {
		if got[i].Kind != want.kind || got[i].Cursor != want.cursor {
			t.Errorf("line %d: %s with cursor %s, want %s with %s", i+1, got[i].Kind, got[i].Cursor, want.kind, want.cursor)
		}
	}
	if g := got[2]; g.ID != nil || g.Gap == nil || g.Gap.AfterID != 3 || g.Gap.ThroughID != 9 || g.Shard != 1 {
		t.Errorf("the gap: %+v", g)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.asked; r.GetCursor() != "c" || len(r.GetKinds()) != 2 || r.GetKinds()[1] != typesv1.ReportKind_REPORT_KIND_MODEL_MODE ||
		len(r.GetSpecs()) != 1 || r.GetHeartbeat().AsDuration() != time.Second || r.GetNamespace() != "default" {
		t.Errorf("the server was asked %v", r)
	}
}

// People see a change of a model once, whatever number of shards take it over, and
// programs all of it.
func TestWatchShowsAChangeOfAModelOnce(t *testing.T) {
	resp := &spexv1.WatchResponse{Cursor: "c"}
	for _, revision := range []uint64{2, 3} { // a seal, and what was accepted then
		for shard := range uint32(16) {
			resp.Reports = append(resp.Reports, &spexv1.Report{
				Shard: shard + 1, Id: revision, Kind: typesv1.ReportKind_REPORT_KIND_MODEL_MODE, Time: timestamppb.New(time.Unix(0, 0)), Namespace: "default", Spec: "orders",
				SpecVersion: 1, ModelMode: typesv1.ModelMode_MODEL_MODE_SEALED, ModeRevision: revision,
			})
		}
	}
	late := proto.CloneOf(resp.Reports[0])
	late.Shard = 17
	other := proto.CloneOf(late)
	other.SpecVersion = 2
	resp.Reports = append(resp.Reports, late, other)
	_, addr := startFakeWatch(t, &spexv1.WatchResponse{Cursor: "begun"}, resp)
	status, out, _ := runWatch(context.Background(), addr, "--limit", "3")
	want := `1970-01-01 00:00:00Z  1/2  model_mode   orders  version 1 is sealed, revision 2
1970-01-01 00:00:00Z  1/3  model_mode   orders  version 1 is sealed, revision 3
1970-01-01 00:00:00Z  17/2  model_mode   orders  version 2 is sealed, revision 2
`
	if status != exitOK || out != want {
		t.Errorf("status %d, got\n%swant\n%s", status, out, want)
	}
	if _, out, _ := runWatch(context.Background(), addr, "--limit", "34", "-o", "json"); strings.Count(out, "\n") != 34 {
		t.Errorf("-o json has %d lines, want all 34", strings.Count(out, "\n"))
	}
}

// An interrupt is how a watch ends; it says where to go on.
// onlyOrders knows one specification.
type onlyOrders struct {
	spexv1.UnimplementedSpecificationServiceServer
}

func (onlyOrders) ListSpecifications(context.Context, *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error) {
	return &spexv1.ListSpecificationsResponse{Specifications: []*spexv1.SpecificationInfo{{Name: "orders", Version: 1}}}, nil
}

// TestWatchOfAnUnknownSpecification: who waits for reports of a misspelt name is told so.
func TestWatchOfAnUnknownSpecification(t *testing.T) {
	f, addr := startFakeWatch(t, watchedReports()...)
	status, _, errs := runWatch(context.Background(), addr, "--limit", "1", "--spec", "orders", "--spec", "odrers", "--kind", "deviation,timeout")
	if status != exitOK || strings.Count(errs, "there is no specification") != 1 || !strings.Contains(errs, `"odrers"`) {
		t.Errorf("status %d, stderr %s", status, errs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked.GetKinds()) != 2 {
		t.Errorf("kinds %v", f.asked.GetKinds())
	}
}

func TestWatchInterrupted(t *testing.T) {
	_, addr := startFakeWatch(t, &spexv1.WatchResponse{Cursor: "here"})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	status, out, errs := runWatch(ctx, addr)
	if status != exitOK || out != "" || !strings.Contains(errs, "--from here") {
		t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
	}
}

func TestWatchCommandLine(t *testing.T) {
	for _, args := range [][]string{{"--kind", "gap"}, {"--from", ""}, {"--limit", "-1"}, {"x"}, {"--heartbeat", "0"}} {
		if status, _, errs := runWatch(context.Background(), "127.0.0.1:1", args...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
