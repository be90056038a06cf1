package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/query"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
	"github.com/spexio/spex/spec"
	"github.com/spexio/spex/transport"
)

// limits are the constants of docs/configuration.md under "Fixed limits": an
// int or a time.Duration.
var limits = map[string]any{
	"spec.MaxIdentifierBytes":         spec.MaxIdentifierBytes,
	"spec.MaxNameBytes":               spec.MaxNameBytes,
	"spec.MaxNamespaceBytes":          spec.MaxNamespaceBytes,
	"spec.MaxSpecNameBytes":           spec.MaxSpecNameBytes,
	"spec.MaxRequestIDBytes":          spec.MaxRequestIDBytes,
	"spec.MaxMetaKeys":                spec.MaxMetaKeys,
	"spec.MaxMetaBytes":               spec.MaxMetaBytes,
	"spec.MaxTransitions":             spec.MaxTransitions,
	"spec.MaxDocumentBytes":           spec.MaxDocumentBytes,
	"spec.MaxModelTransitions":        spec.MaxModelTransitions,
	"spec.DefaultHistoryLimit":        spec.DefaultHistoryLimit,
	"spec.MaxHistoryLimit":            spec.MaxHistoryLimit,
	"spec.MaxCommandBytes":            spec.MaxCommandBytes,
	"spec.MaxBatch":                   spec.MaxBatch,
	"spec.MaxPage":                    spec.MaxPage,
	"ring.MaxMembers":                 ring.MaxMembers,
	"ring.MaxShards":                  ring.MaxShards,
	"shard.MaxEntryBytes":             shard.MaxEntryBytes,
	"shard.MaxEntryCommands":          shard.MaxEntryCommands,
	"shard.DefaultQueueCommands":      shard.DefaultQueueCommands,
	"shard.DefaultSnapshotBytes":      shard.DefaultSnapshotBytes,
	"shard.DefaultTrailingBytes":      shard.DefaultTrailingBytes,
	"store.DefaultWriteDeadline":      store.DefaultWriteDeadline,
	"fsm.DedupeWindow":                fsm.DedupeWindow,
	"fsm.MinRemembered":               fsm.MinRemembered,
	"fsm.MaxRemembered":               fsm.MaxRemembered,
	"fsm.MaxDeviations":               fsm.MaxDeviations,
	"fsm.MaxPending":                  fsm.MaxPending,
	"fsm.MaxFrontierPlaces":           fsm.MaxFrontierPlaces,
	"fsm.DefaultReportRetention":      fsm.DefaultReportRetention,
	"fsm.DefaultTombstones":           fsm.DefaultTombstones,
	"fsm.DefaultSpecVersions":         fsm.DefaultSpecVersions,
	"query.MaxBytes":                  query.MaxBytes,
	"query.MaxNodes":                  query.MaxNodes,
	"query.MaxNesting":                query.MaxNesting,
	"query.MaxLoops":                  query.MaxLoops,
	"query.MaxPattern":                query.MaxPattern,
	"query.MaxCost":                   query.MaxCost,
	"query.MaxPageCost":               query.MaxPageCost,
	"query.MaxExamined":               query.MaxExamined,
	"fsm.MaxSpecificationVersions":    fsm.MaxSpecificationVersions,
	"transport.MaxRequestBytes":       transport.MaxRequestBytes,
	"transport.DefaultRequestTimeout": transport.DefaultRequestTimeout,
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// rows returns the cells of the tables in a Markdown text, without the heads.
func rows(text string) (cells [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		var row []string
		for _, c := range strings.Split(strings.Trim(line, "|"), "|") {
			row = append(row, strings.TrimSpace(c))
		}
		cells = append(cells, row)
	}
	return cells
}

func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no section %q", heading)
	}
	text, _, _ = strings.Cut(rest, "\n## ")
	return text
}

