package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	specName = "cycle"
	// specTimeout is more than clockSlack, so that early is told from skewed.
	specTimeout, specPrune = 30 * time.Second, 100 * time.Second
)

// simSpec is the version of the specification that everybody works with.
var simSpec = fsm.SpecKey{Namespace: "default", Name: specName, Version: 1}

// clients ask nodes for things, again with the same request id when they do not
// know what became of it, and compare the answers with what was committed.
type clients struct {
	w    *world
	keys []fsm.Key
	// open are writes without a definite answer, and done those with one.
	open, done []*write
	number     uint64
	// floor is the newest index of a shard that an answer told.
	floor map[uint32]uint64
}

// write is one request of a client.
type write struct {
	key     fsm.Key
	request string
	what    string
	// expects is the number of the step that is asked for; 0 stands for any.
	expects uint64
	call    func(ctx context.Context, n *Node) (*answer, error)
	// answer is the first one.
	answer *answer
	// refused is set when the request was answered with a refusal, and unsure when
	// an attempt had no definite answer.
	refused, unsure bool
	// sent counts the attempts under way.
	sent int
}

// answer is what a write was answered.
type answer struct {
	step    *spexv1.StepResponse
	deleted *spexv1.DeleteInstanceResponse
}

func newClients(w *world) *clients {
	c := &clients{w: w, floor: map[uint32]uint64{}}
	for i := range 6 {
		c.keys = append(c.keys, fsm.Key{Namespace: "default", ID: fmt.Sprintf("order-%d", i)})
	}
	return c
}

// specification is s0 -a-> s1 -b-> s2 -c-> s0.
func (c *clients) specification() *typesv1.Specification {
	return &typesv1.Specification{
		Name: specName, InitialState: "s0", Transitions: []*typesv1.Transition{
			{From: "s0", Action: "a", To: "s1"}, {From: "s1", Action: "b", To: "s2"}, {From: "s2", Action: "c", To: "s0"},
		},
		TransitionTimeout: durationpb.New(specTimeout), PruneTimeout: durationpb.New(specPrune), TimeoutInTerminalStates: true,
		PrunableStates: &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL}, OnMissingModel: typesv1.OnMissingModel_ON_MISSING_MODEL_LEARN,
	}
}

// requestID makes a UUIDv7 of the present time.
func (c *clients) requestID() string {
	var u uuid.UUID
	c.number++
	binary.BigEndian.PutUint64(u[:8], uint64(time.Now().UnixMilli())<<16)
	binary.BigEndian.PutUint64(u[8:], c.number)
	u[6], u[8] = 0x70|u[6]&0xf, 0x80
	return u.String()
}

// act does one thing of a client.
func (c *clients) act() {
	switch n := c.w.rng.IntN(10); {
	case n < 2 && len(c.open) > 0:
		c.send(pick(c.w, c.open))
	case n < 3 && len(c.done) > 0:
		c.send(pick(c.w, c.done))
	case n < 5:
		c.get(pick(c.w, c.keys))
	default:
		c.send(c.newWrite(pick(c.w, c.keys)))
	}
}

// newWrite makes what fits the present state most of the time.
func (c *clients) newWrite(key fsm.Key) *write {
	now := c.w.check.at(key, ^uint64(0))
	wr := &write{key: key, request: c.requestID()}
	switch n := c.w.rng.IntN(40); {
	case !now.live && n < 36, n == 0:
		c.makeInit(wr)
	case n == 1:
		req := &spexv1.DeleteInstanceRequest{Namespace: key.Namespace, Id: key.ID, RequestId: wr.request}
		wr.what = "delete " + key.ID
		wr.call = func(ctx context.Context, n *Node) (*answer, error) {
			resp, err := n.DeleteInstance(ctx, proto.CloneOf(req))
			return &answer{deleted: resp}, err
		}
	default:
		c.makeStep(wr, now)
	}
	c.open = append(c.open, wr)
	return wr
}

func (c *clients) makeInit(wr *write) {
	req := &spexv1.InitInstanceRequest{Namespace: wr.key.Namespace, Id: wr.key.ID, Spec: specName, RequestId: wr.request}
	if c.w.rng.IntN(12) == 0 {
		req.InitialState = "s1"
	}
	wr.what = "init " + wr.key.ID
	wr.call = func(ctx context.Context, n *Node) (*answer, error) {
		resp, err := n.InitInstance(ctx, proto.CloneOf(req))
		return &answer{step: resp}, err
	}
}

// rightSteps are those of an implementation that is right.
var rightSteps = map[string][2]string{"s0": {"a", "s1"}, "s1": {"b", "s2"}, "s2": {"c", "s0"}, "s1x": {"b", "s2"}, "s2x": {"c", "s0"}}

