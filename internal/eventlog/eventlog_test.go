package eventlog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spexio/spex/spec"
)

// read opens a log in memory and renders its cases: "id: activity>state@line ...".
func read(text, name string, opts Options) (string, error) {
	l, err := New(strings.NewReader(text), name, opts)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for c, err := range l.Cases() {
		if err != nil {
			return b.String(), err
		}
		fmt.Fprintf(&b, "%s:", c.ID)
		for _, e := range c.Events {
			if e.Case != c.ID || e.Time.Location() != time.UTC {
				return "", fmt.Errorf("event %+v of case %q", e, c.ID)
			}
			fmt.Fprintf(&b, " %s", e.Activity)
			if e.State != e.Activity {
				fmt.Fprintf(&b, ">%s", e.State)
			}
			fmt.Fprintf(&b, "@%d", e.Line)
		}
		b.WriteString("\n")
	}
	return b.String(), l.Close()
}

// gz packs a text.
func gz(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

var short = Columns{Case: "c", Activity: "a", Timestamp: "t"}

// xes wraps traces into a log.
func xes(traces string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<log xes.version="1.0" xmlns="http://www.xes-standard.org/">` + "\n" + traces + "</log>\n"
}

// trace makes a trace of "activity day" pairs on one line.
func trace(id string, events ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<trace><string key="concept:name" value="%s"/>`, id)
	for _, e := range events {
		activity, day, _ := strings.Cut(e, " ")
		fmt.Fprintf(&b, `<event><string key="concept:name" value="%s"/><date key="time:timestamp" value="2024-01-%sT00:00:00.000+02:00"/></event>`, activity, day)
	}
	return b.String() + "</trace>\n"
}

