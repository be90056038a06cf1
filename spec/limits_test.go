package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestChecks(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	meta := func(keys, size int) map[string]string {
		m := map[string]string{}
		for i := range keys {
			m[fmt.Sprintf("k%03d", i)] = ""
		}
		m["k000"] = text(size - 4*keys)
		return m
	}
	for _, tc := range []struct {
		name string
		err  error
		kind FieldErrorKind // 0: no error
		want string
	}{
		{"identifier", CheckIdentifier("id", "order-1 / ä"), 0, ""},
		{"identifier of one byte", CheckIdentifier("id", "0"), 0, ""},
		{"identifier at the limit", CheckIdentifier("id", text(512)), 0, ""},
		{"identifier beyond", CheckIdentifier("id", text(513)), Limit, "id is 513 bytes long, the limit is 512"},
		{"identifier beyond in bytes, not letters", CheckIdentifier("id", strings.Repeat("ä", 257)), Limit, "514 bytes"},
		{"identifier empty", CheckIdentifier("id", ""), Malformed, "id is empty"},
		{"identifier with NUL", CheckIdentifier("id", "a\x00"), Malformed, "U+0000 at byte 1"},
		{"identifier not UTF-8", CheckIdentifier("id", "a\xc3"), Malformed, "not valid UTF-8"},
		{"identifier with a reserved name", CheckIdentifier("id", Internal), 0, ""},
		{"state at the limit", CheckState("to", text(256)), 0, ""},
		{"state beyond", CheckState("to", text(257)), Limit, "limit is 256"},
		{"state with a line feed", CheckState("to", "a\nb"), Malformed, "U+000A"},
		{"state with a C1 control", CheckState("to", "a\u0085"), Malformed, "U+0085"},
		{"state internal", CheckState("to", Internal), Reserved, "reserved name __internal__"},
		{"state initialisation", CheckState("to", Initialisation), Reserved, "reserved name __initialisation__"},
		{"action internal", CheckAction("action", Internal), 0, ""},
		{"action called tau", CheckAction("action", "tau"), 0, ""},
		{"action initialisation", CheckAction("action", Initialisation), Reserved, "init call"},
		{"action beyond", CheckAction("action", text(257)), Limit, "limit is 256"},
		{"namespace at the limit", CheckNamespace("namespace", text(128)), 0, ""},
		{"namespace beyond", CheckNamespace("namespace", text(129)), Limit, "limit is 128"},
		{"request id at the limit", CheckRequestID("request_id", text(128)), 0, ""},
		{"request id beyond", CheckRequestID("request_id", text(129)), Limit, "limit is 128"},
		{"specification at the limit", CheckSpecName("name", text(256)), 0, ""},
		{"specification beyond", CheckSpecName("name", text(257)), Limit, "limit is 256"},
		{"specification with dots", CheckSpecName("name", "Elixir.Orders.Größe"), 0, ""},
		{"specification with a slash", CheckSpecName("name", "a/b"), Malformed, "file name"},
		{"specification with a backslash", CheckSpecName("name", `a\b`), Malformed, "file name"},
		{"specification hidden", CheckSpecName("name", "..x"), Malformed, "begins with a dot"},
		{"no meta", CheckMeta(nil), 0, ""},
		{"meta at both limits", CheckMeta(meta(64, 8<<10)), 0, ""},
		{"meta with too many keys", CheckMeta(meta(65, 300)), Limit, "65 keys, the limit is 64"},
		{"meta too large", CheckMeta(meta(64, 8<<10+1)), Limit, "8193 bytes, the limit is 8192"},
		{"meta with lines", CheckMeta(map[string]string{"note": "a\nb"}), 0, ""},
		{"meta value not UTF-8", CheckMeta(map[string]string{"note": "\xff"}), Malformed, `meta value of "note"`},
		{"meta key with a line feed", CheckMeta(map[string]string{"a\nb": ""}), Malformed, "meta key"},
		{"meta key empty", CheckMeta(map[string]string{"": "x"}), Malformed, "meta key is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.kind == 0 {
				if tc.err != nil {
					t.Errorf("refused: %v", tc.err)
				}
				return
			}
			var f *FieldError
			if !errors.As(tc.err, &f) {
				t.Fatalf("got %v, want a field error", tc.err)
			}
			if f.Kind != tc.kind || !strings.Contains(f.Error(), tc.want) || f.Hint == "" {
				t.Errorf("got %v: %v, want %v: %s", f.Kind, f, tc.kind, tc.want)
			}
		})
	}
}

func TestFieldErrorShowsLongValuesCut(t *testing.T) {
	err := CheckSpecName("name", "."+strings.Repeat("ä", 100))
	if err == nil || len(err.Error()) > 250 || !strings.Contains(err.Error(), `ä"...`) {
		t.Errorf("got %v", err)
	}
}