func (c *clients) makeStep(wr *write, now checkedVersion) {
	req := &spexv1.TransitionRequest{Namespace: wr.key.Namespace, Id: wr.key.ID, RequestId: wr.request}
	right, known := rightSteps[now.state]
	switch n := c.w.rng.IntN(20); {
	case n == 0:
		req.Action, req.ToState = pick(c.w, []string{"a", "b", "c", "evil"}), pick(c.w, []string{"s0", "s1", "s2"})
	case n == 1 && (now.state == "s1" || now.state == "s2"):
		req.Action, req.ToState = "__internal__", now.state+"x"
	case known:
		req.Action, req.ToState = right[0], right[1]
	default:
		req.Action, req.ToState = "__internal__", "s0"
	}
	if c.w.rng.IntN(3) == 0 {
		wr.expects = now.seq + 1
		req.ExpectedSeq = wr.expects
	}
	wr.what = fmt.Sprintf("step %s %s %s", wr.key.ID, req.Action, req.ToState)
	wr.call = func(ctx context.Context, n *Node) (*answer, error) {
		res := n.Transitions(ctx, []*spexv1.TransitionRequest{proto.CloneOf(req)})[0]
		if e := fsm.ErrorFromDetail(res.GetError()); e != nil {
			return nil, e
		}
		return &answer{step: res.GetResponse()}, nil
	}
}

// send makes an attempt at some node.
func (c *clients) send(wr *write) {
	nodes := c.w.up()
	if len(nodes) == 0 {
		return
	}
	at := pick(c.w, nodes).proc
	c.w.counts["requests"]++
	shard, err := at.node.router.shardOf(wr.key.Namespace, wr.key.ID)
	if err != nil {
		return
	}
	floor := c.floor[shard]
	if wr.refused {
		return
	}
	if wr.sent++; wr.sent > 1 {
		// Whichever comes second may be answered otherwise.
		c.w.doubt[wr.request] = true
	}
	defer func() { wr.sent-- }()
	c.w.trace("%s at %s", wr.what, at.id)
	ctx, cancel := context.WithTimeout(at.node.ctx, requestTime)
	begun := time.Now()
	a, err := wr.call(ctx, at.node)
	cancel()
	if took := time.Since(begun); c.w.quiet && took > requestTime { // else other things happened meanwhile
		c.w.fail("%s (%s) at %s took %v, and is given %v (I9)", wr.what, wr.request, at.id, took, requestTime)
	}
	if at.dead || c.w.fault(30) {
		wr.unsure = true // the answer does not reach the client
		return
	}
	if err != nil {
		c.failed(wr, floor, err)
		return
	}
	c.w.counts["acknowledged"]++
	c.settle(wr)
	if a.deleted != nil {
		c.deleted(wr, shard, floor, a)
		return
	}
	c.answered(wr, shard, floor, a)
}

// settle takes a write off the open ones.
func (c *clients) settle(wr *write) {
	for i, o := range c.open {
		if o == wr {
			c.open = append(c.open[:i], c.open[i+1:]...)
			c.done = append(c.done, wr)
		}
	}
}

// failed accounts for an error: a refusal ends the request. It must be about the
// instance as it was (refused).
func (c *clients) failed(wr *write, floor uint64, err error) {
	var e *fsm.Error
	switch {
	case !errors.As(err, &e):
		wr.unsure = true
	case wanders(e) || e.Reason == typesv1.Reason_REASON_UNAVAILABLE:
		wr.unsure = wr.unsure || !e.NotApplied
	case wr.answer != nil:
		c.w.fail("%s (%s) was answered, and is refused later: %v (I2)", wr.what, wr.request, err)
	default:
		c.w.counts["refused"]++
		c.refused(wr, floor, e)
		if wr.unsure || c.w.doubt[wr.request] {
			c.w.doubt[wr.request] = true
		}
		wr.refused = true
		c.settle(wr)
	}
}

// refused checks a refusal: it ends the request, so it must be about the instance, as
// it was at some time since the request was sent, and not about where its shard is (I9).
func (c *clients) refused(wr *write, floor uint64, e *fsm.Error) {
	why := func(checkedVersion) bool { return false }
	switch e.Reason {
	case typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND:
		why = absent
	case typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE:
		why = present
	case typesv1.Reason_REASON_SEQUENCE_MISMATCH:
		why = func(v checkedVersion) bool { return v.live && v.seq+1 != wr.expects }
	}
	if !c.w.check.since(wr.key, floor, why) {
		c.w.fail("%s (%s) was refused for good, and the instance gave no cause since %d: %v (I9)", wr.what, wr.request, floor, e)
	}
}

