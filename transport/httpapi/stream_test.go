package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

const streamPath = "/v1/transitions:stream"

type streamLine struct {
	Result *struct {
		RequestID string `json:"request_id"`
		Response  *struct{ ID, State string }
		Error     *struct{ Reason, Message string }
	}
	Error *rpcStatus
}

func lines(t *testing.T, body []byte) []streamLine {
	t.Helper()
	var out []streamLine
	for _, l := range strings.Split(strings.TrimSpace(string(body)), "\n") {
		var s streamLine
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		out = append(out, s)
	}
	return out
}

func step(n int) string {
	return fmt.Sprintf(`{"id": "i%d", "action": "go", "to_state": "s%d", "request_id": "r%d", "expected_seq": "2"}`, n, n, n)
}

func TestStreamAnswersEveryLine(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	var body strings.Builder
	const n = 1500
	for i := range n {
		body.WriteString(step(i) + "\n\n")
	}
	a := h.do("POST", streamPath, body.String())
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v %.300s", a.status, a.header, a.body)
	}
	seen := map[string]string{}
	for _, l := range lines(t, a.body) {
		if l.Result == nil || l.Result.Response == nil {
			t.Fatalf("got %+v", l)
		}
		seen[l.Result.RequestID] = l.Result.Response.State
	}
	for i := range n {
		if seen[fmt.Sprintf("r%d", i)] != fmt.Sprintf("s%d", i) {
			t.Fatalf("step %d was answered with %q", i, seen[fmt.Sprintf("r%d", i)])
		}
	}
	if len(seen) != n {
		t.Errorf("%d answers to %d steps", len(seen), n)
	}
}

// TestStreamAnswersWhileItReads: the answer to a step comes before the next step is sent.
func TestStreamAnswersWhileItReads(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{BodyTimeout: 50 * time.Millisecond})
	r, w := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", h.url+streamPath, r)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(w, step(0)+"\n") }()
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for i := range 5 {
		if !in.Scan() {
			t.Fatalf("the stream ended before answer %d: %v", i, in.Err())
		}
		if l := lines(t, in.Bytes()); l[0].Result.RequestID != fmt.Sprintf("r%d", i) {
			t.Fatalf("answer %d is %s", i, in.Bytes())
		}
		if _, err := io.WriteString(w, step(i+1)+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	for in.Scan() {
	}
	if in.Err() != nil {
		t.Error(in.Err())
	}
}

func TestStreamNamesTheLineThatItCannotRead(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	for name, tc := range map[string]struct{ line, says string }{
		"no JSON":  {`{"id": `, "line 3"},
		"misspelt": {`{"identifier": "x"}`, `"identifier"`},
		"too long": {`{"id": "` + strings.Repeat("x", httpapi.MaxLine) + `"}`, "more than"},
	} {
		a := h.do("POST", streamPath, step(0)+"\n"+step(1)+"\n"+tc.line+"\n"+step(3)+"\n")
		got := lines(t, a.body)
		if len(got) != 3 || got[0].Result == nil || got[1].Result == nil || got[2].Error == nil {
			t.Errorf("%s: %s", name, a.body)
			continue
		}
		last := got[2].Error
		if last.Code != 3 || !strings.Contains(last.Message, tc.says) || last.Details[0].Reason != "REASON_INVALID_ARGUMENT" {
			t.Errorf("%s: %+v", name, last)
		}
	}
	a := h.do("POST", streamPath, "?\n")
	if got := lines(t, a.body); a.status != http.StatusBadRequest || got[0].Error == nil {
		t.Errorf("a first line that is wrong: %d %s", a.status, a.body)
	}
}

// TestStreamsThatBreakOffLeaveNothingBehind: what one stream leaves unread is not in
// the way of later requests of the same caller.
func TestStreamsThatBreakOffLeaveNothingBehind(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	for i := range 100 {
		a := h.do("POST", streamPath, step(0)+"\n?\n"+strings.Repeat(step(1)+"\n", i*20))
		got := lines(t, a.body)
		if last := got[len(got)-1]; len(got) != 2 || last.Error == nil || !strings.Contains(last.Error.Message, "line 2") {
			t.Fatalf("round %d: %s", i, a.body)
		}
		if a := h.do("POST", streamPath, step(0)+"\n"); a.status != http.StatusOK || len(lines(t, a.body)) != 1 {
			t.Fatalf("round %d, the next stream: %d %s", i, a.status, a.body)
		}
	}
}

// TestDrainEndsStreams: a client that neither sends nor closes is told, and does
// not keep the server from stopping.
func TestDrainEndsStreams(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", h.url+streamPath, r)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(w, step(0)+"\n") }()
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	if !in.Scan() {
		t.Fatal(in.Err())
	}
	h.lifecycle.Drain()
	if !in.Scan() {
		t.Fatalf("the stream ended without a word: %v", in.Err())
	}
	if l := lines(t, in.Bytes()); l[0].Error == nil || l[0].Error.Details[0].Reason != "REASON_UNAVAILABLE" {
		t.Errorf("got %s", in.Bytes())
	}
	_ = resp.Body.Close()
	h.stop()
}

// TestCloseLetsRequestsFinishAndCutsOffTheRest covers both ends of the patience.
func TestCloseLetsRequestsFinishAndCutsOffTheRest(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	f.set(func() { f.block = true })
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequest("GET", h.url+"/v1/namespaces/default/instances/x", nil)
		resp, err := h.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	<-f.entered
	begin := time.Now()
	h.stop() // its patience is a second, the call's deadline ten
	if err := <-done; err == nil {
		t.Error("a call that waits for ever had an answer")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	if c, err := net.DialTimeout("tcp", strings.TrimPrefix(h.url, "http://"), time.Second); err == nil {
		_ = c.Close()
		t.Error("the listener is still open")
	}
}

// TestCallerThatGoesAwayEndsItsCall: the context of the node's work ends with the connection.
func TestCallerThatGoesAwayEndsItsCall(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	f.set(func() { f.block = true })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequestWithContext(ctx, "POST", h.url+"/v1/namespaces/default/instances", strings.NewReader(`{"id": "x", "spec": "s"}`))
		if resp, err := h.client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-f.entered
	cancel()
	<-done
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		h.server.Close(ctx)
		h.server.Wait()
	}()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the call goes on without its caller, whose deadline is 10 s")
	}
}

// TestSlowPeersAreCutOff: a body that does not come, and headers that do not.
func TestSlowPeersAreCutOff(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{BodyTimeout: 100 * time.Millisecond})
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/namespaces/default/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(data), "UPLOAD_INCOMPLETE") {
		t.Errorf("%d %s", resp.StatusCode, data)
	}
	// A call that takes longer than its body may is not disturbed by the deadline.
	f := newFake()
	h2 := start(t, f, transport.APIOptions{DefaultTimeout: 400 * time.Millisecond}, httpapi.Config{BodyTimeout: 100 * time.Millisecond})
	f.set(func() { f.block = true })
	if a := h2.do("POST", "/v1/namespaces/default/instances", `{"id": "x", "spec": "s"}`); a.status != http.StatusGatewayTimeout {
		t.Errorf("got %d %s, want the call's own deadline", a.status, a.body)
	}
}