// written is how a limit stands in the table, without its unit.
func written(v any) string {
	if d, ok := v.(time.Duration); ok {
		if d%time.Hour == 0 {
			return fmt.Sprintf("%d h", d/time.Hour)
		}
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprint(v)
}

func TestDocumentedLimitsAreTheConstants(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range rows(section(t, read(t, "docs/configuration.md"), "Fixed limits"))[1:] {
		name := strings.Trim(row[2], "`")
		seen[name] = true
		v, known := limits[name]
		if !known {
			t.Errorf("docs/configuration.md names %s, which this test does not know", name)
			continue
		}
		if got, want := strings.TrimSuffix(row[1], " bytes"), written(v); got != want {
			t.Errorf("docs/configuration.md says %q of %s, which is %s", row[1], name, want)
		}
	}
	for name := range limits {
		if !seen[name] {
			t.Errorf("docs/configuration.md does not have %s", name)
		}
	}
}

// The table of timings has the presets as they are.
func TestDocumentedTimingsAreThePresets(t *testing.T) {
	presets := []shard.Timing{shard.LAN(), shard.WAN(), shard.Test()}
	for _, row := range rows(section(t, read(t, "docs/configuration.md"), "Timing"))[1:] {
		for i, preset := range presets {
			field := reflect.ValueOf(preset).FieldByName(strings.Trim(row[4], "`"))
			if !field.IsValid() {
				t.Errorf("shard.Timing has no %s", row[4])
				continue
			}
			said, err := time.ParseDuration(strings.ReplaceAll(row[1+i], " ", ""))
			if err != nil || said != time.Duration(field.Int()) {
				t.Errorf("docs/configuration.md says %q of %s, which is %v", row[1+i], row[4], time.Duration(field.Int()))
			}
		}
	}
}

var flagLine = regexp.MustCompile(`(?m)^ +(?:-\w, |    )--([a-z-]+) ?(.*)$`)

// TestEverySettingIsDocumented compares the table with the generated reference
// of the command, which in turn is compared with the flags.
func TestEverySettingIsDocumented(t *testing.T) {
	documented := map[string][]string{}
	for _, row := range rows(section(t, read(t, "docs/configuration.md"), "Settings of a server"))[1:] {
		documented[strings.Trim(row[0], "`-")] = row
	}
	options, _, ok := strings.Cut(read(t, "docs/cli/spex_server.md"), "### Options inherited")
	if !ok {
		t.Fatal("docs/cli/spex_server.md has another form than expected")
	}
	flags := flagLine.FindAllStringSubmatch(options[strings.Index(options, "### Options"):], -1)
	if len(flags) < 10 {
		t.Fatalf("found %d flags only", len(flags))
	}
	count := 0
	for _, f := range flags {
		name := f[1]
		if name == "help" {
			continue
		}
		count++
		row := documented[name]
		if row == nil {
			t.Errorf("docs/configuration.md does not have --%s", name)
			continue
		}
		underscored := strings.ReplaceAll(name, "-", "_")
		if want := "`SPEX_" + strings.ToUpper(underscored) + "`"; row[1] != want {
			t.Errorf("--%s: the environment is %s, not %s", name, want, row[1])
		}
		if want := "`" + underscored + "`"; row[2] != want && name != "config" {
			t.Errorf("--%s: the key is %s, not %s", name, want, row[2])
		}
		if _, def, ok := strings.Cut(f[2], "(default "); ok {
			if want := "`" + strings.Trim(def, `")`) + "`"; row[3] != want {
				t.Errorf("--%s: the default is %s, not %s", name, want, row[3])
			}
		}
	}
	if count != len(documented) {
		t.Errorf("docs/configuration.md has %d settings, the command has %d", len(documented), count)
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestLinksLeadSomewhere follows the links between the pages that people write.
func TestLinksLeadSomewhere(t *testing.T) {
	links := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(page), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
			}
		}
	}
	if links == 0 {
		t.Error("found no link")
	}
}

// Whatever test or benchmark a page names is there.
func TestNamedTestsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	declared, exists := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`), map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z]\\w*)[`/]")
	count := 0
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, page), -1) {
			if count++; !exists[m[1]] {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
	if count == 0 {
		t.Error("no page names a test")
	}
}

// pages are the pages that people write, from the root.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		matches, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern)))
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(matches), err)
		}
		for _, m := range matches {
			rel, err := filepath.Rel(filepath.Join("..", ".."), m)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, filepath.ToSlash(rel))
		}
	}
	return found
}
