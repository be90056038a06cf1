package query

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample is the instance that the expressions of the tests are about.
func sample() *Instance {
	return &Instance{
		ID: "order-17", Spec: "order", SpecVersion: 2, State: "pending", Seq: 3,
		Meta:    map[string]string{"customer": "acme", "amount": "120"},
		Created: time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC), Updated: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		Age: 90 * time.Minute, Awaiting: 1,
	}
}

func TestExpressions(t *testing.T) {
	for _, tc := range []struct {
		source string
		want   bool
		// err is part of the error of the evaluation.
		err string
	}{
		{`state == "pending" && age > duration("1h")`, true, ""},
		{`state == "pending" && age > duration("2h")`, false, ""},
		{`true`, true, ""},
		{`!off_model && !terminal && awaiting == 1`, true, ""},
		{`id.startsWith("order-") && spec == "order" && spec_version == 2`, true, ""},
		{`seq >= 3 && seq < 4`, true, ""},
		{`state in ["paid", "shipped"]`, false, ""},
		{`meta.customer == "acme"`, true, ""},
		{`meta["customer"].contains("cm")`, true, ""},
		{`"customer" in meta && !("vip" in meta)`, true, ""},
		{`has(meta.vip) && meta.vip == "yes"`, false, ""},
		{`int(meta.amount) > 100`, true, ""},
		{`meta.exists(k, meta[k] == "acme")`, true, ""},
		{`meta.all(k, size(k) > 1)`, true, ""},
		{`size(meta) == 2`, true, ""},
		{`created < timestamp("2026-01-01T11:00:00Z")`, true, ""},
		{`updated - created == duration("2h")`, true, ""},
		{`updated.getHours() == 12`, true, ""},
		{`id.matches("^order-[0-9]+$")`, true, ""},
		{`state == "paid" ? seq > 5 : seq > 2`, true, ""},
		// What has no value for this instance.
		{`meta.vip == "yes"`, false, "no such key: vip"},
		{`int(meta.customer) > 1`, false, "type conversion error"},
		{`seq / (seq - 3) == 1`, false, "division by zero"},
		// A part without a value does not matter where the other part decides.
		{`meta.vip == "yes" || state == "pending"`, true, ""},
	} {
		t.Run(tc.source, func(t *testing.T) {
			e, err := Compile(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			got, cost, err := e.Match(sample())
			if got != tc.want || cost == 0 {
				t.Errorf("got %v at the cost %d (%v), want %v", got, cost, err, tc.want)
			}
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got the error %v, want %q", err, tc.err)
			}
		})
	}
}

