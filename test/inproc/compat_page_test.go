package inproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
)

// The page has a row for every id, and every test and case that it names exists.
func TestCompatibilityPage(t *testing.T) {
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]bool{}
	for _, c := range compatibility {
		cases[c.name] = true
	}
	rows := map[string]string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 5 {
			continue
		}
		id := strings.TrimPrefix(cells[0], "| ")
		rows[id] = cells[3]
		if id == "Id" || strings.HasPrefix(id, "-") {
			continue
		}
		named := 0
		for _, m := range regexp.MustCompile("`(\\w+)`|\"([^\"]+)\"").FindAllStringSubmatch(cells[3], -1) {
			if m[1] != "" && !tests[m[1]] || m[2] != "" && !cases[m[2]] {
				t.Errorf("%s: there is no %s", id, m[0])
			}
			named++
		}
		if named == 0 && cells[3] != "all cases" {
			t.Errorf("%s: no test", id)
		}
	}
	for kind, last := range map[string]int{"U": 18, "B": 23} {
		for i := 1; i <= last; i++ {
			if id := fmt.Sprint(kind, i); rows[id] == "" {
				t.Errorf("%s has no row", id)
			}
		}
	}
}

// A model that learned, exported and imported elsewhere, checks there.
func TestExportedModelsCheck(t *testing.T) {
	c := Start(t, Options{Nodes: 1, Shards: 2, Replicas: 1})
	inMemory, err := local.Open(testContext(t), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer inMemory.Close()
	for name, m := range map[string]client.Manager{"cluster": c.Client(), "memory": inMemory} {
		t.Run(name, func(t *testing.T) {
			b := &bench{TB: t, stand: &stand{m: m}}
			b.define("One", oneEdge, nil)
			b.init("One", "o", "ok")
			b.step("o", "a", "s1", "ok")
			b.learned("One", 2)
			dir := filepath.Join(t.TempDir(), "new")
			files, err := m.ExportModels(testContext(t), dir)
			if err != nil || len(files) != 1 {
				t.Fatalf("exported %v, %v", files, err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "One.spex"))
			if want := "Specification: One\nLearning mode: false\n\nnil --[__initialisation__]-> s0\ns0 --[a]-> s1\n"; err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if _, err := m.ExportModels(testContext(t), filepath.Join(dir, "One.spex")); err == nil || errors.Is(err, client.ErrInternal) {
				t.Errorf("a file in the place of the directory: %v", err)
			}
		})
	}
}
