package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestMain looks for goroutines that were left behind. The two that it knows are those
// that Raft itself leaves behind in TestRaft696TransferCutOffByTheEndOfTheTerm.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).leadershipTransfer"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).leaderLoop.func2"))
}

// put is the command that appends a value to the list of a listMachine.
func put(value string) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_Step{Step: &statev1.Step{Key: &statev1.Key{Id: value}}}}
}

// listState is the replicated state of a listMachine.
type listState struct {
	Index  uint64
	Time   int64
	Values []string
	Leads  []leadRecord
}

type leadRecord struct {
	Term uint64
	Node string
	// After is how many values there were before.
	After int
}

// listMachine is a Machine whose state is a list of values. The value of a
// result is the list's length after the put. Its public fields are set before
// it is used.
type listMachine struct {
	// poison makes Apply fail at this value, and panics at "panic:" + poison.
	poison string

	mu         sync.Mutex // guards the fields below
	state      listState
	gate       chan struct{}
	entries    int
	restores   int
	failing    error
	shortCount bool
}

func (m *listMachine) Apply(index uint64, data []byte) ([]fsm.Result, error) {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		<-gate
	}
	var entry statev1.Entry
	if err := proto.Unmarshal(data, &entry); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([]fsm.Result, 0, len(entry.Commands))
	for _, cmd := range entry.Commands {
		switch kind := cmd.Kind.(type) {
		case *statev1.Command_Lead:
			m.state.Leads = append(m.state.Leads, leadRecord{kind.Lead.Term, kind.Lead.NodeId, len(m.state.Values)})
			results = append(results, fsm.Result{})
		case *statev1.Command_Step:
			result, err := m.put(kind.Step.Key.Id)
			if err != nil {
				return nil, err
			}
			results = append(results, result)
		case *statev1.Command_StageChunk:
			results = append(results, fsm.Result{Value: len(kind.StageChunk.Data)})
		default:
			return nil, fmt.Errorf("unknown command %T", kind)
		}
	}
	m.entries++
	m.state.Index = index
	m.state.Time = max(m.state.Time, entry.TimeUnixNano)
	if m.shortCount && len(results) > 0 {
		results = results[1:]
	}
	return results, nil
}

func (m *listMachine) put(value string) (fsm.Result, error) {
	if m.poison != "" {
		switch value {
		case m.poison:
			return fsm.Result{}, errors.New("cannot apply " + value)
		case "panic:" + m.poison:
			panic("cannot apply " + value)
		}
	}
	if strings.HasPrefix(value, "refuse") {
		return fsm.Result{Err: fsm.Errorf(typesv1.Reason_REASON_SEQUENCE_MISMATCH, "refused")}, nil
	}
	m.state.Values = append(m.state.Values, value)
	return fsm.Result{Value: len(m.state.Values)}, nil
}

func (m *listMachine) Snapshot() fsm.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Values = slices.Clone(s.Values)
	s.Leads = slices.Clone(s.Leads)
	return listSnapshot{s}
}

func (m *listMachine) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	var state listState
	if err := json.NewDecoder(r).Decode(&state); err != nil {
		return err
	}
	m.state = state
	m.restores++
	return nil
}

func (m *listMachine) Applied() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Index
}

// hold makes Apply wait until the returned function is called.
func (m *listMachine) hold() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gate := make(chan struct{})
	m.gate = gate
	return func() {
		m.mu.Lock()
		m.gate = nil
		m.mu.Unlock()
		close(gate)
	}
}

func (m *listMachine) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state.Values)
}

func (m *listMachine) leads() []leadRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state.Leads)
}

func (m *listMachine) entryCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries
}

func (m *listMachine) restoreCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restores
}

func (m *listMachine) failRestores(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

type listSnapshot struct{ state listState }

func (s listSnapshot) Index() uint64 { return s.state.Index }

func (s listSnapshot) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(s.state); err != nil {
		return 0, err
	}
	return b.WriteTo(w)
}

func (s listSnapshot) Release() {}
