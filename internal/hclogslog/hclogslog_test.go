package hclogslog

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func capture(level slog.Level) (*slog.Logger, *bytes.Buffer) {
	var buf bytes.Buffer
	h := slog.NewTextHandler(&buf, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return slog.New(h), &buf
}

func TestLinesCarryLevelNameAndArguments(t *testing.T) {
	rows := []struct {
		name string
		log  func(hclog.Logger)
		want string
	}{
		{"trace", func(l hclog.Logger) { l.Trace("m") }, "level=DEBUG-4 msg=m\n"},
		{"debug", func(l hclog.Logger) { l.Debug("m", "k", 1) }, "level=DEBUG msg=m k=1\n"},
		{"warn named", func(l hclog.Logger) { l.Named("raft").Named("snap").Warn("m") }, "level=WARN msg=m component=raft.snap\n"},
		{"reset name", func(l hclog.Logger) { l.Named("raft").ResetNamed("x").Info("m") }, "level=INFO msg=m component=x\n"},
		{"with", func(l hclog.Logger) { l.With("a", 1).With("b", 2).Error("m", "c", 3) }, "level=ERROR msg=m a=1 b=2 c=3\n"},
		{"error value", func(l hclog.Logger) { l.Error("m", "error", errors.New("boom")) }, "level=ERROR msg=m error=boom\n"},
		{"format", func(l hclog.Logger) { l.Info("m", "s", hclog.Fmt("%d / %d", 1, 2)) }, "level=INFO msg=m s=\"1 / 2\"\n"},
		{"hex", func(l hclog.Logger) { l.Info("m", "s", hclog.Hex(255)) }, "level=INFO msg=m s=0xff\n"},
		{"odd argument", func(l hclog.Logger) { l.Info("m", "lonely") }, "level=INFO msg=m EXTRA_VALUE_AT_END=lonely\n"},
		{"key is no string", func(l hclog.Logger) { l.Info("m", 7, "v") }, "level=INFO msg=m 7=v\n"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			base, buf := capture(LevelTrace)
			r.log(New(base))
			if got := buf.String(); got != r.want {
				t.Fatalf("got %q, want %q", got, r.want)
			}
		})
	}
}

func TestLevelIsTheHigherOfHandlerAndSetLevel(t *testing.T) {
	base, buf := capture(slog.LevelInfo)
	l := New(base)
	if l.IsDebug() || !l.IsInfo() || l.GetLevel() != hclog.Info {
		t.Fatalf("handler at Info: debug=%v info=%v level=%v", l.IsDebug(), l.IsInfo(), l.GetLevel())
	}
	sub := l.Named("x")
	l.SetLevel(hclog.Error)
	if sub.IsWarn() || !sub.IsError() {
		t.Fatal("SetLevel does not reach derived loggers")
	}
	sub.Warn("hidden")
	if buf.Len() != 0 {
		t.Fatalf("logged below the threshold: %q", buf)
	}
	l.SetLevel(hclog.Off)
	if l.IsError() || l.GetLevel() != hclog.Off {
		t.Fatal("Off does not silence the logger")
	}
}

func TestWithDoesNotShareItsArguments(t *testing.T) {
	base, buf := capture(slog.LevelInfo)
	parent := New(base).With("a", 1)
	left, right := parent.With("side", "left"), parent.With("side", "right")
	left.Info("m")
	right.Info("m")
	if got := buf.String(); !strings.Contains(got, "side=left") || !strings.Contains(got, "side=right") {
		t.Fatalf("siblings overwrote each other: %q", got)
	}
}

func TestStdLoggerReadsTheLevelMark(t *testing.T) {
	base, buf := capture(slog.LevelDebug)
	std := StdLogger(base)
	std.Printf("[ERR] memberlist: failed: %v", errors.New("x"))
	std.Print("[DEBUG] memberlist: hello")
	std.Print("plain")
	want := "level=ERROR msg=\"memberlist: failed: x\"\nlevel=DEBUG msg=\"memberlist: hello\"\nlevel=INFO msg=plain\n"
	if buf.String() != want {
		t.Fatalf("got %q, want %q", buf, want)
	}
}

func TestNilLoggerDiscards(t *testing.T) {
	l := New(nil)
	l.Error("nobody hears this")
	if l.IsError() {
		t.Fatal("a nil logger claims to be enabled")
	}
	StdLogger(nil).Print("nor this")
}
