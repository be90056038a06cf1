package cluster

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/spec"
)

// checks sees every committed entry at the moment at which it is committed, and
// keeps a record of its own of what it did.
type checks struct {
	w *world
	// shards and catalog have applied everything that is committed.
	shards  map[uint32]*fsm.Shard
	catalog *fsm.Catalog

	steps    map[fsm.StepRef]*checkedStep
	all      []*checkedStep
	requests map[string]*checkedStep
	runs     map[runKey]*checkedRun
	// versions has the states that an identifier was in, in order.
	versions map[fsm.Key][]checkedVersion
	// logTime is the time of the newest entry.
	logTime map[uint32]int64
	verdict map[string]typesv1.Verdict
	// now is the true time at which the entry was written that is being applied.
	now time.Time
}

type checkedStep struct {
	ref              fsm.StepRef
	shard            uint32
	index            uint64
	from, action, to string
	request          string
	// logged is the time of the entry, and at the true time.
	logged int64
	at     time.Time
	// novel is set when the step awaited a verdict, and judged when it got one.
	novel   bool
	judged  bool
	verdict typesv1.Verdict
	fired   bool
}

type runKey struct {
	key         fsm.Key
	incarnation uint64
}

// checkedRun is one incarnation.
type checkedRun struct {
	last  *checkedStep
	ended bool
}

type checkedVersion struct {
	index            uint64
	live             bool
	incarnation, seq uint64
	state            string
}

func newChecks(w *world) *checks {
	return &checks{
		w: w, shards: map[uint32]*fsm.Shard{}, catalog: fsm.NewCatalog(), steps: map[fsm.StepRef]*checkedStep{}, requests: map[string]*checkedStep{},
		runs: map[runKey]*checkedRun{}, versions: map[fsm.Key][]checkedVersion{}, logTime: map[uint32]int64{}, verdict: map[string]typesv1.Verdict{},
	}
}

func (c *checks) shard(id uint32) *fsm.Shard {
	if c.shards[id] == nil {
		c.shards[id] = fsm.NewShard()
	}
	return c.shards[id]
}

// committed is called for each entry, in the order of each group.
func (w *world) committed(l *abstractLog, index uint64, e logEntry) {
	w.counts["entries"]++
	if e.data == nil {
		w.trace("group %d: %d makes %v vote and %v follow", l.id, index, e.voters, e.nonvoters)
		return
	}
	if l.id == 0 {
		w.check.catalogEntry(index, e)
		return
	}
	w.check.entry(l.id, index, e)
}

func (c *checks) catalogEntry(index uint64, e logEntry) {
	before, _ := c.catalog.Model(simSpec)
	results, err := c.catalog.Apply(index, e.data)
	if m, _ := c.catalog.Model(simSpec); m.Mode != before.Mode && m.Mode == typesv1.ModelMode_MODEL_MODE_SEALED {
		c.w.counts["seals"]++
	}
	entry := &statev1.Entry{}
	if err == nil {
		err = proto.Unmarshal(e.data, entry)
	}
	if err != nil {
		c.w.fail("the catalog cannot apply %d: %v", index, err)
		return
	}
	for i, cmd := range entry.GetCommands() {
		switch u, f := cmd.GetUnplaceReplica(), cmd.GetForgetNode(); {
		case results[i].Err != nil:
		case u != nil:
			c.w.counts["unplaced"]++
			c.unplaced(u.GetShard(), u.GetNode())
		case f != nil:
			for id := uint32(1); id <= c.w.shards; id++ {
				c.unplaced(id, f.GetNode())
			}
		}
	}
}

