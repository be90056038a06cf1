package failpoint

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		text string
		want map[string]action
	}{
		{"", nil},
		{" ; ;", nil},
		{"shard/proposed=kill@3", map[string]action{"shard/proposed": {kind: actKill, nth: 3}}},
		{"shard/proposed=kill;store/logs-write=error@1; store/logs-durable=sleep:500ms ", map[string]action{
			"shard/proposed":     {kind: actKill},
			"store/logs-write":   {kind: actError, nth: 1},
			"store/logs-durable": {kind: actSleep, delay: 500 * time.Millisecond},
		}},
		{"store/logs-write=sleep:1m30s@18446744073709551615", map[string]action{
			"store/logs-write": {kind: actSleep, delay: 90 * time.Second, nth: 1<<64 - 1},
		}},
	} {
		got, err := parse(tc.text)
		if err != nil || !maps.Equal(got, tc.want) {
			t.Errorf("parse(%q) = %v, %v; want %v", tc.text, got, err, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"shard/proposed", "entry 1"},
		{"shard/proposed=kill;nowhere=kill", `entry 2, "nowhere=kill": there is no failpoint "nowhere"; there are cluster/pledge-written, `},
		{"shard/proposed =kill", `no failpoint "shard/proposed "`},
		{"shard/proposed=kill;shard/proposed=kill@2", "twice"},
		{"shard/proposed=", `unknown action ""`},
		{"shard/proposed=explode", `unknown action "explode"`},
		{"shard/proposed=kill@", `the hit "" is not a number`},
		{"shard/proposed=kill@0", `the hit "0"`},
		{"shard/proposed=kill@-1", `the hit "-1"`},
		{"shard/proposed=kill@18446744073709551616", "is not a number"},
		{"shard/proposed=kill:3", "kill takes no argument"},
		{"shard/proposed=sleep", "want a positive duration"},
		{"shard/proposed=sleep:-1s", "want a positive duration"},
		{"shard/proposed=sleep:0s", "want a positive duration"},
		{"shard/proposed=sleep:3", "want a positive duration"},
		{"shard/proposed=error", "shard/proposed cannot take an error"},
	} {
		got, err := parse(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("parse(%q) = %v, %v; want an error with %q", tc.text, got, err, tc.want)
		}
	}
}

// FuzzParse: what is read can be written, and reads the same again.
func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add("shard/proposed=kill@3;store/logs-write=error")
	f.Add("store/logs-durable=sleep:1.5h@2;")
	f.Add("shard/proposed=sleep:1ns@@1;=;;@")
	f.Fuzz(func(t *testing.T, text string) {
		actions, err := parse(text)
		if err != nil {
			if actions != nil {
				t.Fatalf("%q: %v beside the error %v", text, actions, err)
			}
			return
		}
		table := &table{points: map[string]*armed{}}
		for name, a := range actions {
			if _, ok := find(name); !ok {
				t.Fatalf("%q: the name %q is not in the list", text, name)
			}
			table.points[name] = &armed{action: a}
		}
		again, err := parse(table.String())
		if err != nil || !maps.Equal(again, actions) {
			t.Fatalf("%q is written as %q, which reads as %v, %v; want %v", text, table, again, err, actions)
		}
	})
}
