//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/failpoint"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// clockLimit is how far a clock may be off before its node says so.
	clockLimit = 5 * time.Second
	// clockError is by how much a node may misjudge its clock: half of what an
	// answer may take, and what the clock went on since.
	clockError = 700 * time.Millisecond
	// clockHold is how long a wrong clock is watched once it has been noticed; the
	// timers of a leader look every second.
	clockHold = 4 * time.Second
	// clockNotice is how long everything may take that has to come by itself.
	clockNotice = 20 * time.Second
)

// hourly has instances that are over in an hour, and not before.
const hourly = `name: hourly
transitions:
  - {from: left, action: ping, to: right}
  - {from: right, action: pong, to: left}
transition_timeout: 1h
timeout_in_terminal_states: true
prune_timeout: 1h
prunable_states: all
`

// wrongClock is a way for clocks to be wrong.
type wrongClock struct {
	name, what string
	// setting is what the clock is set to, and by how far that is off at first.
	setting string
	off     time.Duration
	short   bool
	run     func(r *clockRound)
}

// wrongClocks are the rows of the table in docs/failure-modes.md.
var wrongClocks = []wrongClock{
	{"clock-of-leader-forward", "the clock of the leading node is set forward by two hours", "+2h", 2 * time.Hour, true, (*clockRound).ofLeader},
	{"clock-of-leader-back", "the clock of the leading node is set back by 30 s", "-30s", -30 * time.Second, false, (*clockRound).ofLeader},
	{"clock-of-follower-forward", "the clock of a follower is set forward by two hours", "+2h", 2 * time.Hour, false, (*clockRound).ofFollower},
	{"clock-drifts", "the clock of the leading node is 4.7 s ahead and gains 1 %", "+4.7s drift 1.01", 4700 * time.Millisecond, false, (*clockRound).drifts},
	{"clocks-together-back", "all clocks are set back by 15 s", "-15s", -15 * time.Second, false, (*clockRound).togetherBack},
	{"clocks-together-forward", "all clocks are set forward by two hours", "+2h", 2 * time.Hour, false, (*clockRound).togetherForward},
}

// TestWrongClocks sets the clocks of real processes under load. What is promised of
// each fault is asserted, and the longest time without a write is measured.
func TestWrongClocks(t *testing.T) {
	n := roundsOr(t, 1)
	for _, f := range wrongClocks {
		t.Run(f.name, func(t *testing.T) {
			if !f.short {
				long(t)
			}
			for i := range n {
				newClockRound(t, f, uint64(i+1)).all()
			}
		})
	}
}

// TestOrdinaryBuildHasNoClockToSet: what a test does to a process from outside is
// not in a build without the tag.
func TestOrdinaryBuildHasNoClockToSet(t *testing.T) {
	path, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	wantOnlyIn(t, path, failpoint.EnvClock, failpoint.EnvPoints, "newWallClock", "withDate")
}

// clockRound is a cluster of one shard whose clocks a test sets.
type clockRound struct {
	*arena
	fault wrongClock
	// victim is the node whose clock is wrong; nil when all are.
	victim *node
	files  map[*node]string
	probe  *probes
	load   *chaosLoad
	// timed has instances that are over at once, and hours those that have an hour.
	timed *timers
	hours []string
	begin time.Time
	// set is when the clock was set.
	set time.Time
}

func newClockRound(t *testing.T, f wrongClock, seed uint64) *clockRound {
	t.Helper()
	path, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	s := newServers(t, 3, "--shards", "1")
	r := &clockRound{arena: &arena{servers: s}, fault: f, files: map[*node]string{}, begin: time.Now()}
	for _, nd := range s.nodes {
		r.files[nd] = filepath.Join(s.dir, nd.name+".clock")
		r.turn("0s", nd)
		nd.binary, nd.env = path, []string{failpoint.EnvClock + "=" + r.files[nd]}
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, 60*time.Second)
	}
	r.admin = r.connect(s.nodes...)
	applyText(t, s, chaosSpec)
	applyText(t, s, hourly)
	r.probe = startProbes(r.arena, "probe", 1)
	r.load = startChaosLoad(r.arena, seed)
	r.timed = startTimers(r.arena)
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	for i := range 3 {
		r.hours = append(r.hours, fmt.Sprintf("hourly-%d", i))
		if _, err := r.admin.Init(ctx, "hourly", r.hours[i]); err != nil {
			t.Fatal(err)
		}
	}
	r.probe.await(t, time.Now(), recovery, "before any fault")
	return r
}

func (r *clockRound) note(format string, args ...any) {
	r.t.Helper()
	r.t.Logf("%6.2fs "+format, append([]any{time.Since(r.begin).Seconds()}, args...)...)
}

// turn sets the clocks of nodes.
func (r *clockRound) turn(setting string, nodes ...*node) {
	r.t.Helper()
	for _, nd := range nodes {
		next := r.files[nd] + ".next"
		if err := errors.Join(os.WriteFile(next, []byte(setting), 0o644), os.Rename(next, r.files[nd])); err != nil {
			r.t.Fatal(err)
		}
	}
}

