package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machine is what differs from one start of a cluster to the next.
var machine = regexp.MustCompile(`n(\d)-\w+ |127\.0\.0\.1:\d+`)

// TestGettingStarted runs the commands of docs/getting-started.md, in their order,
// against a cluster as spex dev makes it, and compares what they print with the
// page, where a line of three dots stands for any lines.
func TestGettingStarted(t *testing.T) {
	page, err := os.ReadFile("../../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "docs", "examples"), os.DirFS("../../docs/examples")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	o := &devOptions{nodes: 3, shards: 4, dataDir: "spex-data", httpHost: "127.0.0.1"}
	nodes, err := startDevNodes(o, "127.0.0.1", 0, o.dataDir, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := closeAll(nodes); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range nodes {
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sh := newShell(nil)
	sh.env["SPEX_ADDR"] = nodes[0].Addr()
	ran := 0
	for command, want := range transcripts(string(page)) {
		ran++
		var got string
		if strings.HasPrefix(command, "spex dev ") {
			var out bytes.Buffer
			(&app{stdout: &out}).sayDev(nodes, o, o.dataDir)
			got = machine.ReplaceAllString(out.String(), "$1")
			want = machine.ReplaceAllString(want, "$1")
		} else {
			sh.run(t, fields(command)[1:]...)
			got = sh.stdout.String() + sh.stderr.String()
		}
		if !elided(want, got) {
			t.Errorf("$ %s\nthe page has:\n%s\nthe command says:\n%s", command, want, got)
		}
	}
	if ran < 16 {
		t.Errorf("only %d commands were found on the page", ran)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if file, err := os.ReadFile("docs/examples/order.yaml"); err != nil || !strings.HasSuffix(string(file), m[1]) {
			t.Errorf("docs/examples/order.yaml is not what the page shows: %v", err)
		}
	}
}

// transcripts gives the commands of a page, each with the output that it shows.
func transcripts(page string) func(yield func(command, output string) bool) {
	return func(yield func(command, output string) bool) {
		for _, block := range regexp.MustCompile("(?s)```(\\w*)\n(.*?)```").FindAllStringSubmatch(page, -1) {
			for _, part := range strings.Split("\n"+block[2], "\n$ ")[1:] {
				command, output, _ := strings.Cut(part, "\n")
				if output != "" && !strings.HasSuffix(output, "\n") {
					output += "\n"
				}
				if !yield(command, output) {
					return
				}
			}
		}
	}
}

// elided tells whether got is want, in which lines of three dots stand for any lines.
func elided(want, got string) bool {
	parts := strings.Split(want, "...\n")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, `(.*\n)?`) + `$`).MatchString(got)
}

// TestTranscriptsAreCompared: without it, nothing would tell that the page is.
func TestTranscriptsAreCompared(t *testing.T) {
	var found []string
	for command, output := range transcripts("text\n```\n$ a b\nout\n\n$ c\n```\n```\nno command\n```\n```go\nx\n```\n") {
		found = append(found, command+"|"+output)
	}
	if want := []string{"a b|out\n", "c|"}; !slices.Equal(found, want) {
		t.Errorf("got %q", found)
	}
	for _, tc := range []struct {
		want, got string
		same      bool
	}{
		{"a\n", "a\n", true}, {"a\n...\n", "a\nb\nc\n", true}, {"a\n...\nc\n", "a\nc\n", true}, {"a\n...\n", "a\n", true},
		{"a\n", "a\nb\n", false}, {"a\n...\nc\n", "a\nb\n", false}, {"a.\n", "ab\n", false}, {"", "a\n", false},
	} {
		if elided(tc.want, tc.got) != tc.same {
			t.Errorf("%q and %q", tc.want, tc.got)
		}
	}
}
