package spextest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module is one whose only package is tested with spextest; its specification is
// in a directory beside the package.
var module = map[string]string{
	"a/a_test.go": `package a

import (
	"os"
	"testing"

	"github.com/spexio/spex/spextest"
)

func TestMain(m *testing.M) {
	os.Exit(spextest.Run(m, spextest.Specs("../testdata"), spextest.Dir("spex")))
}

func Test(t *testing.T) {
	m, id := spextest.Manager(), spextest.ID(t, "1")
	if _, err := m.Init(t.Context(), "order", id); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Transition(t.Context(), id, "pay", "paid"); err != nil {
		t.Fatal(err)
	}
}
`,
	"testdata/order.yaml": orderSpec("pay"),
}

func orderSpec(action string) string {
	return "name: order\ntransitions:\n  - {from: new, action: " + action + ", to: paid}\n"
}

// go test repeats the result of a run until a specification or a model changes.
func TestResultsOfTheCache(t *testing.T) {
	dir := t.TempDir()
	put := func(name, data string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		// go test keeps no result of files that are younger than two seconds.
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		put(name, strings.Replace(string(data), "module github.com/spexio/spex\n",
			"module example.test\n\nrequire github.com/spexio/spex v0.0.0\n\nreplace github.com/spexio/spex => "+root+"\n", 1), time.Hour)
	}
	for name, data := range module {
		put(name, data, time.Hour)
	}
	goTest := func() (out string, ok bool) {
		t.Helper()
		cmd := exec.Command("go", "test", "./a")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
		data, err := cmd.CombinedOutput()
		return string(data), err == nil
	}
	const cached = "(cached)"
	if out, ok := goTest(); !ok || strings.Contains(out, cached) {
		t.Fatalf("the first run: %s", out)
	}
	if out, ok := goTest(); !ok || !strings.Contains(out, cached) {
		t.Fatalf("nothing has changed: %s", out)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a", "spex")); err != nil {
		t.Fatal(err)
	}
	if out, ok := goTest(); !ok || strings.Contains(out, cached) {
		t.Errorf("the model is gone: %s", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "spex", "order.spex")); err != nil {
		t.Error(err)
	}
	put("testdata/order.yaml", orderSpec("refund"), time.Minute)
	if out, ok := goTest(); ok || !strings.Contains(out, "NOT EQUIVALENT") {
		t.Errorf("the specification is another: %s", out)
	}
}