// all is one fault from its beginning to the last check.
func (r *clockRound) all() {
	t := r.t
	t.Helper()
	r.fault.run(r)
	if r.victim != nil {
		r.turn("0s", r.victim)
	}
	r.probe.over(t, fault{name: r.fault.name, what: r.fault.what}, r.set)
	r.eventually("no alarm is left", func() (bool, string) { return r.calm(nil) })
	// What waited for the clock, and what begins now, is over in time.
	r.timed.add(t, 3)
	r.timed.check(t)
	r.check()
}

// check looks for everything that holds whatever the clocks say.
func (r *clockRound) check() {
	t := r.t
	t.Helper()
	r.load.end()
	r.probe.end()
	r.awaitAgreement(60 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	acked := r.probe.check(ctx, t)
	v := r.load.check(t, 60*time.Second)
	r.note("%d writes of the probe, and %+v", acked, v.Counts)
	if v.Counts.Operations < 100 || acked < 50 {
		t.Errorf("%d operations and %d writes: the test says nothing", v.Counts.Operations, acked)
	}
	r.checkAlive()
	for _, nd := range r.nodes {
		text, err := os.ReadFile(filepath.Join(r.dir, nd.name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"panic:", "fatal error:", "halted", "the clock goes on as it is"} {
			if i := bytes.Index(text, []byte(bad)); i >= 0 {
				t.Errorf("%s: %q", nd.name, text[i:min(len(text), i+400)])
			}
		}
	}
	r.timed.end()
	if !t.Failed() {
		r.cleanup()
	}
}

// ofLeader: the clock of the node that leads the shard is wrong. It says so, stamps
// nothing with it, and reports nothing as over.
func (r *clockRound) ofLeader() {
	r.victim = r.leading()[0]
	r.wrong()
	r.awaitAlarm()
	r.leaderWaits()
}

// ofFollower: nothing changes but for the alarm.
func (r *clockRound) ofFollower() {
	r.victim = r.leading()[2]
	r.wrong()
	r.awaitAlarm()
	r.timed.add(r.t, 3)
	r.eventually("what is over is reported, if the leader's clock is right", func() (bool, string) {
		return r.reported() == len(r.timed.want), fmt.Sprint(r.reported(), " reports")
	})
	r.stamps()
	r.hoursLast()
}

// drifts: a clock that loses or gains little by little is trusted until it is too
// far off.
func (r *clockRound) drifts() {
	r.victim = r.leading()[0]
	r.wrong()
	truth := func() time.Duration { return r.fault.off + time.Since(r.set)/100 }
	r.eventually("the node knows how far its clock is off", func() (bool, string) {
		offset, _ := r.clockOf(r.victim)
		return (offset - truth()).Abs() < clockError, offset.String()
	})
	for quiet := 0; ; wait(100 * time.Millisecond) {
		offset, alarm := r.clockOf(r.victim)
		if is := truth(); (offset - is).Abs() > clockError {
			r.t.Fatalf("the clock is %s ahead, the node says %s", is, offset)
		} else if alarm == "" && is > clockLimit+clockError {
			r.t.Fatalf("the clock is %s ahead and there is no alarm", is)
		}
		if alarm != "" {
			if quiet == 0 {
				r.t.Fatalf("there was an alarm from the beginning: %s", alarm)
			}
			r.note("alarm %s after a drift of 1 %% began, at %s", time.Since(r.set).Round(time.Millisecond), offset)
			break
		}
		quiet++
	}
	r.leaderWaits()
}

// togetherBack: all clocks are set back. The time of the log stands still until it
// is reached again; then what waited is over.
func (r *clockRound) togetherBack() {
	r.wrong()
	r.timed.add(r.t, 3)
	before := r.reported()
	for back := -r.fault.off; time.Since(r.set) < back-time.Second; wait(50 * time.Millisecond) {
		if n := r.reported(); n != before {
			r.t.Fatalf("%d reports %s after the clocks were set back by %s", n-before, time.Since(r.set), back)
		}
	}
	r.eventually("what waited for the time is reported", func() (bool, string) {
		return r.reported() == len(r.timed.want), fmt.Sprint(r.reported(), " reports")
	})
	r.hoursLast()
}

// togetherForward: all clocks go on by two hours, and the cluster with them.
func (r *clockRound) togetherForward() {
	r.wrong()
	r.timed.add(r.t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	r.eventually("what has an hour is over", func() (bool, string) {
		for _, id := range r.hours {
			if _, err := r.admin.Get(ctx, id); !errors.Is(err, client.ErrInstanceNotFound) {
				return false, fmt.Sprintf("%s: %v", id, err)
			}
		}
		return true, ""
	})
	r.hours = []string{"hourly-new"}
	if _, err := r.admin.Init(ctx, "hourly", r.hours[0]); err != nil {
		r.t.Fatal(err)
	}
	r.stamps()
	r.hoursLast()
}

// wrong sets the clock of the victim, or all, to what the fault says.
func (r *clockRound) wrong() {
	nodes := r.nodes
	if r.victim != nil {
		nodes = []*node{r.victim}
	}
	r.set = time.Now()
	r.turn(r.fault.setting, nodes...)
}

// clockOf is what the cluster's status says of a node's clock.
func (r *clockRound) clockOf(nd *node) (offset time.Duration, alarm string) {
	for _, n := range r.look().GetNodes() {
		if r.byID(n.GetId()) == nd {
			return n.GetClockOffset().AsDuration(), clockAlarm(n)
		}
	}
	r.t.Fatalf("the status does not have %s", nd.name)
	return 0, ""
}

func clockAlarm(n *spexv1.NodeStatus) string {
	for _, alarm := range n.GetAlarms() {
		if strings.Contains(alarm, "clock") {
			return alarm
		}
	}
	return ""
}

// calm reports whether no node but one has an alarm.
func (r *clockRound) calm(but *node) (bool, string) {
	for _, n := range r.look().GetNodes() {
		if alarm := clockAlarm(n); alarm != "" && r.byID(n.GetId()) != but {
			return false, n.GetName() + ": " + alarm
		}
	}
	return true, ""
}

// awaitAlarm wants the victim, and nobody else, to say how its clock is off.
func (r *clockRound) awaitAlarm() {
	r.t.Helper()
	want := "ahead of the median"
	if r.fault.off < 0 {
		want = "behind the median"
	}
	r.eventually("the alarm", func() (bool, string) {
		offset, alarm := r.clockOf(r.victim)
		return strings.Contains(alarm, want) && (offset-r.fault.off).Abs() < clockError, fmt.Sprintf("%s, %q", offset, alarm)
	})
	r.note("alarm %s after the clock was set", time.Since(r.set).Round(time.Millisecond))
	if ok, alarm := r.calm(r.victim); !ok {
		r.t.Errorf("the clock of %s is wrong, and there is an alarm of %s", r.victim.name, alarm)
	}
}

// leaderWaits: as long as the victim leads, nothing is over, whatever its clock
// says; what it stamps has the right time. On a slow machine it may lose the lead:
// then it gets it back, and all counts from there.
func (r *clockRound) leaderWaits() {
	t := r.t
	t.Helper()
	for turn := 0; ; turn++ {
		if turn == 10 {
			t.Fatalf("%s does not go on leading: nothing is known of what it would do", r.victim.name)
		}
		term := r.leadAgain()
		before := r.reported()
		r.timed.add(t, 3)
		r.stamps()
		wait(clockHold)
		reports := r.reported() - before
		sh := r.look().GetShards()[0]
		if sh.GetTerm() != term || r.byID(sh.GetLeader()) != r.victim {
			continue
		}
		if reports != 0 {
			t.Errorf("%s reported %d timeouts and prunes by a clock that is wrong", r.victim.name, reports)
		}
		break
	}
	r.hoursLast()
	r.probe.await(t, time.Now(), recovery, r.fault.name+" lasts")
}

// leadAgain has the victim lead the shard, and returns the term.
func (r *clockRound) leadAgain() (term uint64) {
	r.t.Helper()
	r.eventually(r.victim.name+" to lead", func() (bool, string) {
		sh := r.look().GetShards()[0]
		if term = sh.GetTerm(); sh.GetLeader() != "" && r.byID(sh.GetLeader()) == r.victim {
			return true, ""
		}
		res := r.servers.begin("cluster", "transfer", "1", r.victim.name).wait()
		return false, res.stderr
	})
	return term
}

// reported is how many of the timeouts and prunes that are due were told.
func (r *clockRound) reported() int {
	r.timed.mu.Lock()
	defer r.timed.mu.Unlock()
	return len(r.timed.seen)
}

// stamps: what is written now has the time that it is, by the clocks that are right;
// a clock that is trusted may be off by the limit.
func (r *clockRound) stamps() {
	t := r.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	id := r.hours[0]
	got, err := r.admin.Get(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	action, to := "ping", "right"
	if got.GetInstance().GetState() == "right" {
		action, to = "pong", "left"
	}
	if _, err := r.admin.Transition(ctx, id, action, to); err != nil {
		t.Fatal(err)
	}
	if got, err = r.admin.Get(ctx, id); err != nil {
		t.Fatal(err)
	}
	right := time.Now()
	if r.victim == nil {
		right = right.Add(r.fault.off)
	}
	if d := got.GetInstance().GetUpdatedAt().AsTime().Sub(right); d.Abs() > clockLimit+clockError {
		t.Errorf("a step is stamped %s away from the time", d)
	}
}

// hoursLast: what has an hour is there, and has not timed out.
func (r *clockRound) hoursLast() {
	t := r.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	for _, id := range r.hours {
		if got, err := r.admin.Get(ctx, id); err != nil || got.GetInstance().GetTimedOut() {
			t.Errorf("%s has an hour, and it is over at once: %v, %v", id, got, err)
		}
	}
}

// eventually waits until something is so, which says what it is instead.
func (r *clockRound) eventually(what string, is func() (bool, string)) {
	r.t.Helper()
	for deadline := time.Now().Add(clockNotice); ; wait(50 * time.Millisecond) {
		ok, found := is()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %s: not after %s: %s", r.fault.name, what, clockNotice, found)
		}
	}
}
