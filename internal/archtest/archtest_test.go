package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/spexio/spex"

// layers lists for each package which packages of the module it may import.
// A package that is missing here fails the test: whoever adds one says where
// it belongs. Proto packages are data and may be imported from everywhere, and
// so may internal packages below the ones that internalUsers restricts.
var layers = map[string][]string{
	"cmd/spex":          {"transport", "cluster", "shard", "client", "drill", "ring", "model", "spec", "lts", "lts/hml", "lts/ltsfile", "lts/explain"},
	"transport":         {"transport/httpapi", "api", "cluster", "query", "shard", "shard/store", "fsm", "model", "spec", "ring"},
	"transport/httpapi": {"model", "spec"},
	"cluster":           {"cluster/plan", "api", "shard", "query", "shard/store", "fsm", "model", "spec", "ring"},
	"api":               {"query", "fsm", "model", "spec", "ring"},
	"cluster/plan":      {"ring"},
	"query":             {"fsm"},
	"shard":             {"fsm", "spec"},
	"shard/store":       {},
	"fsm":               {"model", "spec", "lts", "ring"},
	"model":             {"spec", "lts", "lts/hml", "lts/explain"},
	"spec":              {"lts"},
	"lts/explain":       {"lts", "lts/hml"},
	"lts/hml":           {"lts"},
	"lts/ltsfile":       {"lts"},
	"lts":               {},
	"ring":              {},
	// The engine is for the manager that runs in the caller's process.
	"client":       {"model", "spec", "lts", "lts/explain"},
	"drill":        {"client"},
	"client/local": {"client", "api", "query", "fsm", "model", "spec", "ring"},
	"spextest":     {"client", "client/local", "model", "spec", "lts", "lts/explain"},
}

// pure are the packages whose results depend on their arguments alone: replicas
// of different releases must stay identical.
var pure = []string{"cluster/plan", "query", "fsm", "model", "spec", "lts", "lts/hml", "lts/explain", "ring"}

// impure is what a pure package may not import itself.
var impure = []string{
	"os", "os/exec", "os/signal", "io/ioutil", "io/fs", "path/filepath", "net", "net/http", "syscall",
	"log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "context", "embed", "plugin", "unsafe",
}

// services is what a pure package may not depend on, not even through another.
var services = []string{
	"github.com/hashicorp/", "google.golang.org/grpc", "github.com/cockroachdb/", "go.etcd.io/bbolt", "net/http", "os/exec",
}

// clocks are the functions of package time that read or wait for the clock.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// only lists who may import what belongs to one part of the house. A key that
// ends in "/" stands for all below it.
var only = map[string][]string{
	"github.com/hashicorp/raft":           {"shard", "shard/store", "transport"},
	"github.com/hashicorp/raft/":          {"shard", "shard/store", "transport"},
	"github.com/hashicorp/raft-boltdb/v2": {"shard/store"},
	"go.etcd.io/bbolt":                    {"shard/store"},
	"github.com/cockroachdb/pebble/v2":    {"shard/store", "client/local"},
	"github.com/cockroachdb/pebble/v2/":   {"shard/store", "client/local"},
	"github.com/hashicorp/memberlist":     {"cluster"},
	"github.com/buraksezer/consistent":    {"ring"},
	"github.com/spf13/":                   {"cmd/spex"},
	// Clients must not inherit it.
	"github.com/grpc-ecosystem/": {"transport/httpapi", "proto/gateway/spex/v1"},
	"cel.dev/cel-go/":            {"query"},
}

type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

// short is the path below the module, and "" for the root and other modules.
func short(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return rest
}

// list asks the go command for all packages of the module, with the files of
// the end-to-end tests.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "e2e", "-json=ImportPath,Dir,GoFiles,Imports,Deps,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < len(layers) {
		t.Fatalf("go list found %d packages, there are at least %d", len(all), len(layers))
	}
	return all
}

func isLeaf(name string) bool {
	return strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "proto/")
}

// isTest reports whether a package holds only tests and what they share: these
// stand above everything, and nothing else may import them.
func isTest(name string) bool { return strings.HasPrefix(name, "test/") }

// allowed says whether one package of the module may import another.
func allowed(from, to string) bool {
	switch {
	case isTest(from):
		return true
	case isTest(to):
		return false
	case strings.HasPrefix(from, "proto/"):
		return strings.HasPrefix(to, "proto/")
	case strings.HasPrefix(from, "internal/"):
		// internal/eventlog derives specifications from logs.
		return from == "internal/eventlog" && (to == "spec" || to == "lts")
	case strings.HasPrefix(to, "proto/"):
		return from != "lts" && from != "ring"
	case strings.HasPrefix(to, "internal/"):
		return !slices.Contains(pure, from) && from != "client"
	}
	return slices.Contains(layers[from], to)
}

