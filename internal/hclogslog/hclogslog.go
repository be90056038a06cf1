// Package hclogslog lets libraries that log through hashicorp/go-hclog or the
// standard log package write to a log/slog Logger that was handed in, so that
// one process has one log with one format and one level.
//
// Levels map one to one; hclog's Trace, which slog does not name, is
// LevelTrace. The slog handler decides what is emitted: SetLevel of the
// returned logger can only raise the threshold further.
package hclogslog

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// LevelTrace is the slog level of hclog's Trace, one step of four below
// slog.LevelDebug.
const LevelTrace = slog.LevelDebug - 4

// nameKey is the attribute that carries the hclog name of a sub-logger.
const nameKey = "component"

// New adapts l to hclog. A nil l discards everything. The result, and every
// logger derived from it, is safe for concurrent use; all of them share one
// SetLevel threshold.
func New(l *slog.Logger) hclog.Logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	min := &atomic.Int32{}
	min.Store(int32(hclog.Trace))
	return &logger{base: l, min: min}
}

// StdLogger returns a standard-library logger that writes each line to l.
// Lines are parsed for the "[LEVEL]" mark that memberlist and other libraries
// put in front; a line without one has level Info. A nil l discards.
func StdLogger(l *slog.Logger) *log.Logger {
	return log.New(&lineWriter{to: New(l), inferLevels: true}, "", 0)
}

// logger implements hclog.Logger. It is immutable but for the shared level.
type logger struct {
	base    *slog.Logger
	name    string
	implied []any
	min     *atomic.Int32
}

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if !l.enabled(level) {
		return
	}
	attrs := make([]slog.Attr, 0, 1+(len(l.implied)+len(args))/2+1)
	if l.name != "" {
		attrs = append(attrs, slog.String(nameKey, l.name))
	}
	attrs = appendAttrs(attrs, l.implied)
	attrs = appendAttrs(attrs, args)
	l.base.LogAttrs(context.Background(), toSlog(level), msg, attrs...)
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool { return l.enabled(hclog.Error) }

func (l *logger) ImpliedArgs() []any { return l.implied }
func (l *logger) Name() string       { return l.name }

func (l *logger) With(args ...any) hclog.Logger {
	sub := *l
	sub.implied = append(append([]any(nil), l.implied...), args...)
	return &sub
}

func (l *logger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

func (l *logger) ResetNamed(name string) hclog.Logger {
	sub := *l
	sub.name = name
	return &sub
}

func (l *logger) SetLevel(level hclog.Level) {
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	l.min.Store(int32(level))
}

func (l *logger) GetLevel() hclog.Level {
	for level := hclog.Trace; level < hclog.Off; level++ {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *logger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

func (l *logger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	w := &lineWriter{to: l}
	if opts != nil {
		w.inferLevels = opts.InferLevels || opts.InferLevelsWithTimestamp
		w.force = opts.ForceLevel
	}
	return w
}

func (l *logger) enabled(level hclog.Level) bool {
	if level >= hclog.Off || int32(level) < l.min.Load() {
		return false
	}
	return l.base.Enabled(context.Background(), toSlog(level))
}

func toSlog(level hclog.Level) slog.Level {
	switch level {
	case hclog.Trace:
		return LevelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default: // Info, NoLevel
		return slog.LevelInfo
	}
}

// appendAttrs turns alternating keys and values into attributes. hclog's own
// value types carry formatting that slog does not know, so they are rendered
// here. An odd last argument is kept under hclog's key for it.
func appendAttrs(attrs []slog.Attr, args []any) []slog.Attr {
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return append(attrs, slog.Any(hclog.MissingKey, render(args[i])))
		}
		key, ok := args[i].(string)
		if !ok {
			key = fmt.Sprint(args[i])
		}
		attrs = append(attrs, slog.Any(key, render(args[i+1])))
	}
	return attrs
}

func render(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return fmt.Sprint(v...)
		}
		return fmt.Sprintf(format, v[1:]...)
	case hclog.Hex:
		return fmt.Sprintf("%#x", int(v))
	case hclog.Octal:
		return fmt.Sprintf("%#o", int(v))
	case hclog.Binary:
		return fmt.Sprintf("%#b", int(v))
	case hclog.Quote:
		return string(v)
	case hclog.CapturedStacktrace:
		return string(v)
	case error:
		return v.Error() // handlers print errors differently; the text is what counts
	}
	return v
}

// lineWriter logs each Write, which the standard logger makes once per line.
type lineWriter struct {
	to          hclog.Logger
	inferLevels bool
	force       hclog.Level
}

func (w *lineWriter) Write(p []byte) (int, error) {
	level, line := hclog.Info, strings.TrimRight(string(p), " \t\r\n")
	if w.inferLevels {
		level, line = splitLevel(line)
	}
	if w.force != hclog.NoLevel {
		level = w.force
	}
	w.to.Log(level, line)
	return len(p), nil
}

// marks are the level prefixes that the libraries write.
var marks = []struct {
	text  string
	level hclog.Level
}{
	{"[TRACE]", hclog.Trace}, {"[DEBUG]", hclog.Debug}, {"[INFO]", hclog.Info},
	{"[WARN]", hclog.Warn}, {"[WARNING]", hclog.Warn},
	{"[ERROR]", hclog.Error}, {"[ERR]", hclog.Error},
}

func splitLevel(line string) (hclog.Level, string) {
	for _, m := range marks {
		if rest, ok := strings.CutPrefix(line, m.text); ok {
			return m.level, strings.TrimLeft(rest, " ")
		}
	}
	return hclog.Info, line
}