func (c *checks) entry(shard uint32, index uint64, e logEntry) {
	data := e.data
	c.now = e.at
	results, err := c.shard(shard).Apply(index, data)
	if err != nil {
		c.w.fail("shard %d cannot apply %d: %v", shard, index, err)
		return
	}
	entry := &statev1.Entry{}
	if err := proto.Unmarshal(data, entry); err != nil {
		c.w.fail("decode entry %d: %v", index, err)
		return
	}
	c.logTime[shard] = max(c.logTime[shard], entry.GetTimeUnixNano())
	for i, cmd := range entry.GetCommands() {
		if results[i].Err != nil {
			continue
		}
		switch v := results[i].Value.(type) {
		case *fsm.StepResult:
			request := cmd.GetStep().GetRequestId() + cmd.GetInitInstance().GetRequestId()
			if c.w.breaks == dedupeOff && cmd.GetStep() != nil {
				request = cmd.GetPrincipal()
			}
			if !v.Duplicate {
				c.step(shard, index, request, v)
			}
		case *fsm.VerdictResult:
			c.judged(shard, index, v)
		case *fsm.ModeResult:
			for _, ref := range v.Settled {
				if s := c.steps[ref]; s != nil {
					s.judged, s.verdict = true, typesv1.Verdict_VERDICT_OK
				}
			}
		case *fsm.TimeoutResult:
			if v.Fired {
				c.fired(shard, v.Ref)
			}
		case *fsm.PruneResult:
			if v.Pruned {
				c.pruned(shard, index, v.Ref)
			}
		case *fsm.DeleteResult:
			if v.Deleted && !v.Duplicate {
				c.ended(fsm.KeyOf(cmd.GetDeleteInstance().GetKey()), v.Incarnation, index, "deleted")
			}
		}
	}
}

// step checks that steps are applied once, in the shard that the identifier belongs
// to, in order and without gaps (I2, I3, I9, I10).
func (c *checks) step(shard uint32, index uint64, request string, v *fsm.StepResult) {
	s := &checkedStep{
		ref: v.Ref, shard: shard, index: index, from: v.From, action: v.Action, to: v.State, request: request,
		logged: c.logTime[shard], at: c.now, novel: v.Verdict == typesv1.Verdict_VERDICT_PENDING, verdict: v.Verdict,
	}
	c.w.counts["steps"]++
	if s.novel {
		c.w.counts["novel"]++
	}
	if first := c.requests[request]; first != nil {
		c.w.fail("the request %s was applied as %v and again as %v (I2)", request, first.ref, v.Ref)
	}
	if own := c.catalog.ShardOf(int(ring.SlotOf(v.Ref.Key.Namespace, v.Ref.Key.ID))); own != shard {
		c.w.fail("%v is applied in shard %d and belongs to shard %d (I9)", v.Ref, shard, own)
	}
	if c.steps[v.Ref] != nil {
		c.w.fail("there are two steps %v (I3)", v.Ref)
	}
	c.requests[request], c.steps[v.Ref] = s, s
	c.all = append(c.all, s)
	key := runKey{v.Ref.Key, v.Ref.Incarnation}
	run := c.runs[key]
	switch {
	case run == nil && v.Ref.Seq != 1:
		c.w.fail("the first step of an incarnation is %v (I3)", v.Ref)
	case run == nil:
		run = &checkedRun{}
		c.runs[key] = run
		if all := c.versions[v.Ref.Key]; len(all) > 0 && all[len(all)-1].live {
			c.w.fail("%v begins while another incarnation lives (I3)", v.Ref)
		}
	case run.ended:
		c.w.fail("%v comes after the instance has ended (I10)", v.Ref)
	case v.Ref.Seq != run.last.ref.Seq+1 || v.From != run.last.to:
		c.w.fail("%v from %q comes after %v to %q (I3)", v.Ref, v.From, run.last.ref, run.last.to)
	}
	run.last = s
	c.versions[v.Ref.Key] = append(c.versions[v.Ref.Key], checkedVersion{index: index, live: true, incarnation: v.Ref.Incarnation, seq: v.Ref.Seq, state: v.State})
}

// judged checks that each novel step gets one verdict, and the right one (I7).
func (c *checks) judged(shard uint32, index uint64, v *fsm.VerdictResult) {
	if !v.First {
		return
	}
	c.w.counts["verdicts"]++
	if l := c.w.log(shard); len(l.nonvoters) > 0 || !sameSet(l.voters, c.catalog.Placement(shard).GetReplicas()) {
		c.w.counts["verdicts while replicas move"]++
	}
	s := c.steps[v.Ref]
	switch {
	case s == nil || !s.novel:
		c.w.fail("%v gets a verdict and is no step that awaits one (I7)", v.Ref)
		return
	case s.judged:
		c.w.fail("%v gets a second verdict (I7)", v.Ref)
	}
	s.judged, s.verdict = true, v.Judgement.GetVerdict()
	if want := c.recompute(shard, s, v.Judgement); want != s.verdict {
		c.w.fail("%v at %d is judged %s, and %s by a computation of its own (I6, I7)", v.Ref, index, s.verdict, want)
	}
}

