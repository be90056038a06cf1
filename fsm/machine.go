package fsm

import (
	"fmt"
	"math"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// FeatureLevel is the newest level of entries that this build can apply. A
// leader proposes nothing above the level that the catalog allows.
const FeatureLevel = 1

// maxTime bounds the clock of a machine, so that adding any of its durations to
// a time cannot overflow.
const maxTime = math.MaxInt64 / 2

// machine is what the shard machine and the catalog machine have in common.
type machine struct {
	// mu guards every field of the embedding machine. Apply and Restore hold
	// it for writing; Snapshot too, for an instant, since pinning a
	// copy-on-write tree touches its root.
	mu sync.RWMutex

	// applied is the log index of the last entry; it only grows.
	applied uint64
	// now is the time of the last entry in Unix nanoseconds; it never decreases.
	now int64
	// ledTerm is the newest term whose Lead command was applied.
	ledTerm uint64
	stage   stage
}

// handlers is what applyEntry needs of the embedding machine.
type handlers struct {
	// supports says which commands belong to the machine, beside those that
	// every machine has.
	supports func(*statev1.Command) bool
	// begin, if any, is called once an entry was accepted, before its commands.
	begin func(commands int)
	apply func(*statev1.Command) Result
}

// Applied returns the log index of the last applied entry.
func (m *machine) Applied() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied
}

// Time returns the time of the last applied entry, which is the clock of
// everything that the machine decides.
func (m *machine) Time() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return time.Unix(0, m.now)
}

// LedTerm returns the newest term whose leader has applied its Lead command.
func (m *machine) LedTerm() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ledTerm
}

// applyEntry decodes the data of a log entry, refuses it whole if any part of it is
// beyond this build, and applies its commands one by one. An error means that
// the entry changed nothing and that the replica must not go on: skipping the
// entry would make it diverge.
func (m *machine) applyEntry(index uint64, data []byte, h handlers) ([]Result, error) {
	entry, err := decodeEntry(data, h.supports)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.applied {
		return nil, fmt.Errorf("entry %d comes after entry %d was applied", index, m.applied)
	}
	now := max(m.now, min(entry.GetTimeUnixNano(), maxTime))
	if err := m.stage.foresee(entry.GetCommands(), now); err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	m.applied, m.now = index, now
	m.stage.expire(now)
	if h.begin != nil {
		h.begin(len(entry.GetCommands()))
	}
	results := make([]Result, len(entry.GetCommands()))
	for i, cmd := range entry.GetCommands() {
		switch kind := cmd.GetKind().(type) {
		case *statev1.Command_Lead:
			m.ledTerm = max(m.ledTerm, kind.Lead.GetTerm())
		case *statev1.Command_StageChunk:
			results[i] = m.stage.add(kind.StageChunk, m.now)
		default:
			results[i] = h.apply(cmd)
		}
	}
	return results, nil
}

// decodeEntry reads an entry and checks that every command in it is one that
// this build knows in full.
func decodeEntry(data []byte, supports func(*statev1.Command) bool) (*statev1.Entry, error) {
	entry := &statev1.Entry{}
	if err := proto.Unmarshal(data, entry); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if level := entry.GetFeatureLevel(); level > FeatureLevel {
		return nil, fmt.Errorf("feature level %d is newer than this build's %d: upgrade the node", level, FeatureLevel)
	}
	if len(entry.ProtoReflect().GetUnknown()) > 0 {
		return nil, fmt.Errorf("the entry has fields that this build does not know: upgrade the node")
	}
	for i, cmd := range entry.GetCommands() {
		if cmd.GetKind() == nil {
			return nil, fmt.Errorf("command %d is of a kind that this build does not know: upgrade the node", i)
		}
		if what := unknownIn(cmd.ProtoReflect()); what != "" {
			return nil, fmt.Errorf("command %d (%T) has %s that this build does not know: upgrade the node", i, cmd.GetKind(), what)
		}
		switch cmd.GetKind().(type) {
		case *statev1.Command_Lead, *statev1.Command_StageChunk:
		default:
			if !supports(cmd) {
				return nil, fmt.Errorf("command %d (%T) does not belong to this kind of group", i, cmd.GetKind())
			}
		}
	}
	return entry, nil
}

// refuse makes the result of a command that changed nothing.
func refuse(reason typesv1.Reason, format string, args ...any) Result {
	return Result{Err: Errorf(reason, format, args...)}
}