func TestRead(t *testing.T) {
	sample := "c,a,t\n1,A,2024-01-02\n2,A,2024-01-01\n1,B,2024-01-01\n2,B,2024-01-01\n3,Z,2024-01-01\n"
	two := xes(trace("1", "A 02", "B 01", "C 02") + trace("2", "A 01") + trace("3"))
	for _, tc := range []struct {
		name, text, file string
		opts             Options
		want             string
	}{
		{"cases by first appearance, events by time, ties by line", sample, "l.csv", Options{Columns: short}, "1: B@4 A@2\n2: A@3 B@5\n3: Z@6\n"},
		{"skip", sample, "l.csv", Options{Columns: short, SkipCases: 1}, "2: A@3 B@5\n3: Z@6\n"},
		{"skip all", sample, "l.csv", Options{Columns: short, SkipCases: 9}, ""},
		{"max", sample, "l.csv", Options{Columns: short, MaxCases: 1}, "1: B@4 A@2\n"},
		{"skip and max", sample, "l.csv", Options{Columns: short, SkipCases: 1, MaxCases: 1}, "2: A@3 B@5\n"},
		{"prefix", sample, "l.csv", Options{Columns: short, MaxCases: 1, Prefix: "run1-"}, "run1-1: B@4 A@2\n"},
		{"semicolon, commas within", "c;a;t;x,y,z,w\n1;A,b;2024-01-01;\n", "l.csv", Options{Columns: short}, "1: A,b@2\n"},
		{"tab", "c\ta\tt\n1\tA\t2024-01-01\n", "l.tsv", Options{Columns: short}, "1: A@2\n"},
		{"bar", "c|a|t\n1|A|2024-01-01\n", "l.csv", Options{Columns: short}, "1: A@2\n"},
		{"given delimiter", "c^a^t\n1^A^2024-01-01\n", "l.csv", Options{Columns: short, Delimiter: '^'}, "1: A@2\n"},
		{"state column", "c,a,t,s\n1,A,2024-01-01,done\n", "l.csv", Options{Columns: Columns{"c", "a", "t", "s"}}, "1: A>done@2\n"},
		{"internal action with a state", "c,a,t,s\n1,__internal__,2024-01-01,done\n", "l.csv", Options{Columns: Columns{"c", "a", "t", "s"}}, "1: __internal__>done@2\n"},
		{"default columns", "concept:name,case:concept:name,time:timestamp\nA,1,2024-01-01\n", "l.csv", Options{}, "1: A@2\n"},
		{"BOM, CRLF, quotes, lines within", "\ufeff\"c\",a,t,n\r\n1,\"A \"\"x\"\"\",2024-01-01,\"two\r\nlines\"\r\n\r\n1,B,2024-01-01,\r\n", "l.csv", Options{Columns: short}, "1: A \"x\"@2 B@5\n"},
		{"no line end", "c,a,t\n1,A,2024-01-01", "l.csv", Options{Columns: short}, "1: A@2\n"},
		{"packed CSV", gz(sample), "l.csv.gz", Options{Columns: short, MaxCases: 1}, "1: B@4 A@2\n"},
		{"XES", two, "l.xes", Options{}, "1: B@3 A@3 C@3\n2: A@4\n3:\n"},
		{"XES selection", two, "l.xes", Options{SkipCases: 1, MaxCases: 1, Prefix: "p/"}, "p/2: A@4\n"},
		{"XES beyond the end", two, "l.xes", Options{SkipCases: 7}, ""},
		{"XES by its first bytes", "\ufeff" + two, "log", Options{MaxCases: 1}, "1: B@3 A@3 C@3\n"},
		{"XES packed, name does not tell", gz(two), "log", Options{MaxCases: 1}, "1: B@3 A@3 C@3\n"},
		{"XES as pandas names it", two, "l.xes", Options{Columns: Columns{Case: "case:concept:name"}, SkipCases: 1, MaxCases: 1}, "2: A@4\n"},
		{"XES other keys, nested and foreign ones ignored", xes(`<extension name="x"/><global scope="trace"><string key="id" value="g"/></global><string key="id" value="log"/>
<trace><int key="id" value="7"><string key="id" value="nested"/></int><list key="l"><values><string key="id" value="x"/></values></list>
<event><string key="act" value="A &amp; B"/><string key="st" value="s1"/><date key="time:timestamp" value="2024-01-01T00:00:00Z"/><container key="c"><string key="act" value="no"/></container></event></trace>`),
			"l.xes", Options{Columns: Columns{Case: "id", Activity: "act", State: "st"}}, "7: A & B>s1@5\n"},
		{"format is given", sample, "l.xes", Options{Format: CSV, Columns: short, MaxCases: 1}, "1: B@4 A@2\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := read(tc.text, tc.file, tc.opts)
			if err != nil || got != tc.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, tc.want)
			}
		})
	}
}

