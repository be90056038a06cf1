package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// documentedTypes are the JSON documents of the commands, by the heading of their
// section in docs/json.md.
var documentedTypes = map[string]any{
	"spex recover":                 recoverJSON{},
	"spex spec apply":              []specAppliedJSON{},
	"spex spec get":                specJSON{},
	"spex spec discover":           specJSON{},
	"spex spec list":               []specInfoJSON{},
	"spex spec delete":             specDeletedJSON{},
	"spex spec lint":               []lintJSON{},
	"spex instance init":           stepResultJSON{},
	"spex instance transition":     stepResultJSON{},
	"spex instance get":            instanceHistoryJSON{},
	"spex instance list":           []instanceJSON{},
	"spex instance delete":         deletedJSON{},
	"spex instance delete --where": deletedMatchingJSON{},
	"spex model list":              []modelJSON{},
	"spex model get":               modelContentJSON{},
	"spex model export":            []modelExportJSON{},
	"spex model import":            []modelImportJSON{},
	"spex model seal":              modelJSON{},
	"spex model learn":             modelJSON{},
	"spex model accept":            acceptedJSON{},
	"spex model reject":            rejectedJSON{},
	"spex model history":           modelHistoryJSON{},
	"spex replay":                  replayJSON{},
	"spex check":                   checkJSON{},
	"spex diff":                    reportJSON{},
	"spex lts info":                []ltsInfoJSON{},
	"spex deviations":              []deviationJSON{},
	"spex watch":                   watchJSON{},
	"spex cluster status":          statusJSON{},
	"spex cluster settings":        settingsJSON{},
	"spex cluster plan":            planJSON{},
	"spex cluster drain":           nodeChangeJSON{},
	"spex cluster transfer":        transferJSON{},
	"spex cluster pause":           pauseJSON{},
	"spex cluster placement":       placementJSON{},
	"spex bench":                   benchJSON{},
	"spex drill":                   drillJSON{},
	"spex version":                 versionJSON{},
}

var (
	docSection = regexp.MustCompile("(?m)^## (`.*)$")
	docCommand = regexp.MustCompile("`(spex [a-z -]+)`")
	docExample = regexp.MustCompile("(?s)```json\n(.*?)```")
)

// docs/json.md has a section for every document, with an example that has every
// field and no other, and a line that explains it.
func TestJSONIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	heads := docSection.FindAllSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		body := string(text[h[1]:end])
		for _, m := range docCommand.FindAllStringSubmatch(string(text[h[2]:h[3]]), -1) {
			value, ok := documentedTypes[m[1]]
			if !ok {
				t.Errorf("docs/json.md documents %q, which has no JSON", m[1])
				continue
			}
			seen[m[1]] = true
			checkExample(t, m[1], reflect.TypeOf(value), body)
			for _, name := range fieldNames(reflect.TypeOf(value), map[reflect.Type]bool{}) {
				if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "[]."+name+"`") {
					t.Errorf("%s: the field %q is not explained", m[1], name)
				}
			}
		}
	}
	for name := range documentedTypes {
		if !seen[name] {
			t.Errorf("docs/json.md has no section about %q", name)
		}
	}
}

// checkExample decodes the example of a section strictly and writes it again: a
// field that is unknown, missing or in another order shows as a difference.
func checkExample(t *testing.T, name string, typ reflect.Type, body string) {
	t.Helper()
	m := docExample.FindStringSubmatch(body)
	if m == nil {
		t.Errorf("%s has no example", name)
		return
	}
	value := reflect.New(typ)
	dec := json.NewDecoder(strings.NewReader(m[1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(value.Interface()); err != nil {
		t.Errorf("%s: the example does not fit: %v", name, err)
		return
	}
	var again bytes.Buffer
	if err := writeJSON(&again, value.Elem().Interface()); err != nil {
		t.Fatal(err)
	}
	if again.String() != m[1] {
		t.Errorf("%s: the example is not what the command writes:\n%s\n%s", name, firstDifference(m[1], again.String()), again.String())
	}
}

// fieldNames lists the JSON names of a type and of the types in it.
func fieldNames(typ reflect.Type, seen map[reflect.Type]bool) []string {
	switch typ.Kind() {
	case reflect.Slice, reflect.Pointer:
		return fieldNames(typ.Elem(), seen)
	case reflect.Struct:
	default:
		return nil
	}
	if seen[typ] || typ == reflect.TypeFor[jsonTime]() {
		return nil
	}
	seen[typ] = true
	var names []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
			names = append(names, tag)
		}
		names = append(names, fieldNames(f.Type, seen)...)
	}
	return names
}

// docs/cli is what the commands say about themselves.
func TestReferenceIsUpToDate(t *testing.T) {
	const dir = "../../docs/cli"
	pages, err := referencePages()
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range pages {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v: run go run ./cmd/spex docs docs/cli", err)
			continue
		}
		if !bytes.Equal(have, page) {
			t.Errorf("docs/cli/%s is old: run go run ./cmd/spex docs docs/cli\n%s", name, firstDifference(string(have), string(page)))
		}
	}
	have, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != len(pages) {
		t.Errorf("docs/cli has %d pages, the commands %d: run go run ./cmd/spex docs docs/cli", len(have), len(pages))
	}
}

func TestDocsCommand(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "spex_gone.md")
	if err := os.WriteFile(gone, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "README.md")
	if err := os.WriteFile(other, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh := newShell(nil)
	sh.mustRun(t, exitOK, "docs", dir)
	if _, err := os.Stat(gone); err == nil {
		t.Error("the page of a command that is gone is left")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "spex_spec_apply.md"))
	if err != nil || !bytes.Contains(page, []byte("spex spec apply FILE...")) {
		t.Errorf("page %q, %v", page, err)
	}
}
