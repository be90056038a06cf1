package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// fakeShard is a shard without Raft: what is proposed is applied with the time of
// the bubble, after a moment.
type fakeShard struct {
	t       *testing.T
	machine *fsm.Shard

	mu sync.Mutex // guards the fields below
	// index is the last entry's, and proposed counts the commands of the timers.
	index    uint64
	proposed int
	// down makes proposals fail; skew is how far the leader's clock is off.
	down bool
	skew time.Duration
	// clockIsOff is set while the leader knows that its clock is off.
	clockIsOff atomic.Bool
	// timers are told of what was applied.
	timers []*timers
}

func newFakeShard(t *testing.T) *fakeShard {
	s := &fakeShard{t: t, machine: fsm.NewShard()}
	def := &typesv1.Specification{
		Name: "cycle", InitialState: "a", Transitions: []*typesv1.Transition{{From: "a", Action: "go", To: "a"}},
		TransitionTimeout: durationpb.New(100 * time.Millisecond), PruneTimeout: durationpb.New(6 * time.Hour),
		PrunableStates: &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL},
	}
	content := &statev1.SpecificationContent{Specification: def, Model: &statev1.ModelContent{Version: 1}}
	for _, tr := range []model.Transition{model.Init("a"), {From: "a", Action: "go", To: "a"}} {
		content.Model.Transitions = append(content.Model.Transitions, &statev1.VersionedTransition{
			Version: 1, Transition: &typesv1.Transition{From: tr.From, Action: tr.Action, To: tr.To},
		})
	}
	payload, _, err := fsm.NewPayload(content)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(&statev1.Command{Kind: &statev1.Command_InstallSpecification{InstallSpecification: &statev1.InstallSpecification{
		Spec: &statev1.SpecKey{Namespace: "default", Name: "cycle", Version: 1}, Payload: payload, Mode: typesv1.ModelMode_MODEL_MODE_SEALED, ModeRevision: 1,
	}}})
	return s
}

func (s *fakeShard) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew)
}

func (s *fakeShard) apply(cmds ...*statev1.Command) []fsm.Result {
	data, err := proto.Marshal(&statev1.Entry{FeatureLevel: fsm.FeatureLevel, TimeUnixNano: s.now().UnixNano(), Commands: cmds})
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	results, err := s.machine.Apply(s.index, data)
	if err != nil {
		s.t.Fatal(err)
	}
	if at, ok := s.machine.Soonest(); ok {
		for _, t := range s.timers {
			t.changed(at)
		}
	}
	return results
}

func (s *fakeShard) begin(id string) {
	key := &statev1.Key{Namespace: "default", Id: id}
	res := s.apply(&statev1.Command{Kind: &statev1.Command_InitInstance{InitInstance: &statev1.InitInstance{Key: key, Spec: "cycle", SpecVersion: 1}}})
	if res[0].Err != nil {
		s.t.Fatal(res[0].Err)
	}
}

func (s *fakeShard) step(id string) {
	key := &statev1.Key{Namespace: "default", Id: id}
	s.apply(&statev1.Command{Kind: &statev1.Command_Step{Step: &statev1.Step{Key: key, Action: "go", ToState: "a"}}})
}

func (s *fakeShard) propose(_ context.Context, cmds []*statev1.Command) (effect bool, err error) {
	time.Sleep(time.Millisecond) // the bubble's time: an entry takes a while
	s.mu.Lock()
	down := s.down
	s.proposed += len(cmds)
	s.mu.Unlock()
	if down {
		return false, errors.New("no leader")
	}
	for _, res := range s.apply(cmds...) {
		switch v := res.Value.(type) {
		case *fsm.TimeoutResult:
			effect = effect || v.Fired
		case *fsm.PruneResult:
			effect = effect || v.Pruned
		}
	}
	return effect, nil
}

// lead runs the timers of a leader until the returned function is called.
func (s *fakeShard) lead() (end func()) {
	t := &timers{due: s.machine.Due, now: entryClock(s.machine, s.now), propose: s.propose, failed: func(error) {}, reliable: func() bool { return !s.clockIsOff.Load() }, wake: newWake()}
	s.mu.Lock()
	s.timers = append(s.timers, t)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { t.run(ctx) })
	return func() {
		cancel()
		work.Wait()
	}
}