// recompute judges a step from what its verdict names.
func (c *checks) recompute(shard uint32, s *checkedStep, j *typesv1.Judgement) typesv1.Verdict {
	t := model.Transition{From: s.from, Action: s.action, To: s.to}
	if s.ref.Seq == 1 {
		t = model.Init(s.to)
	}
	key := fsm.SpecKey{Namespace: "default", Name: specName, Version: j.GetSpecVersion()}
	cached := fmt.Sprintf("%d/%v/%d/%d/%v", shard, key, j.GetModelVersion(), j.GetPendingVersion(), t)
	if v, ok := c.verdict[cached]; ok {
		return v
	}
	e, ok := c.shard(shard).Evidence(key, j.GetModelVersion(), j.GetPendingVersion())
	if !ok {
		c.w.fail("shard %d does not have the versions that the verdict on %v names", shard, s.ref)
		return 0
	}
	def, err := spec.FromProto(e.Definition)
	if err != nil {
		c.w.fail("the specification on shard %d: %v", shard, err)
		return 0
	}
	v := model.NewChecker(def, e.Model).Judge(t, e.Pending).Verdict
	c.verdict[cached] = v
	return v
}

// clockSlack is how far the clocks of two leaders may be apart: each is at most
// maxClockOffset off the median, and that is at most the skew of good clocks off.
const clockSlack = 2 * (maxClockOffset + goodSkew)

// fired checks that timeouts are neither early nor repeated (I5).
func (c *checks) fired(shard uint32, ref fsm.StepRef) {
	c.w.counts["timeouts"]++
	s, run := c.steps[ref], c.runs[runKey{ref.Key, ref.Incarnation}]
	switch {
	case s == nil:
		c.w.fail("the timeout of %v, which is no step (I5)", ref)
	case s.fired:
		c.w.fail("the timeout of %v is reported twice (I5)", ref)
	case run.ended || run.last != s:
		c.w.fail("the timeout of %v is reported after a later step, or the end (I5)", ref)
	case c.logTime[shard] <= s.logged+int64(specTimeout):
		c.w.fail("the timeout of %v is reported early by the log's time (I5)", ref)
	case !c.w.behind && c.now.Sub(s.at) < specTimeout-clockSlack:
		c.w.fail("the timeout of %v is reported after %v (I5)", ref, c.now.Sub(s.at))
	default:
		s.fired = true
	}
}

func (c *checks) pruned(shard uint32, index uint64, ref fsm.StepRef) {
	c.w.counts["prunes"]++
	s, run := c.steps[ref], c.runs[runKey{ref.Key, ref.Incarnation}]
	switch {
	case s == nil || run.last != s:
		c.w.fail("%v is pruned by a step that is not its last (I10)", ref)
	case c.logTime[shard] <= s.logged+int64(specPrune), !c.w.behind && c.now.Sub(s.at) < specPrune-clockSlack:
		c.w.fail("%v is pruned after %v (I10)", ref, c.now.Sub(s.at))
	}
	c.ended(ref.Key, ref.Incarnation, index, "pruned")
}

func (c *checks) ended(key fsm.Key, incarnation, index uint64, how string) {
	c.w.counts[how]++
	run := c.runs[runKey{key, incarnation}]
	if run == nil || run.ended {
		c.w.fail("%v of %d is %s and does not live (I10)", key, incarnation, how)
		return
	}
	run.ended = true
	c.versions[key] = append(c.versions[key], checkedVersion{index: index})
}

// at returns what an identifier was at an index of its shard.
func (c *checks) at(key fsm.Key, index uint64) (v checkedVersion) {
	for _, next := range c.versions[key] {
		if next.index > index {
			break
		}
		v = next
	}
	return v
}

// since tells whether an identifier was as wanted at some time from an index on.
func (c *checks) since(key fsm.Key, index uint64, want func(checkedVersion) bool) bool {
	return want(c.at(key, index)) || slices.ContainsFunc(c.versions[key], func(v checkedVersion) bool { return v.index > index && want(v) })
}

func absent(v checkedVersion) bool { return !v.live }

func present(v checkedVersion) bool { return v.live }
