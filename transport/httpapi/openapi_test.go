package httpapi_test

import (
	"encoding/json"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

// openAPI fetches the description.
func openAPI(t *testing.T, h *harness) map[string]any {
	t.Helper()
	a := h.do("GET", "/openapi.json", "")
	var doc map[string]any
	if err := json.Unmarshal(a.body, &doc); err != nil || a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v: %v", a.status, a.header, err)
	}
	return doc
}

// TestDescriptionHasEveryCall: whoever adds a call gives it a path, or says here why not.
func TestDescriptionHasEveryCall(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	doc := openAPI(t, h)
	found := map[string]bool{}
	for path, methods := range doc["paths"].(map[string]any) {
		for method, v := range methods.(map[string]any) {
			operation := v.(map[string]any)
			id := strings.TrimSuffix(operation["operationId"].(string), "2")
			found[id] = true
			if operation["responses"].(map[string]any)["default"] == nil {
				t.Errorf("%s %s says nothing of errors", method, path)
			}
			// Each parameter of the path is described.
			for _, part := range strings.Split(path, "/") {
				name, ok := strings.CutPrefix(part, "{")
				if ok && !hasParameter(operation, strings.TrimSuffix(name, "}")) {
					t.Errorf("%s %s does not describe %s", method, path, part)
				}
			}
		}
	}
	eachMethod(func(service, method string) {
		if !found[service+"_"+method] {
			t.Errorf("%s/%s has no path: add it to proto/gateway.yaml, or a handler and openapi.json", service, method)
		}
	})
	tags := doc["tags"].([]any)
	if len(tags) != len(services) {
		t.Errorf("%d services are described, there are %d: %v", len(tags), len(services), tags)
	}
}

func hasParameter(operation map[string]any, name string) bool {
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		if m := p.(map[string]any); m["name"] == name && m["in"] == "path" {
			return true
		}
	}
	return false
}

// TestDescriptionRefersToWhatItHas: a name in the part written by hand may go stale.
func TestDescriptionRefersToWhatItHas(t *testing.T) {
	h := start(t, newFake(), transport.APIOptions{}, httpapi.Config{})
	doc := openAPI(t, h)
	definitions := doc["definitions"].(map[string]any)
	refs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				if definitions[strings.TrimPrefix(ref, "#/definitions/")] == nil {
					t.Errorf("%s does not exist", ref)
				}
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	if refs < 50 {
		t.Errorf("only %d references", refs)
	}
	// Messages that are described by hand have the fields of the schema.
	for _, m := range []protoreflect.ProtoMessage{&spexv1.ApplySpecificationResponse{}, &spexv1.ImportModelResponse{}} {
		d := m.ProtoReflect().Descriptor()
		var want, have []string
		for i := range d.Fields().Len() {
			want = append(want, string(d.Fields().Get(i).Name()))
		}
		properties := definitions[string(d.FullName())].(map[string]any)["properties"].(map[string]any)
		for name := range properties {
			have = append(have, name)
		}
		sort.Strings(want)
		sort.Strings(have)
		if strings.Join(want, " ") != strings.Join(have, " ") {
			t.Errorf("openapi.json gives %s the fields %v, the schema %v", d.FullName(), have, want)
		}
	}
}
