//go:build unix

package shard

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

var (
	restartInstances = flag.Int("restart-instances", 4_000, "instances of the restart test, over all groups")
	restartSteps     = flag.Int("restart-steps", 2, "steps of each instance of the restart test")
	restartProfile   = flag.String("restart-profile", "", "prefix of processor profiles of the restart test, none if empty")
	restartGroups    = flag.Int("restart-groups", 16, "groups of the restart test")
	restartLog       = flag.Int("restart-log", 256<<10, "bytes of log behind each snapshot of the restart test")
)

// manyInstances fills a directory with the logs of groups that hold many
// instances, as a node leaves them that has never taken a snapshot.
type manyInstances struct {
	t    testing.TB
	dir  string
	spec *statev1.Payload
	// voters are the nodes of the groups; the node's own id for one alone.
	voters []string
}

func (m *manyInstances) open() *store.Store {
	m.t.Helper()
	st, err := store.Open(m.dir, store.Options{NodeID: "a", ClusterID: "c", OnFatal: func(err error) { m.t.Errorf("store: %v", err) }})
	if err != nil {
		m.t.Fatal(err)
	}
	return st
}

var manySpec = &statev1.SpecKey{Namespace: "default", Name: "order", Version: 1}

func (m *manyInstances) fill(groups, instances, steps int) {
	m.t.Helper()
	st := m.open()
	defer st.Close()
	per := instances / groups
	var work sync.WaitGroup
	for id := range groups {
		g, err := st.Group(uint32(id + 1))
		if err != nil {
			m.t.Fatal(err)
		}
		work.Go(func() { m.fillGroup(g, per, steps) })
	}
	work.Wait()
}

// fillGroup writes the log of one group.
func (m *manyInstances) fillGroup(g *store.Group, instances, steps int) {
	if err := g.Stable().SetUint64([]byte("CurrentTerm"), 1); err != nil {
		m.t.Error(err)
		return
	}
	f := &logFiller{t: m.t, logs: g.Logs(), group: g.ID(), term: 1}
	var conf raft.Configuration
	for _, id := range m.voters {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	f.add(raft.LogConfiguration, raft.EncodeConfiguration(conf))
	f.put(&statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
		Spec: manySpec, Payload: m.spec, Mode: typesv1.ModelMode_MODEL_MODE_LEARNING, ModeRevision: 1}}})
	for n := range instances {
		f.put(&statev1.Command{Principal: "tester", Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{
			Key: f.key(n), Spec: "order", SpecVersion: 1, RequestId: f.request(n, 0)}}})
	}
	for s := range steps {
		for n := range instances {
			f.step(n, s)
		}
	}
	f.flush()
}

// grow appends steps of all instances to the logs of all groups, until each has
// so many bytes behind its snapshot.
func (m *manyInstances) grow(groups, instances, steps, bytes int) {
	m.t.Helper()
	st := m.open()
	defer st.Close()
	for id := range groups {
		g, err := st.Group(uint32(id + 1))
		if err != nil {
			m.t.Fatal(err)
		}
		last, err := g.Logs().LastIndex()
		if err != nil {
			m.t.Fatal(err)
		}
		term, err := g.Stable().GetUint64([]byte("CurrentTerm"))
		if err != nil {
			m.t.Fatal(err)
		}
		f := &logFiller{t: m.t, logs: g.Logs(), group: g.ID(), term: term, index: last}
		for n := 0; f.bytes < bytes; n++ {
			f.step(n%(instances/groups), steps+n/(instances/groups))
		}
		f.flush()
	}
}

// logFiller writes entries of commands to a log.
type logFiller struct {
	t           testing.TB
	logs        raft.LogStore
	group       uint32
	term, index uint64
	batch       [][]byte
	// size is that of the batch, bytes that of all entries.
	size, bytes int
}

func (f *logFiller) add(kind raft.LogType, data []byte) {
	f.index++
	f.bytes += len(data)
	if err := f.logs.StoreLog(&raft.Log{Index: f.index, Term: f.term, Type: kind, Data: data}); err != nil {
		f.t.Error(err)
	}
}

func (f *logFiller) flush() {
	if len(f.batch) > 0 {
		f.add(raft.LogCommand, encodeEntry(fsm.FeatureLevel, int64(f.index+2)*1e6, f.batch))
	}
	f.batch, f.size = nil, 0
}

func (f *logFiller) put(cmd *statev1.Command) {
	data, err := proto.Marshal(cmd)
	if err != nil {
		f.t.Error(err)
		return
	}
	if f.batch = append(f.batch, data); len(f.batch) == MaxEntryCommands || f.size+len(data) > 200<<10 {
		f.flush()
	}
	f.size += len(data)
}

