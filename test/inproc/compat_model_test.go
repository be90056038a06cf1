package inproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// together begins instances until n of them are of the same shard, and returns
// their names: what is pending counts at once only within a shard.
func (b *bench) together(spec string, n int) []string {
	b.Helper()
	shards := map[uint32][]string{}
	for {
		b.begun++
		id := fmt.Sprint(spec, "#", b.begun)
		shard := b.init(spec, id, "ok").GetShard()
		if shards[shard] = append(shards[shard], id); len(shards[shard]) == n {
			return shards[shard]
		}
	}
}

// review is by ops for a reason.
func (b *bench) review(spec, text string) client.Review {
	b.Helper()
	return client.Review{Spec: b.spec(spec), Transitions: edges(b, text), Owner: "ops", Reason: "ticket 7"}
}

func (b *bench) accept(a client.Acceptance) *spexv1.AcceptDeviationsResponse {
	b.Helper()
	resp, err := b.m.AcceptDeviations(testContext(b), a)
	if err != nil {
		b.Fatalf("accept %v: %v", a.Transitions, err)
	}
	return resp
}

// deviations is what has deviated, as text with what was noted about it.
func (b *bench) deviations(spec string) map[string]string {
	b.Helper()
	resp, err := b.m.Deviations(testContext(b), b.spec(spec), 0)
	if err != nil {
		b.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range resp.GetDeviations() {
		t := d.GetTransition()
		found[fmt.Sprintf("%s -%s-> %s", t.GetFrom(), t.GetAction(), t.GetTo())] = strings.TrimSpace(d.GetRejection().GetOwner() + " " + d.GetRejection().GetReason())
	}
	return found
}

// past is the history of a model, oldest first, without what was learned.
func (b *bench) past(spec string) (lines []string) {
	b.Helper()
	resp, err := b.m.ModelHistory(testContext(b), b.spec(spec), 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range resp.GetEvents() {
		if e.GetKind() != typesv1.ModelEventKind_MODEL_EVENT_KIND_LEARNED {
			line := fmt.Sprintf("%s +%d -%d %s %s", strings.TrimPrefix(e.GetKind().String(), "MODEL_EVENT_KIND_"), e.GetAdded(), e.GetRemoved(), e.GetOwner(), e.GetReason())
			lines = append([]string{strings.TrimSpace(line)}, lines...)
		}
	}
	return lines
}

// say is values as text, with a space between all of them.
func say(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }

// modelCases are about models, how they grow, and what happens to deviations.
var modelCases = []compatCase{
	{name: "deviations are accepted and rejected", run: func(b *bench) {
		b.define("Ping", "l -ping-> r; r -pong-> l", nil)
		b.load("Ping", "nil -init-> l; l -ping-> r; r -pong-> l")
		for _, id := range []string{"p", "q"} {
			b.init("Ping", id, "ok")
		}
		b.step("p", "explode", "l", "not rejected")
		b.step("q", "ping", "r2", "not rejected") // where r2 leads was never seen
		b.step("q", "pong", "l", "still")

		_, err := b.m.AcceptDeviations(testContext(b), client.Acceptance{Review: b.review("Ping", "l -explode-> l")})
		b.wantReason(err, typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT)
		for _, bad := range []struct {
			change func(*client.Review)
			want   typesv1.Reason
		}{
			{func(r *client.Review) { r.Transitions = edges(b, "l -exlpode-> l") }, typesv1.Reason_REASON_DEVIATION_NOT_FOUND},
			{func(r *client.Review) { r.Spec = b.spec("Nothing") }, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND},
			{func(r *client.Review) { r.SpecVersion = 9 }, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND},
			{func(r *client.Review) { r.Owner = "" }, typesv1.Reason_REASON_INVALID_ARGUMENT},
			{func(r *client.Review) { r.Reason = strings.Repeat("x", 1025) }, typesv1.Reason_REASON_LIMIT_EXCEEDED},
			{func(r *client.Review) { r.Transitions = nil }, typesv1.Reason_REASON_INVALID_ARGUMENT},
			{func(r *client.Review) { r.Transitions = edges(b, "l -a-> __internal__") }, typesv1.Reason_REASON_RESERVED_NAME},
		} {
			r := b.review("Ping", "l -explode-> l")
			bad.change(&r)
			_, err := b.m.AcceptDeviations(testContext(b), client.Acceptance{Review: r})
			b.wantReason(err, bad.want)
			_, err = b.m.RejectDeviations(testContext(b), r)
			b.wantReason(err, bad.want)
		}

		for _, changed := range []bool{true, false} {
			resp, err := b.m.RejectDeviations(testContext(b), b.review("Ping", "l -explode-> l"))
			b.want("rejection", say(resp.GetChanged(), err), say(changed, nil))
		}
		b.want("notes", b.deviations("Ping"), map[string]string{"l -explode-> l": "ops ticket 7", "l -ping-> r2": "", "r2 -pong-> l": ""})

		for _, changed := range []bool{true, false} {
			resp := b.accept(client.Acceptance{Review: b.review("Ping", "l -ping-> r2; r2 -pong-> l")})
			b.want("acceptance", say(resp.GetChanged(), resp.GetBefore().GetEquivalent(), resp.GetAfter().GetGrade(), resp.GetModel().GetTransitions()), say(changed, "true EQUIVALENT 5"))
		}
		b.init("Ping", "s", "ok")
		b.step("s", "ping", "r2", "ok")
		b.step("s", "pong", "l", "ok")
		b.want("left", b.deviations("Ping"), map[string]string{"l -explode-> l": "ops ticket 7"})

		forced := b.accept(client.Acceptance{Review: b.review("Ping", "l -explode-> l"), Force: true}).GetAfter()
		b.want("forced", say(forced.GetEquivalent(), forced.GetGrade(), forced.GetTrace()), "false EXTRA_BEHAVIOUR [explode]")
		b.step("s", "explode", "l", "ok")
		b.want("history", b.past("Ping"), []string{"IMPORTED +3 -0", "SEALING +0 -0", "SEALED +0 -0", "REJECTED +0 -0 ops ticket 7", "ACCEPTED +2 -0 ops ticket 7", "ACCEPTED +1 -0 ops ticket 7"})
		short, err := b.m.ModelHistory(testContext(b), b.spec("Ping"), 0, 2)
		b.want("two events", say(len(short.GetEvents()), short.GetTruncated(), short.GetEvents()[0].GetAdded(), err), "2 true 1 <nil>")
		_, err = b.m.ModelHistory(testContext(b), b.spec("Ping"), 0, 101)
		b.wantReason(err, typesv1.Reason_REASON_LIMIT_EXCEEDED)
	}},
	{name: "who reviews the wrong version is told which one deviated", run: func(b *bench) {
		b.define("Ping", "l -ping-> r; r -pong-> l", nil)
		b.load("Ping", "nil -init-> l; l -ping-> r; r -pong-> l")
		b.init("Ping", "p", "ok")
		b.step("p", "explode", "l", "not rejected")
		b.define("Ping", "l -ping-> r; r -pong-> l; r -pang-> l", nil)

		review := b.review("Ping", "l -explode-> l")
		_, err := b.m.RejectDeviations(testContext(b), review)
		b.wantReason(err, typesv1.Reason_REASON_DEVIATION_NOT_FOUND)
		if !strings.Contains(err.Error(), "give that version (--spec-version 1)") {
			b.Errorf("got %v", err)
		}
		review.SpecVersion = 1
		resp, err := b.m.RejectDeviations(testContext(b), review)
		b.want("rejection", say(resp.GetChanged(), err), say(true, nil))
	}},
	{name: "an acceptance ends when its time is over", run: func(b *bench) {
		b.define("Ping", "l -ping-> r; r -pong-> l", nil)
		b.load("Ping", "nil -init-> l; l -ping-> r; r -pong-> l")
		b.init("Ping", "p", "ok")
		b.step("p", "__internal__", "l", "still")
		_, err := b.m.AcceptDeviations(testContext(b), client.Acceptance{Review: b.review("Ping", "l -tau-> l"), Expires: b.clock()})
		b.wantReason(err, typesv1.Reason_REASON_INVALID_ARGUMENT)
		b.accept(client.Acceptance{Review: b.review("Ping", "l -tau-> l"), Expires: b.clock().Add(time.Hour)})
		b.step("p", "__internal__", "l", "ok")
		b.advance(time.Hour)
		b.step("p", "__internal__", "l", "ok") // until the end, the end itself included
		b.advance(time.Millisecond)
		b.learned("Ping", 3)
		Eventually(b, "the shards to follow", func() bool {
			info, _, err := b.m.GetModel(testContext(b), b.spec("Ping"), 0)
			return err == nil && info.GetAcknowledgedShards() == info.GetShards()
		})
		b.step("p", "__internal__", "l", "still")
		b.want("history", b.past("Ping")[3:], []string{"ACCEPTED +1 -0 ops ticket 7", "WITHDRAWN +0 -1 ops ticket 7"})
	}},
	{name: "an import adds to the model or replaces it", run: func(b *bench) {
		b.define("Tree", treeEdges, nil)
		b.load("Tree", "nil -init-> s0; s0 -a-> s1")
		ctx := testContext(b)
		added, err := b.m.ImportModel(ctx, b.spec("Tree"), false, edges(b, "s0 -a-> s1; s1 -b-> s3"))
		b.want("merge", say(added.GetAdded(), added.GetRemoved(), added.GetModel().GetTransitions(), err), "1 0 3 <nil>")
		replaced, err := b.m.ReplaceModel(ctx, b.spec("Tree"), false, edges(b, "nil -init-> s0; "+treeEdges))
		b.want("replacement", say(replaced.GetAdded(), replaced.GetRemoved(), replaced.GetModel().GetEquivalent(), err), "2 0 true <nil>")
		replaced, err = b.m.ReplaceModel(ctx, b.spec("Tree"), false, edges(b, "nil -init-> s0; s0 -a-> s2"))
		b.want("smaller", say(replaced.GetAdded(), replaced.GetRemoved(), replaced.GetModel().GetEquivalent(), err), "0 3 false <nil>")
		b.want("model", b.model("Tree"), []string{" -__initialisation__-> s0", "s0 -a-> s2"})
		b.init("Tree", "t", "ok")
		b.step("t", "a", "s1", "not rejected") // the model is not equivalent before
	}},
	{name: "instances stay with the version that they began with", run: func(b *bench) {
		b.define("V", oneEdge, nil)
		b.load("V", "nil -init-> s0; "+oneEdge)
		b.init("V", "old", "ok")
		b.define("V", oneEdge, nil) // unchanged: no new version
		_, version, err := b.m.GetSpecification(testContext(b), b.spec("V"), 0)
		b.want("version", say(version, err), "1 <nil>")
		b.define("V", "s0 -a-> s1; s1 -b-> s2", func(s *typesv1.Specification) { s.TransitionTimeout = durationpb.New(time.Hour) })
		b.want("old", b.step("old", "a", "s1", "ok").GetSpecVersion(), 1)
		b.step("old", "b", "s2", "not rejected")
		b.want("new", b.init("V", "new", "ok").GetSpecVersion(), 2)
		b.step("new", "a", "s1", "ok")
		b.step("new", "b", "s2", "ok") // its model learns
		b.want("asked for", b.init("V", "asked", "ok", client.WithSpecVersion(1)).GetSpecVersion(), 1)
		b.init("V", "none", "SPECIFICATION_NOT_FOUND", client.WithSpecVersion(3))
		resp, err := b.m.AcceptDeviations(testContext(b), client.Acceptance{Review: client.Review{Spec: b.spec("V"), SpecVersion: 1, Transitions: edges(b, "s1 -b-> s2"), Owner: "ops", Reason: "seen"}, Force: true})
		b.want("accepted for the old one", say(resp.GetModel().GetSpecVersion(), err), "1 <nil>")
	}},
	{name: "a version that is being retired takes no new instance, and answers retries", run: func(b *bench) {
		b.define("R", oneEdge, nil)
		first := b.init("R", "old", "ok", client.WithSpecVersion(1), client.WithRequestID("begins old"))
		for n := range fsm.DefaultSpecVersions + 1 {
			b.define("R", oneEdge, func(s *typesv1.Specification) { s.TransitionTimeout = durationpb.New(time.Duration(n+1) * time.Hour) })
		}
		n := 0
		Eventually(b, "the first version to be refused", func() bool {
			n++
			_, err := b.m.Init(testContext(b), b.spec("R"), b.prefix+fmt.Sprint("new", n), client.WithSpecVersion(1))
			var e *client.Error
			return errors.As(err, &e) && e.Reason == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND
		})
		b.init("R", "asked", "SPECIFICATION_NOT_FOUND", client.WithSpecVersion(1))
		_, err := b.m.Mock(testContext(b), b.spec("R"), b.prefix+"mocked", "s1", client.WithMockSpecVersion(1))
		b.wantReason(err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		again := b.init("R", "old", "ok", client.WithSpecVersion(1), client.WithRequestID("begins old"))
		b.want("retry", say(again.GetDuplicate(), again.GetIncarnation(), again.GetSpecVersion()), say(true, first.GetIncarnation(), 1))
		b.want("goes on", b.step("old", "a", "s1", "ok").GetSpecVersion(), 1)
		b.want("newest", b.init("R", "new", "ok").GetSpecVersion(), fsm.DefaultSpecVersions+2)
	}},
	{name: "a violation behind a harmless deviation is seen", run: func(b *bench) {
		b.define("Hidden", "s0 -a-> s1; s1 -b-> s2", nil)
		b.load("Hidden", "nil -init-> s0; s0 -a-> s1; s1 -b-> s2")
		b.init("Hidden", "h", "ok")
		b.step("h", "a", "s1", "ok")
		b.step("h", "b", "X", "still")
		resp := b.step("h", "evil", "Y", "still rejected") // the model cannot reach X: alone the step is harmless
		b.want("run", say(resp.GetOffModel(), resp.GetRunViolation().GetKind(), resp.GetRunViolation().GetSeq()), "true RUN_VIOLATION_KIND_FORBIDDEN 4")
		b.want("kept", b.get("h").GetRunViolation().GetSeq(), 4)
	}},
	{name: "harmless alone, harmful together", run: func(b *bench) {
		b.define("Joint", "0 -a-> 1; 0 -a-> 2; 1 -b-> 3; 2 -b-> 3; 2 -c-> 3", nil)
		b.load("Joint", "nil -init-> 0; 0 -a-> 1; 0 -a-> 1x; 1 -b-> 3; 1x -b-> 3; 0 -a-> 2; 2 -b-> 3; 2 -c-> 3")
		w := startWatch(b, b.m, client.WatchOptions{Specs: []string{b.spec("Joint")}, Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION}})
		w.awaitBegun(b)
		ids := b.together("Joint", 2)
		b.step(ids[0], "a", "1", "ok")
		b.step(ids[1], "a", "1x", "ok")
		b.want("alone", b.step(ids[0], "c", "3", "still").GetJudgement().GetWithPending(), typesv1.Verdict_VERDICT_UNSPECIFIED)
		b.want("with the first", b.step(ids[1], "c", "3", "still").GetJudgement().GetWithPending(), verdictNot)
		joint := map[string]*typesv1.JointJudgement{}
		Eventually(b, "the joint judgement", func() bool {
			resp, err := b.m.Deviations(testContext(b), b.spec("Joint"), 0)
			for _, d := range resp.GetDeviations() {
				joint[d.GetTransition().GetFrom()] = d.GetJoint()
			}
			return err == nil && joint["1"] != nil && joint["1x"] != nil
		})
		b.want("first", say(joint["1"].GetVerdict(), joint["1"].GetJoint()), say(verdictStill, false))
		b.want("second", say(joint["1x"].GetVerdict(), joint["1x"].GetJoint(), joint["1x"].GetWith()[0].GetFrom()), say(verdictNot, true, 1))
		waitFor(b, w, typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION, []string{b.prefix + ids[1]})
		w.stop()
		w.checkOrder(b)
	}},
	{name: "a model whose beginning leads nowhere has one verdict", run: func(b *bench) {
		b.define("Lost", "s0 -a-> s1", nil)
		b.want("equivalent", b.load("Lost", "nil -init-> alone; s0 -a-> s1").GetEquivalent(), false)
		b.init("Lost", "x", "not rejected")
		b.init("Lost", "y", "ok", client.WithInitialState("alone"))
		for range 10 {
			b.want("reason", b.step("y", "a", "alone", "not rejected").GetJudgement().GetVerdict(), verdictNot)
		}
	}},
	{name: "specifications may have internal steps", run: func(b *bench) {
		b.define("Tau", "s0 -tau-> s1; s1 -a-> s2", nil)
		b.want("equivalent", b.load("Tau", "nil -init-> x; x -a-> y").GetEquivalent(), true)
		b.init("Tau", "t", "ok", client.WithInitialState("x"))
		b.step("t", "__internal__", "x", "still")
		b.step("t", "a", "y", "ok")
	}},
	{name: "one model for all instances of a specification", run: func(b *bench) {
		b.define("Point", "s0 -a-> s0", nil)
		for i := range 8 { // over both shards of a cluster
			b.init("Point", fmt.Sprint(i), "ok")
			b.step(fmt.Sprint(i), "a", "s0", "ok")
			b.step(fmt.Sprint(i), fmt.Sprint("b", i%2), "s0", "ok")
		}
		b.learned("Point", 4)
		info, err := b.m.SealModel(testContext(b), b.spec("Point"))
		b.want("sealed", say(info.GetModel().GetTransitions(), info.GetModel().GetMode(), err), "4 MODEL_MODE_SEALED <nil>")
		for i := range 8 {
			b.step(fmt.Sprint(i), fmt.Sprint("b", (i+1)%2), "s0", "ok")
		}
	}},
	{name: "an exported model checks where it is imported", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.init("One", "o", "ok")
		b.step("o", "a", "s1", "ok")
		b.learned("One", 2)
		dir := filepath.Join(b.TempDir(), "models")
		if _, err := b.m.ExportModels(testContext(b), dir); err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(dir, b.spec("One")+".spex")
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		f, err := model.Decode(path, strings.NewReader(strings.ReplaceAll(string(data), "\n", "\r\n")))
		if err != nil {
			b.Fatal(err)
		}
		b.want("learning", f.Learning, false)
		var list []*typesv1.Transition
		for _, t := range f.Transitions {
			list = append(list, &typesv1.Transition{From: t.From, Action: t.Action, To: t.To})
		}
		b.define("Two", oneEdge, func(s *typesv1.Specification) { s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT })
		if _, err := b.m.ImportModel(testContext(b), b.spec("Two"), f.Learning, list); err != nil {
			b.Fatal(err)
		}
		b.init("Two", "t", "ok")
		b.step("t", "b", "s1", "not rejected")
	}},
	{name: "what was acknowledged as learned outlives the process", restarts: true, run: func(b *bench) {
		b.define("Kept", cycleEdges, nil)
		b.init("Kept", "k", "ok")
		b.step("k", "a", "s1", "ok")
		b.restart(b)
		b.want("state", b.get("k").GetState(), "s1")
		b.learned("Kept", 2)
		b.step("k", "b", "s2", "ok")
		b.restart(b)
		b.learned("Kept", 3)
		b.want("history", b.history("k"), []string{"1 __initialisation__ s0", "2 a s1", "3 b s2"})
	}},
	{name: "reviews outlive the process", restarts: true, run: func(b *bench) {
		b.define("Ping", "l -ping-> r; r -pong-> l", nil)
		b.load("Ping", "nil -init-> l; l -ping-> r; r -pong-> l")
		b.init("Ping", "p", "ok")
		b.step("p", "explode", "l", "not rejected")
		b.step("p", "__internal__", "l", "still")
		if _, err := b.m.RejectDeviations(testContext(b), b.review("Ping", "l -explode-> l")); err != nil {
			b.Fatal(err)
		}
		b.accept(client.Acceptance{Review: b.review("Ping", "l -tau-> l"), Expires: b.clock().Add(time.Hour)})
		past := b.past("Ping")
		b.restart(b)
		b.want("history", b.past("Ping"), past)
		b.want("notes", b.deviations("Ping"), map[string]string{"l -explode-> l": "ops ticket 7"})
		b.advance(2 * time.Hour)
		b.learned("Ping", 3)
	}},
}
