package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

// TestNamesInPathsArriveAsTheyAre: every character of an identifier survives the
// path, decoded exactly once.
func TestNamesInPathsArriveAsTheyAre(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	for path, want := range map[string]string{
		"plain":           "plain",
		"a%2Fb":           "a/b",
		"a%252Fb":         "a%2Fb",
		"a:b":             "a:b",
		"a%3Adelete":      "a:delete",
		"100%25":          "100%",
		"a+b%20c":         "a+b c",
		"%3Fq=1":          "?q=1",
		"%C3%A4%E2%82%AC": "ä€",
		"%2E%2E":          "..",
	} {
		a := h.do("GET", "/v1/namespaces/team%2Fx/instances/"+path, "")
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.body)
			continue
		}
		got, _, _, _ := f.saw()
		if r := got.(*spexv1.GetInstanceRequest); r.GetId() != want || r.GetNamespace() != "team/x" {
			t.Errorf("%s arrived as %q in %q", path, r.GetId(), r.GetNamespace())
		}
	}
	if a := h.do("GET", "/v1/namespaces/default/instances/%FF", ""); a.status != http.StatusBadRequest {
		t.Errorf("bytes that are no UTF-8: %d %s", a.status, a.body)
	} else {
		a.refused(t)
	}
}

// TestAnswersHaveEveryField: names as in the schema, and empty fields too.
func TestAnswersHaveEveryField(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	a := h.do("POST", "/v1/namespaces/default/instances", `{"id": "x", "spec": "order", "meta": {"k": "v"}}`)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	var fields map[string]any
	if err := json.Unmarshal(a.body, &fields); err != nil {
		t.Fatal(err)
	}
	if fields["id"] != "x" || fields["seq"] != "1" || fields["off_model"] != false || fields["verdict"] != "VERDICT_UNSPECIFIED" {
		t.Errorf("got %s", a.body)
	}
	if _, ok := fields["judgement"]; !ok {
		t.Errorf("an unset message is missing: %s", a.body)
	}
}

// TestReasonsHaveTheirStatus is the table of errors in docs/http.md.
func TestReasonsHaveTheirStatus(t *testing.T) {
	httpOf := map[codes.Code]int{
		codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.NotFound: 404, codes.AlreadyExists: 409, codes.Aborted: 409,
		codes.ResourceExhausted: 429, codes.Internal: 500, codes.Unavailable: 503,
	}
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	for n, name := range typesv1.Reason_name {
		if n == 0 {
			continue
		}
		f.set(func() {
			f.fail = &fsm.Error{Reason: typesv1.Reason(n), Message: "because of " + name, NotApplied: true, CurrentSeq: 41}
		})
		a := h.do("GET", "/v1/namespaces/default/instances/x", "")
		st := a.refused(t)
		code := transport.CodeOf(typesv1.Reason(n))
		want, ok := httpOf[code]
		if !ok {
			t.Errorf("%s: no status for %v in this table", name, code)
		}
		d := st.Details[0]
		if a.status != want || st.Code != int(code) || d.Reason != name || !d.NotApplied || d.CurrentSeq != "41" || d.Message != "because of "+name {
			t.Errorf("%s: %d, want %d: %s", name, a.status, want, a.body)
		}
	}
}