// step is the s-th step of the n-th instance, from 0 on.
func (f *logFiller) step(n, s int) {
	action, state := "ping", "right"
	if s%2 == 1 {
		action, state = "pong", "left"
	}
	f.put(&statev1.Command{Principal: "tester", Kind: &statev1.Command_Step{Step: &statev1.Step{
		Key: f.key(n), Action: action, ToState: state, ExpectedSeq: uint64(s + 2), RequestId: f.request(n, s+1)}}})
}

func (f *logFiller) key(n int) *statev1.Key {
	return &statev1.Key{Namespace: "default", Id: fmt.Sprintf("order-%d-%08d", f.group, n)}
}

func (f *logFiller) request(n, step int) string {
	return fmt.Sprintf("0194f3a0-%04x-7000-8000-%012x", step, n)
}

// start opens all groups, as many at a time as a node does, and waits until
// each of them has applied its log and leads.
func (m *manyInstances) start(st *store.Store, groups int) (open []*Group, machines []*fsm.Shard) {
	m.t.Helper()
	open, machines = make([]*Group, groups), make([]*fsm.Shard, groups)
	var work sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for id := range groups {
		slots <- struct{}{}
		work.Go(func() {
			open[id], machines[id] = m.startGroup(st, uint32(id+1))
			<-slots
		})
	}
	work.Wait()
	if m.t.Failed() {
		m.t.FailNow()
	}
	for _, g := range open {
		if _, err := g.awaitLeader(m.t); err != nil {
			m.t.Fatal(err)
		}
	}
	return open, machines
}

func (m *manyInstances) startGroup(st *store.Store, id uint32) (*Group, *fsm.Shard) {
	g, err := st.Group(id)
	if err != nil {
		m.t.Error(err)
		return nil, nil
	}
	_, trans := raft.NewInmemTransport("a")
	machine := fsm.NewShard()
	group, err := Open(Config{ID: g.ID(), NodeID: "a", Machine: machine, Timing: LAN(), Transport: testTransport{InmemTransport: trans},
		SnapshotBytes: 1 << 40, // none but those that the test takes
		Stores: Stores{Logs: g.Logs(), Stable: g.Stable(), Snapshots: g.Snapshots(), LogSize: func() (int64, uint64) {
			bytes, entries := g.LogBytes()
			return int64(bytes), entries
		}}})
	if err != nil {
		m.t.Error(err)
	}
	return group, machine
}

// awaitLeader waits until this group leads.
func (g *Group) awaitLeader(t testing.TB) (uint64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		changed := g.Changes()
		if term, ok := g.Leading(); ok {
			return term, nil
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// orderPayload is the content of a small specification.
func orderPayload(t testing.TB) *statev1.Payload {
	t.Helper()
	payload, _, err := fsm.NewPayload(&statev1.SpecificationContent{Specification: &typesv1.Specification{Name: "order", InitialState: "left",
		Transitions: []*typesv1.Transition{{From: "left", Action: "ping", To: "right"}, {From: "right", Action: "pong", To: "left"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// cpuTime is what the process has used, which other processes hardly disturb.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Round(time.Millisecond)
}

// profile writes a profile of one phase if asked to.
func profile(t *testing.T, phase string) (stop func()) {
	t.Helper()
	if *restartProfile == "" {
		return func() {}
	}
	f, err := os.Create(*restartProfile + "." + phase)
	if err != nil {
		t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		t.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

// TestRestartWithManyInstances measures how long a node takes from opening its
// storage until all its groups serve, from logs alone, from snapshots, and from
// snapshots with log behind them. How long is in docs/benchmarks.md, of more than is
// worth the time in every run; here the instances are counted.
func TestRestartWithManyInstances(t *testing.T) {
	m := &manyInstances{t: t, dir: t.TempDir(), spec: orderPayload(t), voters: []string{"a"}}
	m.fill(*restartGroups, *restartInstances, *restartSteps)
	for _, from := range []string{"logs", "snapshots", "snapshots and log"} {
		if from == "snapshots and log" {
			m.grow(*restartGroups, *restartInstances, *restartSteps, *restartLog)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stop := profile(t, strings.ReplaceAll(from, " ", "-"))
		cpu, begin := cpuTime(t), time.Now()
		st := m.open()
		groups, machines := m.start(st, *restartGroups)
		took, cpu := time.Since(begin), cpuTime(t)-cpu
		stop()
		runtime.ReadMemStats(&after)
		total := 0
		for _, machine := range machines {
			total += machine.Stats().Instances
		}
		if want := *restartInstances / *restartGroups * *restartGroups; total != want {
			t.Errorf("%d instances, want %d", total, want)
		}
		t.Logf("from %s: %d instances in %d groups serve after %v and %v of processor time, with %d MiB of heap",
			from, total, *restartGroups, took.Round(time.Millisecond), cpu, after.HeapAlloc>>20)
		for _, g := range groups {
			if err := g.Snapshot(context.Background()); err != nil {
				t.Error(err)
			}
			if err := g.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