// events lists what was reported, as id/seq of timeouts and prunes.
func (s *fakeShard) events() []string {
	var list []string
	for _, r := range s.machine.Reports(0, fsm.ReportFilter{Kinds: []typesv1.ReportKind{
		typesv1.ReportKind_REPORT_KIND_TIMEOUT, typesv1.ReportKind_REPORT_KIND_PRUNED,
	}}, 1000).Reports {
		list = append(list, fmt.Sprintf("%s/%d %v", r.GetStep().GetKey().GetId(), r.GetStep().GetSeq(), r.GetKind() == typesv1.ReportKind_REPORT_KIND_PRUNED))
	}
	return list
}

func (s *fakeShard) want(events ...string) {
	s.t.Helper()
	synctest.Wait()
	if got := s.events(); !slices.Equal(got, events) {
		s.t.Fatalf("reported are %q, want %q", got, events)
	}
}

// TestTimersFireInTime: not before the deadline, soon after it, once, and again
// for the next step; the timers sleep in between, whatever happens to instances.
func TestTimersFireInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		defer s.lead()()
		synctest.Wait()
		s.begin("a")
		time.Sleep(100 * time.Millisecond)
		s.want()
		time.Sleep(2 * time.Millisecond)
		s.want("a/1 false")
		time.Sleep(time.Hour)
		s.want("a/1 false")
		s.step("a")
		for range 10 { // each step is in time
			time.Sleep(90 * time.Millisecond)
			s.step("a")
		}
		s.want("a/1 false")
		time.Sleep(102 * time.Millisecond)
		s.want("a/1 false", "a/12 false")
		time.Sleep(6*time.Hour - time.Second)
		s.want("a/1 false", "a/12 false")
		time.Sleep(2 * time.Second)
		s.want("a/1 false", "a/12 false", "a/12 true")
		if s.proposed != 3 {
			t.Fatalf("%d commands were proposed for 3 events", s.proposed)
		}
	})
}

// TestTimersOfALaterLeader: what passed while nobody led is due at once, and a
// leader that does not know that it was replaced repeats nothing.
func TestTimersOfALaterLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		end := s.lead()
		s.begin("a")
		time.Sleep(50 * time.Millisecond)
		end()
		s.begin("b")
		time.Sleep(time.Minute)
		s.want()
		defer s.lead()()
		time.Sleep(2 * time.Millisecond)
		s.want("a/1 false", "b/1 false")
		s.begin("c")
		defer s.lead()() // two at the same time propose the same
		time.Sleep(time.Second)
		s.want("a/1 false", "b/1 false", "c/1 false")
	})
}

// TestTimersTryAgain: a proposal that failed is made again, without haste.
func TestTimersTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		s.down = true
		defer s.lead()()
		s.begin("a")
		time.Sleep(10 * time.Second)
		s.want()
		s.mu.Lock()
		tries := s.proposed
		s.down = false
		s.mu.Unlock()
		if tries < 5 || tries > 12 {
			t.Fatalf("%d tries in 10 seconds", tries)
		}
		time.Sleep(2 * time.Second)
		s.want("a/1 false")
	})
}

// TestTimersFollowTheClock: the clock is set forward while the timers sleep, and
// back: then nothing is in a hurry, and log time does not run backwards.
func TestTimersFollowTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		defer s.lead()()
		s.begin("a")
		time.Sleep(time.Minute)
		s.want("a/1 false")
		s.mu.Lock()
		s.skew = 7 * time.Hour
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		s.want("a/1 false", "a/1 true")
		s.begin("b")
		s.mu.Lock()
		s.skew = 0
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.want("a/1 false", "a/1 true")
		if s.proposed > 5 {
			t.Fatalf("%d commands were proposed while the clock was behind", s.proposed)
		}
		s.mu.Lock()
		s.skew = 7*time.Hour + time.Second
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		s.want("a/1 false", "a/1 true", "b/1 false")
	})
}

// TestTimersInBatches: more than a batch is due at the same time.
func TestTimersInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		for i := range 3*timerBatch + 1 {
			s.begin(fmt.Sprintf("i%04d", i))
		}
		time.Sleep(time.Second)
		defer s.lead()()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if got := len(s.events()); got != 3*timerBatch+1 || s.proposed != got {
			t.Fatalf("%d events of %d commands", got, s.proposed)
		}
	})
}

// A leader that knows its clock to be off proposes nothing, and makes up for it
// when the clock is right again.
func TestTimersOfAClockThatIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeShard(t)
		s.clockIsOff.Store(true)
		end := s.lead()
		defer end()
		s.begin("i")
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.proposed != 0 {
			t.Errorf("%d commands were proposed by a clock that is off", s.proposed)
		}
		s.clockIsOff.Store(false)
		time.Sleep(2 * timerCheck)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.proposed != 1 {
			t.Errorf("%d commands were proposed after it was mended, want one", s.proposed)
		}
	})
}
