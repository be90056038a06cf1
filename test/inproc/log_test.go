package inproc

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"

	"github.com/spexio/spex/transport"
)

// recorder keeps what nodes log.
type recorder struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func newRecorder() *recorder { return &recorder{} }

// configure makes a node log here.
func (r *recorder) configure(_ int, cfg *transport.ServerConfig) {
	cfg.Logger = slog.New(slog.NewTextHandler(r, nil))
}

// Write implements io.Writer for slog.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) has(text string) bool { return strings.Contains(r.text(), text) }

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// level returns the lines of a level.
func (r *recorder) level(level string) []string {
	var list []string
	for line := range strings.Lines(r.text()) {
		if strings.Contains(line, "level="+level) {
			list = append(list, line)
		}
	}
	return list
}