// TestRefusalsOfThisPackage: what never reaches gRPC has the same form.
func TestRefusalsOfThisPackage(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{MaxBody: 1000, MaxUpload: 5000})
	big := fmt.Sprintf(`{"id": %q}`, strings.Repeat("x", 2000))
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		says                     string
	}{
		{name: "no such path", method: "GET", path: "/v2/nothing", status: 404, says: "/openapi.json"},
		{name: "wrong method", method: "PUT", path: "/v1/namespaces/default/instances", status: 405, says: "PUT is no method"},
		{name: "wrong method of a probe", method: "POST", path: "/healthz", status: 405, says: "POST is no method"},
		{name: "unknown parameter", method: "GET", path: "/v1/namespaces/default/instances?pagesize=1", status: 400, says: `no parameter "pagesize"`},
		{name: "path parameter again", method: "GET", path: "/v1/namespaces/a/instances?namespace=b", status: 400, says: "in the path already"},
		{name: "bad parameter", method: "GET", path: "/v1/namespaces/default/instances?page_size=many", status: 400, says: "many"},
		{name: "unknown field", method: "POST", path: "/v1/namespaces/default/instances", body: `{"idd": "x"}`, status: 400, says: `"idd"`},
		{name: "no JSON", method: "POST", path: "/v1/namespaces/default/instances", body: `{"id": `, status: 400, says: "JSON of a spex.v1.InitInstanceRequest"},
		{name: "two documents", method: "POST", path: "/v1/namespaces/default/instances", body: `{"id": "x"}{"id": "y"}`, status: 400, says: "JSON"},
		{name: "large body", method: "POST", path: "/v1/namespaces/default/instances", body: big, status: 413, says: "more than 1000 bytes"},
		{name: "large upload", method: "POST", path: "/v1/namespaces/default/specifications", body: strings.Repeat("#", 6000), status: 413, says: "more than 5000 bytes"},
		{name: "bad YAML", method: "POST", path: "/v1/namespaces/default/specifications", body: "name: x\nwhat: y\n", status: 400, says: "body:2"},
		{name: "bad version", method: "GET", path: "/v1/namespaces/default/specifications/x?version=new", status: 400, says: "give a number"},
		{name: "unknown parameter of ours", method: "GET", path: "/v1/namespaces/default/models/x?version=1", status: 400, says: `no parameter "version"`},
		{name: "bad model", method: "POST", path: "/v1/namespaces/default/models/x/import", body: "hello", status: 400, says: "Content-Type: application/json"},
		{name: "bad model as JSON", method: "POST", path: "/v1/namespaces/default/models/x/import", body: `{"model": 1}`,
			headers: []string{"Content-Type", "application/json"}, status: 400, says: `"model"`},
		{name: "bad mode", method: "POST", path: "/v1/namespaces/default/models/x/import?mode=all", status: 400, says: "IMPORT_MODE_REPLACE"},
		{name: "bad timeout", method: "GET", path: "/v1/namespaces/default/instances/x", headers: []string{"Grpc-Timeout", "soon"}, status: 400, says: "timeout"},
		{name: "timeout without a unit", method: "GET", path: "/v1/namespaces/default/instances/x", headers: []string{"Grpc-Timeout", "30"}, status: 400, says: "for example 30S"},
		{name: "timeout of ours without a unit", method: "GET", path: "/v1/namespaces/default/models/x", headers: []string{"Grpc-Timeout", "30"}, status: 400, says: "for example 30S"},
		{name: "path and body differ", method: "POST", path: "/v1/namespaces/default/instances/x/transitions", body: `{"id": "y"}`, status: 400, says: `id is "x" in the path and "y" in the body`},
		{name: "namespace of path and body differ", method: "POST", path: "/v1/namespaces/a%2Fb/instances", body: `{"id": "y", "namespace": "a"}`, status: 400, says: `namespace is "a/b" in the path and "a" in the body`},
		{name: "no such value", method: "GET", path: "/v1/namespaces/default/reports:watch?kinds=REPORT_KIND_DEVIATION&kinds=FOO", status: 400, says: `"kinds": there is no "FOO": give one of REPORT_KIND_DEVIATION, `},
		{name: "bad number", method: "POST", path: "/v1/namespaces/default/instances/x/transitions", body: `{"expected_seq": "soon"}`, status: 400, says: `field expected_seq: "soon"`},
		{name: "another site", method: "POST", path: "/v1/namespaces/default/instances", body: `{"id": "x"}`,
			headers: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, says: "cross-origin"},
		{name: "another origin", method: "DELETE", path: "/v1/namespaces/default/instances/x", headers: []string{"Origin", "http://evil.example"}, status: 403, says: "cross-origin"},
	} {
		a := h.do(tc.method, tc.path, tc.body, tc.headers...)
		if st := a.refused(t); a.status != tc.status || !strings.Contains(st.Message, tc.says) || !st.Details[0].NotApplied {
			t.Errorf("%s: %d, want %d with %q: %s", tc.name, a.status, tc.status, tc.says, a.body)
		}
	}
}

// TestCallersAreThoseOfGRPC: headers are metadata for the authenticator, and the
// trace context goes on.
func TestCallersAreThoseOfGRPC(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{Authenticator: headerAuth{}}, httpapi.Config{})
	const path = "/v1/namespaces/default/instances/x"
	a := h.do("GET", path, "")
	if st := a.refused(t); a.status != http.StatusUnauthorized || st.Code != int(codes.Unauthenticated) || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a name: %d %v %s", a.status, a.header, a.body)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a = h.do("GET", path, "", "Authorization", "Bearer let-me-in", "X-User", "ann", "Traceparent", trace, "Tracestate", "k=v", "Grpc-Timeout", "2S")
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	_, who, seen, deadline := f.saw()
	if who != "ann" || seen.Parent != trace || seen.State != "k=v" {
		t.Errorf("called by %q with trace %+v", who, seen)
	}
	if deadline <= 0 || deadline > 2*time.Second {
		t.Errorf("the deadline is %v away, want at most 2 s", deadline)
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if a := h.do("GET", path, ""); a.status != http.StatusOK {
			t.Errorf("%s needs a name: %d %s", path, a.status, a.body)
		}
	}
	// An upload of ours takes the same way.
	if a := h.do("POST", "/v1/namespaces/default/specifications", orderYAML); a.status != http.StatusUnauthorized {
		t.Errorf("an upload without a name: %d %s", a.status, a.body)
	}
}