// Bad input gets an error that says what and where, and for what is typed, its type.
func TestReadErrors(t *testing.T) {
	head := "c,a,t\n"
	long := strings.Repeat("x", 600)
	for _, tc := range []struct {
		name, text, file string
		opts             Options
		want             string // the beginning of the message, and
		has              string // what it has
	}{
		{"empty", "", "l.csv", Options{}, "l.csv: is empty", ""},
		{"only white space", "\ufeff \n\n", "l.xes", Options{}, "l.xes: is empty", ""},
		{"packed empty", gz(""), "l.csv.gz", Options{}, "l.csv.gz: is empty", ""},
		{"header only", head, "l.csv", Options{Columns: short}, "l.csv: has a header but no events", ""},
		{"missing column", "x,y\n1,2\n", "l.csv", Options{Columns: short}, `l.csv:1: no column "c" for the case; there are "x", "y"`, "--case"},
		{"missing default", head, "l.csv", Options{Columns: Columns{Case: "c"}}, `l.csv:1: no column "concept:name" for the activity`, `"c", "a", "t"`},
		{"missing state", head, "l.csv", Options{Columns: Columns{"c", "a", "t", "st"}}, `l.csv:1: no column "st" for the state`, ""},
		{"column twice", "c,a,t,a\n", "l.csv", Options{Columns: short}, `l.csv:1: the column "a" is there twice`, ""},
		{"ragged", head + "1,A,2024-01-01\n1,A\n", "l.csv", Options{Columns: short}, "l.csv:3: the record does not have the 3 fields", "delimiter"},
		{"ragged after a field of two lines", head + "1,\"A\",\"2024-01-01\n\"\n1,A\n", "l.csv", Options{Columns: short}, "l.csv:4: the record", ""},
		{"quote not closed", head + "1,\"A,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: a double quote is not closed", ""},
		{"bare quote", head + "1,A\"b,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: a field without quotes", ""},
		{"never ends", head + "1,\"" + strings.Repeat("x", 2*maxToken), "l.csv", Options{Columns: short}, "l.csv:1: the record after", "longer than"},
		{"empty case", head + ",A,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: c is empty", ""},
		{"long case", head + long + ",A,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an instance identifier", "512"},
		{"prefix too long", head + "1,A,2024-01-01\n", "l.csv", Options{Columns: short, Prefix: long}, "l.csv:2: cannot be an instance identifier", ""},
		{"empty activity", head + "1,,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an action", ""},
		{"long activity", head + "1," + long + ",2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an action", "256"},
		{"reserved action", head + "1,__initialisation__,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an action", "reserved"},
		{"reserved state", head + "1,__internal__,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be a state", "name a column"},
		{"control character", head + "1,\"A\nB\",2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an action", "U+000A"},
		{"not UTF-8", head + "1,caf\xe9,2024-01-01\n", "l.csv", Options{Columns: short}, "l.csv:2: cannot be an action", "UTF-8"},
		{"header not UTF-8", "c,a,t,\xe9\n1,A,2024-01-01,\n", "l.csv", Options{Columns: short}, "l.csv:1: the name of column 4 is not UTF-8", "iconv"},
		{"UTF-16", "\xff\xfec\x00,\x00", "l.csv", Options{Columns: short}, "l.csv: is UTF-16", "iconv"},
		{"timestamp", head + "1,A,2024-01-01\n1,B,yesterday\n", "l.csv", Options{Columns: short}, `l.csv:3: t: "yesterday" is not a timestamp`, ""},
		{"no timestamp", head + "1,A,\n", "l.csv", Options{Columns: short}, "l.csv:2: t: is empty", ""},
		{"gzip of garbage", "garbage", "l.xes.gz", Options{}, "l.xes.gz: is not valid gzip", ""},
		{"gzip cut off", gz(xes(trace("1", "A 01")))[:60], "l.xes.gz", Options{}, "l.xes.gz:", "unexpected EOF"},
		{"not XML", "hello", "l.xes", Options{}, "l.xes: has no elements", ""},
		{"XES cut off", xes(trace("1", "A 01"))[:200], "l.xes", Options{}, "l.xes:3: ends in the middle of the log", "cut off"},
		{"XES cut off between traces", strings.TrimSuffix(xes(trace("1", "A 01")), "</log>\n"), "l.xes", Options{}, "l.xes:4: ends in the middle", ""},
		{"XES not closed well", "<log><trace></log>", "l.xes", Options{}, "l.xes:1: cannot be read as XML", "</log>"},
		{"XES other root", "<html></html>", "l.xes", Options{}, "l.xes:1: the first element is <html>", ""},
		{"XES two logs", xes(trace("1", "A 01")) + "<log/>", "l.xes", Options{}, "l.xes:5: <log> follows", ""},
		{"XES only a comment", "<!-- x -->", "l.xes", Options{}, "l.xes: has no elements", ""},
		{"XES without traces", xes(""), "l.xes", Options{}, "l.xes: has no <trace>", ""},
		{"XES trace without id", xes("<trace><string key=\"x\" value=\"1\"/></trace>"), "l.xes", Options{}, `l.xes:3: no column "concept:name" for the case; there are "x"`, ""},
		{"XES event without time", xes(`<trace><event><string key="concept:name" value="A"/></event></trace>`), "l.xes", Options{}, `l.xes:3: no column "time:timestamp" for the timestamp; there are "concept:name"`, ""},
		{"XES event without anything", xes(`<trace><event/></trace>`), "l.xes", Options{}, `l.xes:3: no column "concept:name" for the activity; there are none`, ""},
		{"XES bad time", xes(trace("1", "A 99")), "l.xes", Options{}, "l.xes:3: time:timestamp: \"2024-01-99", ""},
		{"XES twice", xes(trace("1", "A 01") + trace("2") + trace("1", "B 01")), "l.xes", Options{}, `l.xes:5: the case "1" is there twice, first in line 3`, ""},
		{"XES nested too deep", xes(strings.Repeat("<list>", maxDepth+1)), "l.xes", Options{}, "l.xes:3: elements are nested more than 64 deep", ""},
		{"XES never ends", xes(`<string key="` + strings.Repeat("x", 2*maxToken)), "l.xes", Options{}, "l.xes:3: ", "longer than"},
		{"XES not UTF-8", xes(trace("caf\xe9", "A 01")), "l.xes", Options{}, "l.xes:3: ", "UTF-8"},
		{"XES other encoding", `<?xml version="1.0" encoding="ISO-8859-1"?><log/>`, "l.xes", Options{}, "l.xes:1: ", "iconv"},
		{"negative", head, "l.csv", Options{SkipCases: -1}, "event log: cases to skip", ""},
		{"unknown format", head, "l.csv", Options{Format: "pdf"}, `event log: unknown format "pdf"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := read(tc.text, tc.file, tc.opts)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.has) {
				t.Fatalf("got  %v\nwant %s ... %s", err, tc.want, tc.has)
			}
			var e *Error
			var m *MissingColumnError
			if !errors.As(err, &e) && !errors.As(err, &m) && !strings.HasPrefix(tc.want, "event log:") {
				t.Errorf("%T has no type of this package", err)
			}
			if want := strings.Contains(tc.want, "no column"); errors.As(err, &m) != want {
				t.Errorf("MissingColumnError: %v, want %v", !want, want)
			}
		})
	}
}

func TestErrorTypes(t *testing.T) {
	_, err := read("c,a,t\n1,__initialisation__,2024-01-01\n", "l.csv", Options{Columns: short})
	var f *spec.FieldError
	if !errors.As(err, &f) || f.Kind != spec.Reserved {
		t.Errorf("no field error in %v", err)
	}
	if _, err := read("", "l.csv", Options{}); !errors.Is(err, ErrEmpty) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.csv"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a directory was opened")
	}
}

// A log is read once, its columns are known before, and who stops early gets no error.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.xes.gz")
	if err := os.WriteFile(path, []byte(gz(xes(trace("1", "A 01")+trace("2", "A 01")+"<broken"))), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Columns(), (Columns{Case: "concept:name", Activity: "concept:name", Timestamp: "time:timestamp"}); got != want {
		t.Errorf("columns %+v", got)
	}
	for c, err := range l.Cases() {
		if err != nil || c.ID != "1" {
			t.Fatal(c, err)
		}
		break
	}
	for _, err := range l.Cases() {
		if err == nil {
			t.Error("read twice")
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The same events give the same cases as CSV and as XES, whatever their order.
func TestFormatsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type row struct {
			id, activity string
			sec          int
		}
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) row {
			return row{rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id"), rapid.SampledFrom([]string{"A", "b c", `d"e`, "f,g"}).Draw(t, "activity"),
				rapid.IntRange(0, 3).Draw(t, "sec")}
		}), 1, 20).Draw(t, "rows")
		csvText := "c,a,t\n"
		var order []string
		traces := make(map[string]string)
		escape := strings.NewReplacer(`"`, "&quot;")
		for _, r := range rows {
			at := fmt.Sprintf("2024-01-01T00:00:%02dZ", r.sec)
			csvText += fmt.Sprintf("%s,\"%s\",%s\n", r.id, strings.ReplaceAll(r.activity, `"`, `""`), at)
			if traces[r.id] == "" {
				order = append(order, r.id)
			}
			traces[r.id] += fmt.Sprintf(`<event><string key="a" value="%s"/><date key="t" value="%s"/></event>`, escape.Replace(r.activity), at)
		}
		xesText := ""
		for _, id := range order {
			xesText += fmt.Sprintf(`<trace><string key="c" value="%s"/>%s</trace>`, id, traces[id])
		}
		opts := Options{Columns: short, SkipCases: rapid.IntRange(0, 3).Draw(t, "skip"), MaxCases: rapid.IntRange(0, 3).Draw(t, "max")}
		a, errA := read(csvText, "l.csv", opts)
		b, errB := read(xes(xesText), "l.xes", opts)
		if errA != nil || errB != nil || withoutLines(a) != withoutLines(b) {
			t.Fatalf("CSV %v\n%s\nXES %v\n%s", errA, a, errB, b)
		}
	})
}

