package ring

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the actual outputs into testdata/*.txt")

// A scenario file is a sequence of blocks: comment lines, one command line, a
// line of four dashes, and the expected output up to an empty line or the end.
type block struct {
	comments []string
	line     int
	command  string
	want     string
}

func readScenario(t *testing.T, path string) []block {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" {
			continue
		}
		var b block
		for ; i < len(lines) && strings.HasPrefix(lines[i], "#"); i++ {
			b.comments = append(b.comments, lines[i])
		}
		if i+1 >= len(lines) || lines[i+1] != "----" {
			t.Fatalf("%s:%d: want a command line and ----", path, i+1)
		}
		b.line, b.command = i+1, lines[i]
		var want strings.Builder
		for i += 2; i < len(lines) && lines[i] != ""; i++ {
			want.WriteString(lines[i] + "\n")
		}
		b.want = want.String()
		blocks = append(blocks, b)
	}
	return blocks
}

func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			placed := make(map[string]Placement)
			var out bytes.Buffer
			for i, b := range readScenario(t, path) {
				got := runCommand(placed, b.command)
				if got != b.want && !*rewrite {
					t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s", path, b.line, b.command, got, b.want)
				}
				if i > 0 {
					out.WriteString("\n")
				}
				for _, c := range b.comments {
					out.WriteString(c + "\n")
				}
				out.WriteString(b.command + "\n----\n" + got)
			}
			if *rewrite {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// runCommand runs `place NAME shards=K replicas=R members=a,b,c`,
// `move FROM TO`, `slots shards=K` or `slotof NAMESPACE ID...`.
func runCommand(placed map[string]Placement, command string) string {
	fields := strings.Fields(command)
	args := make(map[string]string)
	var names []string
	for _, f := range fields[1:] {
		if k, v, ok := strings.Cut(f, "="); ok {
			args[k] = v
		} else {
			names = append(names, f)
		}
	}
	number := func(key string) int { n, _ := strconv.Atoi(args[key]); return n }
	var out strings.Builder
	switch fields[0] {
	case "place":
		var members []string
		if args["members"] != "" {
			members = strings.Split(args["members"], ",")
		}
		p, err := Place(members, number("shards"), number("replicas"))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		placed[names[0]] = p
		for s := range uint32(p.NumShards()) {
			fmt.Fprintf(&out, "%d: %s\n", s+1, strings.Join(p.Replicas(s+1), " "))
		}
		for _, l := range p.Loads() {
			fmt.Fprintf(&out, "%s owns %d holds %d\n", l.Member, l.Owned, l.Held)
		}
		owned, held := p.Skew()
		fmt.Fprintf(&out, "skew owned %d held %d\n", owned, held)
	case "move":
		moves := Movement(placed[names[0]], placed[names[1]])
		for _, m := range moves {
			fmt.Fprintf(&out, "%d: +[%s] -[%s] owner %s -> %s\n",
				m.Shard, strings.Join(m.Add, " "), strings.Join(m.Remove, " "), m.From, m.To)
		}
		fmt.Fprintf(&out, "%d of %d shards change\n", len(moves), placed[names[1]].NumShards())
	case "slots":
		table, err := NewSlotTable(number("shards"))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		for _, r := range table.Ranges() {
			fmt.Fprintf(&out, "%d-%d: %d\n", r.First, r.Last, r.Shard)
		}
	case "slotof":
		for _, id := range names[1:] {
			fmt.Fprintf(&out, "%s/%s: %d\n", names[0], id, SlotOf(names[0], id))
		}
	default:
		return "error: unknown command\n"
	}
	return out.String()
}