func TestImportsRunOneWay(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		from := short(p.ImportPath)
		if from == "" {
			t.Errorf("%s: the root of the module holds no code", p.ImportPath)
			continue
		}
		seen[from] = true
		if _, known := layers[from]; !known && !isLeaf(from) && !isTest(from) {
			t.Errorf("%s: not in the table of layers: decide where it belongs", from)
		}
		if slices.Contains(strings.Split(from, "/"), "util") || !isLeaf(from) && strings.Count(from, "/") > 1 {
			t.Errorf("%s: packages are at most two deep, and none is a drawer", from)
		}
		for _, path := range p.Imports {
			if to := short(path); to != "" && !allowed(from, to) {
				t.Errorf("%s imports %s: imports run cmd -> transport -> cluster -> shard -> fsm -> model -> spec -> lts", from, to)
			}
		}
	}
	for name := range layers {
		if !seen[name] {
			t.Errorf("%s: in the table of layers, but there is no such package", name)
		}
	}
}

func TestPurePackagesKnowNoServices(t *testing.T) {
	for _, p := range list(t) {
		name := short(p.ImportPath)
		if !slices.Contains(pure, name) {
			continue
		}
		for _, path := range p.Imports {
			if slices.Contains(impure, path) {
				t.Errorf("%s imports %q: nothing below shard knows of files, networks, logs or chance", name, path)
			}
		}
		for _, path := range p.Deps {
			for _, s := range services {
				if path == strings.TrimSuffix(s, "/") || strings.HasPrefix(path, strings.TrimSuffix(s, "/")+"/") {
					t.Errorf("%s depends on %q", name, path)
				}
			}
		}
	}
}

// TestPurePackagesReadNoClock parses the files, since package time is also
// where durations come from.
func TestPurePackagesReadNoClock(t *testing.T) {
	parsed := 0
	for _, p := range list(t) {
		name := short(p.ImportPath)
		if !slices.Contains(pure, name) {
			continue
		}
		for _, file := range p.GoFiles {
			parsed++
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, finding := range impurities(fset, f) {
				t.Errorf("%s: %s", name, finding)
			}
		}
	}
	if parsed == 0 {
		t.Fatal("no file was looked at")
	}
}

// impurities finds goroutines and uses of the clock in a file.
func impurities(fset *token.FileSet, f *ast.File) (found []string) {
	timeName := ""
	for _, imp := range f.Imports {
		if path, _ := strconv.Unquote(imp.Path.Value); path == "time" {
			timeName = "time"
			if imp.Name != nil {
				timeName = imp.Name.Name
			}
		}
	}
	if timeName == "." {
		return []string{fset.Position(f.Pos()).String() + ": imports time with a dot"}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fset.Position(n.Pos()).String()+": starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && slices.Contains(clocks, n.Sel.Name) {
				found = append(found, fset.Position(n.Pos()).String()+": uses time."+n.Sel.Name+": time comes with the entries")
			}
		}
		return true
	})
	return found
}

func TestImpuritiesAreFound(t *testing.T) {
	const src = `package p
import clock "time"
func f() clock.Duration { go f(); return clock.Since(clock.Now()) }
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := impurities(fset, f); len(found) != 3 {
		t.Errorf("found %q, want the goroutine, Since and Now", found)
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	for _, p := range list(t) {
		name := short(p.ImportPath)
		if isTest(name) {
			continue
		}
		for _, path := range p.Imports {
			for lib, homes := range only {
				if path != lib && !(strings.HasSuffix(lib, "/") && strings.HasPrefix(path, lib)) {
					continue
				}
				if !slices.Contains(homes, name) {
					t.Errorf("%s imports %q, which only %s may", name, path, strings.Join(homes, ", "))
				}
			}
		}
	}
}

// TestPackagesSayWhatTheyAre looks for the package comment, which the linter
// does not, since generated packages have none.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range list(t) {
		name := short(p.ImportPath)
		if strings.HasPrefix(name, "proto/") || len(p.GoFiles) == 0 {
			continue
		}
		found := false
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			found = found || f.Doc != nil
		}
		if !found {
			t.Errorf("%s has no package comment", name)
		}
	}
}

// TestClientIsThin keeps servers out of programs that only report their steps.
func TestClientIsThin(t *testing.T) {
	for _, p := range list(t) {
		if short(p.ImportPath) != "client" {
			continue
		}
		for _, path := range p.Deps {
			to := short(path)
			server := slices.Contains([]string{"cluster", "shard", "shard/store", "transport", "fsm", "ring"}, to)
			if server || to == "proto/spex/peer/v1" || to == "proto/spex/state/v1" || strings.HasPrefix(path, "github.com/hashicorp/") ||
				strings.HasPrefix(path, "github.com/cockroachdb/") {
				t.Errorf("client depends on %s", path)
			}
		}
		return
	}
	t.Fatal("there is no package client")
}

func TestTheTableSeesWrongImports(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/spex", "transport", true},
		{"transport", "cluster", true},
		{"cluster", "transport", false},
		{"shard", "cluster", false},
		{"fsm", "shard", false},
		{"fsm", "internal/atomicfile", false},
		{"fsm", "proto/spex/state/v1", true},
		{"lts", "spec", false},
		{"ring", "proto/spex/types/v1", false},
		{"client", "cluster", false},
		{"internal/atomicfile", "spec", false},
		{"internal/eventlog", "spec", true},
		{"proto/spex/v1", "spec", false},
		{"test/e2e", "client", true},
		{"cmd/spex", "test/e2e", false},
	} {
		if got := allowed(tt.from, tt.to); got != tt.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}