const orderYAML = "name: order\ntransitions:\n  - {from: new, action: pay, to: paid}\nprune_timeout: 1h\n"

func TestSpecificationsGoBothWays(t *testing.T) {
	f := newFake()
	h := start(t, f, transport.APIOptions{}, httpapi.Config{})
	const path = "/v1/namespaces/default/specifications"
	for _, body := range []string{orderYAML, `{"name": "order", "transitions": [{"from": "new", "action": "pay", "to": "paid"}], "prune_timeout": "1h"}`} {
		f.set(func() { f.spec = nil })
		a := h.do("POST", path, body)
		var applied struct {
			Name, Version string
			Changed       bool
		}
		if err := json.Unmarshal(a.body, &applied); err != nil || a.status != http.StatusOK || applied.Name != "order" || applied.Version != "3" || !applied.Changed {
			t.Fatalf("%d %s", a.status, a.body)
		}
		yaml := h.do("GET", path+"/order", "", "Accept", "application/yaml")
		if string(yaml.body) != orderYAML || yaml.header.Get("Content-Type") != "application/yaml" || yaml.header.Get("Spex-Specification-Version") != "3" {
			t.Errorf("came back as %v %s", yaml.header, yaml.body)
		}
		was := proto.Clone(f.spec)
		asJSON := h.do("GET", path+"/order?version=3", "")
		if asJSON.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", asJSON.header)
		}
		if a := h.do("POST", path, string(asJSON.body)); a.status != http.StatusOK || !proto.Equal(was, f.spec) {
			t.Errorf("the JSON does not go back in: %d %s", a.status, asJSON.body)
		}
	}
	// More than one message of the upload.
	var large strings.Builder
	large.WriteString("name: large\ntransitions:\n")
	for i := range 9000 {
		fmt.Fprintf(&large, "  - {from: state-%0100d, action: next, to: state-%0100d}\n", i, i+1)
	}
	if a := h.do("POST", path, large.String()); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := h.do("GET", path+"/large", "", "Accept", "text/yaml"); string(a.body) != large.String() {
		t.Errorf("a large specification came back as %d bytes, not %d", len(a.body), large.Len())
	}
}

func TestModelsComeInOnePiece(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	a := h.do("GET", "/v1/namespaces/default/models/order?spec_version=2", "")
	var m struct {
		Info        struct{ Spec, Mode string }
		Transitions []struct{ From, Action, To string }
	}
	if err := json.Unmarshal(a.body, &m); err != nil || m.Info.Mode != "MODEL_MODE_SEALED" || len(m.Transitions) != 2001 {
		t.Fatalf("%d, %v, %d transitions, %+v", a.status, err, len(m.Transitions), m.Info)
	}
	text := h.do("GET", "/v1/namespaces/default/models/order", "", "Accept", "text/plain")
	if !strings.HasPrefix(text.header.Get("Content-Type"), "text/plain") || !strings.Contains(string(text.body), "__initialisation__") {
		t.Errorf("%v %.200s", text.header, text.body)
	}
}

// TestProbes: alive is not the same as ready.
func TestProbes(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	for _, tc := range []struct {
		serving bool
		ready   int
	}{{true, 200}, {false, 503}, {true, 200}} {
		h.lifecycle.SetServing(tc.serving)
		if a := h.do("GET", "/readyz", ""); a.status != tc.ready {
			t.Errorf("serving %v: /readyz is %d %s", tc.serving, a.status, a.body)
		}
		if a := h.do("GET", "/healthz", ""); a.status != 200 || string(a.body) != "ok\n" {
			t.Errorf("serving %v: /healthz is %d %s", tc.serving, a.status, a.body)
		}
	}
	h.lifecycle.Drain()
	if a := h.do("GET", "/readyz", ""); a.status != 503 {
		t.Errorf("draining: /readyz is %d", a.status)
	}
}
