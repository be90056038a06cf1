package local

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
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

// timedIDs makes request ids of the time that the test is at: those of the
// library never go back to it after another test has made some.
func timedIDs() string {
	id := uuid.New()
	ms := time.Now().UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6] = id[6]&0x0f | 0x70
	return id.String()
}
