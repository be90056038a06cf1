package httpapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
)

// generated is made from the schema and proto/gateway.yaml.
//
//go:embed spex.swagger.json
var generated []byte

// handwritten describes the calls whose bodies this package reads itself.
//
//go:embed openapi.json
var handwritten []byte

// openAPI is the description of all calls in OpenAPI 2.0: what was generated from
// the schema, with what was written by hand in its place. Both are part of the
// program, so that a mistake in them shows in the first test.
var openAPI = sync.OnceValue(func() []byte {
	doc, err := mergeOpenAPI(generated, handwritten)
	if err != nil {
		panic(fmt.Sprintf("httpapi: %v", err))
	}
	return doc
})

// mergeOpenAPI puts the paths and definitions of extra into base, takes its info,
// and drops what base says of services that have no paths.
func mergeOpenAPI(base, extra []byte) ([]byte, error) {
	var doc, add map[string]any
	if err := json.Unmarshal(base, &doc); err != nil {
		return nil, fmt.Errorf("the generated description: %w", err)
	}
	if err := json.Unmarshal(extra, &add); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	doc["info"] = add["info"]
	for _, part := range []string{"paths", "definitions"} {
		have, _ := doc[part].(map[string]any)
		more, _ := add[part].(map[string]any)
		for name, v := range more {
			old, both := have[name].(map[string]any)
			operations, ok := v.(map[string]any)
			if part == "paths" && both && ok {
				for method, operation := range operations {
					old[method] = operation
				}
				continue
			}
			have[name] = v
		}
	}
	doc["tags"] = usedTags(doc)
	return json.MarshalIndent(doc, "", " ")
}

func usedTags(doc map[string]any) []any {
	used := map[any]bool{}
	eachOperation(doc, func(_, _ string, operation map[string]any) {
		tags, _ := operation["tags"].([]any)
		for _, t := range tags {
			used[t] = true
		}
	})
	kept := []any{}
	tags, _ := doc["tags"].([]any)
	for _, t := range tags {
		if m, ok := t.(map[string]any); ok && used[m["name"]] {
			kept = append(kept, t)
		}
	}
	return kept
}

// eachOperation visits every method of every path.
func eachOperation(doc map[string]any, visit func(path, method string, operation map[string]any)) {
	paths, _ := doc["paths"].(map[string]any)
	for path, v := range paths {
		methods, _ := v.(map[string]any)
		for method, v := range methods {
			if operation, ok := v.(map[string]any); ok {
				visit(path, method, operation)
			}
		}
	}
}
