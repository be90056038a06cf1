package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

// TestRequestsUnderWayAreBounded: what is too much is told so at once, and probes still work.
func TestRequestsUnderWayAreBounded(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{MaxRequests: 2})
	f.set(func() { f.block = true })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	const path = "/v1/namespaces/default/instances/x"
	for range 2 {
		go func() {
			defer func() { done <- struct{}{} }()
			req, _ := http.NewRequestWithContext(ctx, "GET", h.url+path, nil)
			if resp, err := h.client.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
		<-f.entered
	}
	a := h.do("GET", path, "")
	if st := a.refused(t); a.status != http.StatusTooManyRequests || st.Code != 8 || st.Details[0].Reason != "REASON_QUEUE_FULL" || !st.Details[0].NotApplied {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := h.do("GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("/readyz: %d %s", a.status, a.body)
	}
	cancel()
	<-done
	<-done
	f.set(func() { f.block = false })
	for begin := time.Now(); ; { // the places are free once the server has noticed
		if a = h.do("GET", path, ""); a.status == http.StatusOK {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("the places stay taken: %d %s", a.status, a.body)
		}
	}
}

// TestPeersThatDoNotReadAreCutOff: an answer larger than what the system buffers.
func TestPeersThatDoNotReadAreCutOff(t *testing.T) {
	f := newFake()
	f.states = 60_000
	h := start(t, f, transport.APIOptions{}, httpapi.Config{WriteTimeout: 100 * time.Millisecond})
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /v1/namespaces/default/models/x HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-f.entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	h.server.Close(ctx) // waits for the handler
	h.server.Wait()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the handler was blocked for %v", took)
	}
}

// TestAnyNameFitsInAPath: what is a valid identifier can be written in a path.
func TestAnyNameFitsInAPath(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a/:%.?#+ 2F&=")))).Filter(func(s string) bool {
			return spec.CheckIdentifier("id", s) == nil
		}).Draw(rt, "id")
		a := h.do("GET", fmt.Sprintf("/v1/namespaces/default/instances/%s", strings.ReplaceAll(url.PathEscape(id), ".", "%2E")), "")
		if a.status != http.StatusOK {
			rt.Fatalf("%d %s", a.status, a.body)
		}
		got, _, _, _ := f.saw()
		if r := got.(*spexv1.GetInstanceRequest); r.GetId() != id {
			rt.Fatalf("%q arrived as %q", id, r.GetId())
		}
	})
}