func TestBadExpressions(t *testing.T) {
	deep := strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100)
	for _, tc := range []struct {
		name, source string
		line, column int
		problem      string
		limit        bool
	}{
		{"empty", "", 1, 1, "empty", false},
		{"blank", " \n ", 1, 1, "empty", false},
		{"an unknown name", `state == "a" && stat == "b"`, 1, 17, "undeclared reference to 'stat' (did you mean 'state'?): an instance has id, spec", false},
		{"on the second line", "state == \"a\" &&\n  stat == \"b\"", 2, 3, "undeclared", false},
		{"wrong types", `state == 5`, 1, 7, "no matching overload", false},
		{"an end too early", `seq >`, 1, 6, "Syntax error", false},
		{"not a question", `state`, 1, 1, "is of type string, and must be of type bool", false},
		{"a value of any type", `dyn(state)`, 1, 1, "is of type dyn", false},
		{"a bad duration", `age > duration("1 day")`, 1, 16, "invalid duration", false},
		{"a bad time", `created > timestamp("yesterday")`, 1, 21, "invalid timestamp", false},
		{"a duration without quotes", `seq > 3 && age > 1h30m`, 1, 19, `write a duration as duration("36h")`, false},
		{"a duration in days", `age > 1d && seq > 3`, 1, 8, `with the units h, m`, false},
		{"a duration as a string", `age > "1h"`, 1, 5, `write a duration as duration("36h")`, false},
		{"seconds", `3600 < age`, 1, 6, `write a duration as duration("36h")`, false},
		{"days", `age > duration("1d")`, 1, 16, `with the units h, m`, false},
		{"a time as a string", `updated > "2026-01-01T00:00:00Z"`, 1, 9, `write a time as timestamp("2026-01-31T18:00:00Z")`, false},
		{"a day", `updated > timestamp("2026-01-01")`, 1, 21, `write a time as timestamp("2026-01-31T18:00:00Z")`, false},
		{"an assignment", `state = "x"`, 1, 7, "compare with ==", false},
		{"an assignment without blanks", `state="x"`, 1, 6, "compare with ==", false},
		{"a list of both", `state in ["a", 1]`, 1, 16, "", false},
		{"map makes lists", `meta.map(k, k) == []`, 1, 9, "undeclared reference to 'map'", false},
		{"an unreadable pattern", `id.matches("x(")`, 1, 12, "the pattern cannot be read", false},
		{"the other form of it", `matches(id, "x(")`, 1, 13, "the pattern cannot be read", false},
		{"a pattern of the instance", `id.matches(meta.pattern)`, 1, 16, "written in the expression", false},
		{"a huge pattern", `id.matches("(a{30}){30}")`, 1, 12, "the pattern has the size", true},
		{"too long", `state == "` + strings.Repeat("x", MaxBytes) + `"`, 0, 0, "bytes long", true},
		{"too deep", deep, 1, 1, "recursion limit", true},
		{"too many loops", `meta.exists(a, meta.exists(b, meta.exists(c, a == b)))`, 1, 42, "nesting limit", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Compile(tc.source)
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if bad.Line != tc.line || bad.Column != tc.column || !strings.Contains(bad.Problem, tc.problem) || bad.Limit != tc.limit {
				t.Errorf("got %+v (%v), want line %d, column %d, %q, limit %v", bad, err, tc.line, tc.column, tc.problem, tc.limit)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

// TestCostIsBounded evaluates what is as expensive as an expression can be.
func TestCostIsBounded(t *testing.T) {
	in := sample()
	in.Meta = map[string]string{"text": strings.Repeat("a", 8<<10)}
	for i := range 63 {
		in.Meta[strings.Repeat("k", i+1)] = ""
	}
	for _, source := range []string{
		`meta.all(a, meta.all(b, a.size() >= 0 && b.size() >= 0 && a + b + a + b + a + b != "` + strings.Repeat("x", 2000) + `"))`,
		`meta.text.matches("(a|b|c){80}x")`,
		`meta.all(a, meta.text.matches("(a|b)*(a|b)*x") || true)`,
	} {
		e, err := Compile(source)
		if err != nil {
			t.Fatalf("%.60s: %v", source, err)
		}
		begun := time.Now()
		_, cost, err := e.Match(in)
		if !errors.Is(err, ErrCost) || cost != MaxCost {
			t.Errorf("%.60s: got the cost %d and %v, want ErrCost", source, cost, err)
		}
		// The bound is some milliseconds; machines that run tests are slow.
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("%.60s: took %v", source, d)
		}
	}
}

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	var c Cache
	first, err := c.Compile("seq == 0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 * cached {
		if _, err := c.Compile("seq == 1" + strings.Repeat(" ", i)); err != nil {
			t.Fatal(err)
		}
		if again, _ := c.Compile("seq == 0"); again != first {
			t.Fatalf("after %d others it was compiled again", i)
		}
		if len(c.recent) > cached || len(c.older) > cached {
			t.Fatalf("the cache has grown to %d and %d", len(c.recent), len(c.older))
		}
	}
	if _, err := c.Compile("seq =="); err == nil {
		t.Error("a bad expression came out of the cache")
	}
}

// FuzzCompile: no text makes the compiler panic or take long, and what compiles
// can be evaluated at a bounded cost.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`state == "pending" && age > duration("1h")`, `meta.exists(k, meta[k].matches("a*"))`, `created < timestamp("2026-01-01T11:00:00Z")`,
		`[1, 2].all(x, x in [seq])`, `{"a": 1}.a == seq`, `b"a" == bytes(id)`, `-9223372036854775808 == seq`, `id.matches("((a{9}){9}){9}")`,
		"\x00", `"\u00e9" == state`, `((((`, `!!!!!!true`, `1 + 1 + 1 + 1 == 4`, `age.getHours("Europe/Berlin") == 1`, `google.protobuf.Duration{} == age`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		begun := time.Now()
		e, err := Compile(source)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if bad.Line < 0 || bad.Column < 0 || bad.Problem == "" {
				t.Fatalf("got %+v", bad)
			}
		} else if _, cost, _ := e.Match(sample()); cost > MaxCost+MaxBytes {
			t.Fatalf("the cost is %d", cost)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Fatalf("took %v", d)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e, err := Compile(`state == "pending" && age > duration("1h") && meta.customer == "acme"`)
	if err != nil {
		b.Fatal(err)
	}
	in := sample()
	b.ReportAllocs()
	for b.Loop() {
		if ok, _, err := e.Match(in); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