// answered checks the answer about a step (I1, I2, I3).
func (c *clients) answered(wr *write, shard uint32, floor uint64, a *answer) {
	got := a.step
	ref := fsm.StepRef{Key: wr.key, Incarnation: got.GetIncarnation(), Seq: got.GetSeq()}
	s := c.w.check.steps[ref]
	switch own := c.w.check.requests[wr.request]; {
	case s == nil:
		c.w.fail("%s (%s) was acknowledged as %v, which is not in the log (I1)", wr.what, wr.request, ref)
		return
	case own != nil && own != s:
		c.w.fail("%s (%s) was acknowledged as %v and is %v (I2)", wr.what, wr.request, ref, own.ref)
	case own == nil && !got.GetDuplicate():
		c.w.fail("%s (%s) was acknowledged as %v, which was another request (I1)", wr.what, wr.request, ref)
	}
	if s.action != got.GetAction() || s.to != got.GetState() {
		c.w.fail("%s (%s) was answered with %s to %s, and %v is %s to %s (I2)", wr.what, wr.request, got.GetAction(), got.GetState(), ref, s.action, s.to)
	}
	if !got.GetDuplicate() && got.GetIndex() <= floor {
		c.w.fail("%s (%s) was applied at %d, although %d was acknowledged before (I3)", wr.what, wr.request, got.GetIndex(), floor)
	}
	pending := typesv1.Verdict_VERDICT_PENDING
	if v := got.GetVerdict(); v != pending && v != s.verdict {
		c.w.fail("%s (%s) was answered %s, the verdict is %s (I2, I7)", wr.what, wr.request, v, s.verdict)
	}
	if first := wr.answer; first != nil {
		if v := first.step.GetVerdict(); v != pending && v != got.GetVerdict() {
			c.w.fail("%s (%s) was answered %s and then %s (I2)", wr.what, wr.request, v, got.GetVerdict())
		}
		if first.step.GetSeq() != got.GetSeq() || first.step.GetIncarnation() != got.GetIncarnation() {
			c.w.fail("%s (%s) was answered with step %d of %d and then %d of %d (I2)", wr.what, wr.request, first.step.GetSeq(), first.step.GetIncarnation(), got.GetSeq(), got.GetIncarnation())
		}
	}
	c.floor[shard] = max(c.floor[shard], s.index)
	if c.w.check.requests[wr.request] != nil {
		// Else the step is somebody else's, found at the expected place: that is
		// not remembered for this request.
		wr.answer = a
	}
}

func (c *clients) deleted(wr *write, shard uint32, floor uint64, a *answer) {
	got := a.deleted
	if !got.GetDuplicate() && got.GetIndex() <= floor {
		c.w.fail("%s (%s) was applied at %d, although %d was acknowledged before (I3)", wr.what, wr.request, got.GetIndex(), floor)
	}
	if got.GetDeleted() {
		if run := c.w.check.runs[runKey{wr.key, got.GetIncarnation()}]; run == nil || !run.ended {
			c.w.fail("%s (%s) was acknowledged, and the instance lives (I1)", wr.what, wr.request)
		}
	}
	if first := wr.answer; first != nil && (first.deleted.GetDeleted() != got.GetDeleted() || first.deleted.GetIncarnation() != got.GetIncarnation()) {
		c.w.fail("%s (%s) was answered %v and then %v (I2)", wr.what, wr.request, first.deleted, got)
	}
	wr.answer = a
	if !got.GetDuplicate() {
		c.floor[shard] = max(c.floor[shard], got.GetIndex())
	}
}

// get reads an instance and checks that the read misses nothing (I4).
func (c *clients) get(key fsm.Key) {
	nodes := c.w.up()
	if len(nodes) == 0 {
		return
	}
	at := pick(c.w, nodes).proc
	shard, err := at.node.router.shardOf(key.Namespace, key.ID)
	if err != nil {
		return
	}
	floor := c.floor[shard]
	c.w.trace("get %s at %s", key.ID, at.id)
	ctx, cancel := context.WithTimeout(at.node.ctx, requestTime)
	defer cancel()
	resp, err := at.node.GetInstance(ctx, &spexv1.GetInstanceRequest{Namespace: key.Namespace, Id: key.ID})
	if at.dead {
		return
	}
	if fsm.ReasonOf(err) == typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND {
		c.w.counts["reads"]++
		if !c.w.check.since(key, floor, absent) {
			c.w.fail("%s was not found, and was there all the time since %d (I4)", key.ID, floor)
		}
		return
	}
	if err != nil {
		return
	}
	c.w.counts["reads"]++
	in := resp.GetInstance()
	index := resp.GetRead().GetIndex()
	if v := c.w.check.at(key, index); !v.live || v.incarnation != in.GetIncarnation() || v.seq != in.GetSeq() || v.state != in.GetState() {
		c.w.fail("%s was read as step %d of %d in %s, and is %+v at %d (I4)", key.ID, in.GetSeq(), in.GetIncarnation(), in.GetState(), v, index)
	}
	// The machine's index counts commands, and may be behind that of the last write to another instance only if it missed it.
	if index < floor {
		c.w.fail("%s was read at %d, although %d was acknowledged before (I4)", key.ID, index, floor)
	}
	c.floor[shard] = max(c.floor[shard], index)
}
