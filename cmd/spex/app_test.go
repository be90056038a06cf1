package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		flags []string
		env   string
		want  []string
		fails string
	}{
		{want: []string{defaultAddr}},
		{env: " a:1, b:2 ,", want: []string{"a:1", "b:2"}},
		{flags: []string{"c:3"}, env: "a:1", want: []string{"c:3"}},
		{flags: []string{"c:3,d:4", "[::1]:5"}, want: []string{"c:3", "d:4", "[::1]:5"}},
		{flags: []string{"c"}, fails: `--addr "c"`},
		{flags: []string{":80"}, fails: "host is missing"},
		{flags: []string{"c:http"}, fails: "from 1 to 65535"},
		{flags: []string{"c:0"}, fails: "from 1 to 65535"},
		{flags: []string{"c:65536"}, fails: "from 1 to 65535"},
		{env: "x", fails: `SPEX_ADDR "x"`},
	} {
		a := &app{env: func(string) string { return tc.env }}
		a.opts.addrs = tc.flags
		got, err := a.addresses()
		if tc.fails != "" {
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%v %q: error %v, want one with %q", tc.flags, tc.env, err, tc.fails)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%v %q: %v, %v, want %v", tc.flags, tc.env, got, err, tc.want)
		}
	}
}

func TestNamespace(t *testing.T) {
	env := ""
	a := &app{env: func(key string) string {
		if key == "SPEX_NAMESPACE" {
			return env
		}
		return ""
	}}
	if got := a.namespace(); got != "default" {
		t.Errorf("namespace %q", got)
	}
	env = "fromenv"
	if got := a.namespace(); got != "fromenv" {
		t.Errorf("namespace %q", got)
	}
	a.opts.namespace = "fromflag"
	if got := a.namespace(); got != "fromflag" {
		t.Errorf("namespace %q", got)
	}
}

func TestExitStatuses(t *testing.T) {
	for _, tc := range []struct {
		err     error
		started bool
		want    int
	}{
		{nil, true, exitOK},
		{answerNo("no"), true, exitNo},
		{fmt.Errorf("wrapped: %w", answerNo("no")), true, exitNo},
		{usagef("bad"), true, exitUsage},
		{errors.New("cobra says"), false, exitUsage},
		{errors.New("failed"), true, exitFailed},
		{context.Canceled, true, exitFailed},
	} {
		a := &app{stderr: new(strings.Builder), env: func(string) string { return "" }, started: tc.started}
		if got := a.report(tc.err); got != tc.want {
			t.Errorf("%v (started %v): status %d, want %d", tc.err, tc.started, got, tc.want)
		}
	}
}

// Nobody listens: the message says where and what to do, and there is one line.
func TestUnreachableServer(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close()
	sh := newShell(nil)
	sh.mustRun(t, exitFailed, "cluster", "status", "--addr", addr, "--timeout", "200ms")
	got := sh.stderr.String()
	if want := "spex: no server answers at " + addr + " ("; !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr %q, want one line with %q", got, want)
	}
}

func TestInterrupted(t *testing.T) {
	sh := newShell(startFake(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{stdin: strings.NewReader(""), stdout: &sh.stdout, stderr: &sh.stderr, env: func(k string) string { return sh.env[k] }}
	if code := a.run(ctx, []string{"spec", "list"}); code != exitFailed {
		t.Errorf("status %d", code)
	}
	if got := sh.stderr.String(); got != "spex: interrupted\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestHelpAndVersion(t *testing.T) {
	sh := newShell(startFake(t))
	for _, args := range [][]string{{}, {"--help"}, {"spec", "--help"}, {"help", "replay"}, {"completion", "bash"}} {
		if out := sh.mustRun(t, exitOK, args...); len(out) < 200 || sh.stderr.Len() > 0 {
			t.Errorf("%v: %d bytes on stdout, stderr %q", args, len(out), sh.stderr.String())
		}
	}
	var v versionJSON
	if err := json.Unmarshal([]byte(sh.mustRun(t, exitOK, "version", "--server", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version == "" || v.GoVersion == "" || v.Server == nil || v.Server.Version != "v9.8.7" || v.Server.FeatureLevel != 3 {
		t.Errorf("version %+v", v)
	}
	if out := sh.mustRun(t, exitOK, "version"); !strings.HasPrefix(out, "spex ") {
		t.Errorf("version %q", out)
	}
}

// Colours appear on terminals only, and never against NO_COLOR.
func TestColours(t *testing.T) {
	fake := startFake(t)
	for _, tc := range []struct {
		tty  bool
		env  map[string]string
		want bool
	}{
		{false, nil, false},
		{true, nil, true},
		{true, map[string]string{"NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
	} {
		sh := newShell(fake)
		sh.tty = tc.tty
		for k, v := range tc.env {
			sh.env[k] = v
		}
		plain := sh.mustRun(t, exitOK, "cluster", "status")
		if got := strings.Contains(plain, "\x1b["); got != tc.want {
			t.Errorf("terminal %v, %v: colours %v, want %v", tc.tty, tc.env, got, tc.want)
		}
		if json := sh.mustRun(t, exitOK, "cluster", "status", "-o", "json"); strings.Contains(json, "\x1b[") {
			t.Error("colours in JSON")
		}
	}
}

// Columns begin at the same place in every row, whatever the texts are.
func TestTableAlignment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zé€𝄞]{1,9}`)
		tab := newTable("FIRST", "SECOND")
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]string {
			return [2]string{text.Draw(t, "first"), text.Draw(t, "second")}
		}), 1, 8).Draw(t, "rows")
		for _, r := range rows {
			tab.row(r[0], r[1])
		}
		var b strings.Builder
		tab.write(&b, painter{})
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines", len(lines))
		}
		at := utf8.RuneCountInString(lines[0][:strings.Index(lines[0], "SECOND")])
		for i, r := range rows {
			if got := string([]rune(lines[i+1])[at:]); got != r[1] {
				t.Fatalf("column of row %d is %q, want %q in\n%s", i, got, r[1], b.String())
			}
		}
	})
}

// Answers without content give empty lists and maps, never null.
func TestJSONTypesHaveNoNullLists(t *testing.T) {
	for _, v := range []any{
		instanceToJSON(nil), specInfoToJSON(nil), statusToJSON(nil), modelToJSON(nil),
		modelContentJSON{Relation: mapSlice([]string(nil), func(string) transitionJSON { return transitionJSON{} })},
	} {
		rv := reflect.ValueOf(v)
		for i := range rv.NumField() {
			f := rv.Field(i)
			if (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.IsNil() {
				t.Errorf("%T.%s is null", v, rv.Type().Field(i).Name)
			}
		}
	}
}
