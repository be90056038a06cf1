package failpoint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// calls finds every call of Hit and Error in the module: what it names, whether
// by Error, and where.
func calls(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "proto"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Hit" && sel.Sel.Name != "Error" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "failpoint" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name is not a literal", files.Position(call.Pos()))
				return true
			}
			name, _ := strconv.Unquote(lit.Value)
			found[name] = append(found[name], sel.Sel.Name+" "+files.Position(call.Pos()).String())
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPointsAreInTheCode: each place of the list is called exactly once, by Error
// if it is fallible, and the code names no other.
func TestPointsAreInTheCode(t *testing.T) {
	found := calls(t)
	for _, p := range Points() {
		at := found[p.Name]
		delete(found, p.Name)
		want := "Hit "
		if p.Fallible {
			want = "Error "
		}
		if len(at) != 1 || !strings.HasPrefix(at[0], want) {
			t.Errorf("%s is called by %q, want one call of %s", p.Name, at, want)
		}
	}
	for name, at := range found {
		t.Errorf("%q is not in the list: %v", name, at)
	}
}

func TestPointsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Points() {
		if row := fmt.Sprintf("| `%s` | %s |", p.Name, p.Window); !strings.Contains(string(text), row) {
			t.Errorf("docs/testing.md lacks the line\n%s", row)
		}
	}
}

func TestMarkersDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, p := range Points() {
		m := MarkerFile(p.Name)
		if other, twice := seen[m]; twice || filepath.Base(m) != m {
			t.Errorf("marker %q of %s; also of %q", m, p.Name, other)
		}
		seen[m] = p.Name
	}
}