// withoutLines removes the line numbers of read's output.
func withoutLines(s string) string {
	var b strings.Builder
	skip := false
	for _, r := range s {
		if r == '@' {
			skip = true
		} else if r < '0' || r > '9' {
			skip = false
		}
		if !skip {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestTimestamps(t *testing.T) {
	at := func(s string) time.Time {
		out, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var p timeParser // one for all, so that the layout that fitted last is tried on the others
	for text, want := range map[string]string{
		"2011-10-11T13:45:40+02:00":        "2011-10-11T11:45:40Z",
		"2011-10-11T13:45:40.276Z":         "2011-10-11T13:45:40.276Z",
		"2011-10-11 13:45:40.276000+02:00": "2011-10-11T11:45:40.276Z",
		"2011-10-11T13:45:40.276+0200":     "2011-10-11T11:45:40.276Z",
		"2011-10-11 13:45:40+02":           "2011-10-11T11:45:40Z",
		"2011-10-11 13:45:40 +0200":        "2011-10-11T11:45:40Z",
		"2011-10-11 13:45:40 UTC":          "2011-10-11T13:45:40Z",
		"2011-10-11T13:45:40":              "2011-10-11T13:45:40Z",
		"2011-10-11 13:45:40.5":            "2011-10-11T13:45:40.5Z",
		" 2011-10-11 13:45 ":               "2011-10-11T13:45:00Z",
		"2011-10-11":                       "2011-10-11T00:00:00Z",
		"2011/10/11 13:45:40":              "2011-10-11T13:45:40Z",
		"11.10.2011 13:45:40":              "2011-10-11T13:45:40Z",
		"11-Oct-2011 13:45:40":             "2011-10-11T13:45:40Z",
		"20111011T134540Z":                 "2011-10-11T13:45:40Z",
		"20111011":                         "2011-10-11T00:00:00Z",
		"1318333540":                       "2011-10-11T11:45:40Z",
		"1318333540.25":                    "2011-10-11T11:45:40.25Z",
		"1318333540276":                    "2011-10-11T11:45:40.276Z",
		"1318333540276001":                 "2011-10-11T11:45:40.276001Z",
		"1318333540276001002":              "2011-10-11T11:45:40.276001002Z",
	} {
		if got, err := p.parse(text); err != nil || !got.Equal(at(want)) || got.Location() != time.UTC {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "yesterday", "10/11/2011", "2011-13-01", "2011-02-30", "12", "123456789012345678901234567890",
		"1318333540.", "13183335402.5", "2011-10-11T25:00:00Z", "0000-01-01", "9999-12-31T23:59:59-10:00", "\xff\xfe", strings.Repeat("9", 1000), "-1318333540"} {
		if got, err := p.parse(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// XES is read no further than it is asked for.
func TestXESIsStreamed(t *testing.T) {
	// The second trace is never asked for, and reading it would fail.
	r := io.MultiReader(strings.NewReader(xes(trace("1", "A 01")+strings.Repeat(" ", 200_000))), failingReader{})
	l, err := New(r, "l.xes", Options{MaxCases: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range l.Cases() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d cases", n)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("read too far") }
