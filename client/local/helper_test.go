package local

import (
	"errors"
	"log/slog"
	"sync/atomic"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// failing is a storage whose disk breaks.
type failing struct {
	memory
	broken atomic.Bool
}

func (f *failing) append(uint64, target, []byte, bool) error {
	if f.broken.Load() {
		return errors.New("no space left on device")
	}
	return nil
}
