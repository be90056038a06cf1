package inproc

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// TestAPI is what the API promises on a healthy cluster, asked at every node.
// Each part has specifications and instances of its own.
func TestAPI(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *Cluster)
	}{
		{"every node reaches every leader", everyNodeReachesEveryLeader},
		{"known, learned, judged", knownLearnedJudged},
		{"duplicates through another node", duplicatesThroughAnotherNode},
		{"reads after writes", readsAfterWrites},
		{"stale reads", staleReads},
		{"history pages", historyPages},
		{"list pages", listPages},
		{"deviations are merged", deviationsAreMerged},
		{"unknown names", unknownNames},
		{"a missing model is refused", missingModelIsRefused},
		{"versions are pinned and deletion hides", versionsArePinned},
		{"models are imported and learn again", modelsAreImported},
		{"limits", limits},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

func everyNodeReachesEveryLeader(t *testing.T, c *Cluster) {
	apply(t, c.Client(), pingPong("reach"))
	for node := range 3 {
		cl := c.Client(node)
		for shard := uint32(1); shard <= 4; shard++ {
			id := inShard(t, 4, shard, fmt.Sprintf("reach%d", node), 0)
			// The specification was applied at another node: it is found all the same.
			if got := mustInit(t, cl, "reach", id).GetShard(); got != shard {
				t.Fatalf("instance %s is in shard %d, want %d", id, got, shard)
			}
			if resp := step(t, cl, id, "ping", "right"); resp.GetSeq() != 2 || resp.GetVerdict() != verdictOK {
				t.Fatalf("step: %v", resp)
			}
			got, err := cl.Get(testContext(t), id)
			if err != nil || got.GetInstance().GetState() != "right" || got.GetRead().GetShard() != shard {
				t.Fatalf("get through node %d: %v, %v", node, got, err)
			}
		}
		if n := cl.Stats().Retries; n > 0 {
			t.Errorf("node %d made the client try again %d times", node, n)
		}
	}
}

func knownLearnedJudged(t *testing.T, c *Cluster) {
	cl := c.Client()
	apply(t, cl, pingPong("judged"))
	mustInit(t, cl, "judged", "judged-a")
	step(t, cl, "judged-a", "ping", "right")
	step(t, cl, "judged-a", "pong", "left")
	if m := seal(t, cl, "judged"); m.GetTransitions() != 3 || !m.GetEquivalent() || m.GetMode() != typesv1.ModelMode_MODEL_MODE_SEALED {
		t.Fatalf("sealed model: %v", m)
	}
	for node := range 3 {
		id := fmt.Sprint("judged-", node)
		cl := c.Client(node)
		mustInit(t, cl, "judged", id)
		if resp := step(t, cl, id, "ping", "right"); resp.GetVerdict() != verdictOK {
			t.Fatalf("known step: %v", resp)
		}
		resp := step(t, cl, id, "explode", "left")
		if resp.GetVerdict() != verdictNot || !resp.GetRejected() || resp.GetJudgement().GetExplanation() == "" {
			t.Fatalf("novel step: %v", resp)
		}
	}
}

func duplicatesThroughAnotherNode(t *testing.T, c *Cluster) {
	cl := c.Client(0)
	apply(t, cl, pingPong("dup"))
	mustInit(t, cl, "dup", "dup-a")
	seal(t, cl, "dup")
	for node := range 3 {
		init, id := requestID(), requestID()
		name := fmt.Sprint("dup-", node)
		first := mustInit(t, cl, "dup", name, client.WithRequestID(init))
		again := mustInit(t, c.Client(node), "dup", name, client.WithRequestID(init))
		if !again.GetDuplicate() || again.GetIncarnation() != first.GetIncarnation() || again.GetSeq() != 1 {
			t.Fatalf("init: first %v, again %v", first, again)
		}
		one := step(t, cl, name, "explode", "left", client.WithRequestID(id))
		two := step(t, c.Client(node), name, "explode", "left", client.WithRequestID(id))
		if one.GetVerdict() != verdictNot || two.GetVerdict() != one.GetVerdict() || two.GetSeq() != one.GetSeq() || !two.GetDuplicate() || two.GetIndex() != one.GetIndex() ||
			two.GetJudgement().GetExplanation() != one.GetJudgement().GetExplanation() || two.GetRejected() != one.GetRejected() {
			t.Fatalf("step: first %v, again %v", one, two)
		}
		_, err := c.Client(node).Transition(testContext(t), name, "pong", "left", client.WithRequestID(id))
		wantReason(t, err, typesv1.Reason_REASON_REQUEST_ID_REUSED)
		if n := len(history(t, cl, name)); n != 2 {
			t.Fatalf("%d steps, want 2", n)
		}
	}
}

func readsAfterWrites(t *testing.T, c *Cluster) {
	apply(t, c.Client(), pingPong("raw"))
	clients := []*client.Client{c.Client(0), c.Client(1), c.Client(2)}
	mustInit(t, clients[0], "raw", "raw-a")
	for i := range 60 {
		action, state := "ping", "right"
		if i%2 == 1 {
			action, state = "pong", "left"
		}
		wrote := step(t, clients[i%3], "raw-a", action, state)
		for d := 1; d < 3; d++ {
			got, err := clients[(i+d)%3].Get(testContext(t), "raw-a")
			if err != nil || got.GetInstance().GetSeq() != wrote.GetSeq() || got.GetRead().GetIndex() < wrote.GetIndex() || got.GetRead().GetAgeNanos() != 0 {
				t.Fatalf("round %d: wrote %v, read %v, %v", i, wrote, got, err)
			}
		}
	}
}

func staleReads(t *testing.T, c *Cluster) {
	apply(t, c.Client(), pingPong("stale"))
	mustInit(t, c.Client(), "stale", "stale-a")
	for node := range 3 {
		cl := c.Client(node)
		wrote := step(t, c.Client((node+1)%3), "stale-a", "ping", "right")
		got, err := cl.Get(testContext(t), "stale-a", client.Stale(), client.MinIndex(wrote.GetIndex()))
		if err != nil || got.GetInstance().GetSeq() != wrote.GetSeq() || got.GetRead().GetIndex() < wrote.GetIndex() {
			t.Fatalf("node %d: wrote %v, read %v, %v", node, wrote, got, err)
		}
		if got.GetRead().GetNodeId() != c.Server(node).NodeID() || got.GetRead().GetAgeNanos() > int64(Patience) {
			t.Fatalf("node %d: read %v", node, got.GetRead())
		}
	}
	_, err := c.Client(0).Get(testContext(t), "stale-none", client.Stale())
	wantReason(t, err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
}

func historyPages(t *testing.T, c *Cluster) {
	cl := c.Client(1)
	s := pingPong("history")
	s.HistoryLimit = 20
	apply(t, cl, s)
	mustInit(t, cl, "history", "history-a")
	var last *spexv1.StepResponse
	for i := range 29 {
		if i%2 == 0 {
			last = step(t, cl, "history-a", "ping", "right")
		} else {
			last = step(t, cl, "history-a", "pong", "left")
		}
	}
	for _, opts := range [][]client.ReadOption{nil, {client.PageSize(7)}, {client.PageSize(20)}, {client.PageSize(1)}, {client.PageSize(3), client.Stale(), client.MinIndex(last.GetIndex())}} {
		steps := history(t, c.Client(0), "history-a", opts...)
		if len(steps) != 20 || steps[19].GetSeq() != 30 {
			t.Fatalf("%d steps, up to seq %d", len(steps), steps[len(steps)-1].GetSeq())
		}
	}
	var seqs []uint64
	for s, err := range cl.History(testContext(t), "history-a", client.NewestFirst(), client.PageSize(6)) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s.GetSeq())
	}
	if len(seqs) != 20 || seqs[0] != 30 || seqs[19] != 11 || !slices.IsSortedFunc(seqs, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Fatalf("newest first: %v", seqs)
	}
	page, err := cl.HistoryPage(testContext(t), "history-a", "", client.PageSize(5))
	if err != nil || page.GetFirstKeptSeq() != 11 {
		t.Fatalf("page %v, %v", page, err)
	}
	if _, err := cl.Delete(testContext(t), "history-a"); err != nil {
		t.Fatal(err)
	}
	mustInit(t, cl, "history", "history-a")
	if _, err := cl.HistoryPage(testContext(t), "history-a", page.GetNextPageToken()); err == nil {
		t.Fatal("the page of a former incarnation went on in the new one")
	}
	_, err = cl.HistoryPage(testContext(t), "history-a", "no token")
	wantReason(t, err, typesv1.Reason_REASON_INVALID_ARGUMENT)
}

func listPages(t *testing.T, c *Cluster) {
	cl := c.Client(2)
	apply(t, cl, pingPong("list"))
	want := map[string]bool{}
	for i := range 40 {
		id := fmt.Sprint("list-", i)
		mustInit(t, cl, "list", id)
		want[id] = true
		if i%4 == 0 {
			step(t, cl, id, "ping", "right")
		}
	}
	for _, size := range []uint32{1, 7, 40, 1000} {
		got := map[string]bool{}
		for in, err := range cl.List(testContext(t), client.ListFilter{Spec: "list", PageSize: size}) {
			if err != nil {
				t.Fatal(err)
			}
			if got[in.GetId()] {
				t.Fatalf("%s is listed twice", in.GetId())
			}
			got[in.GetId()] = true
		}
		if len(got) != len(want) {
			t.Fatalf("pages of %d list %d instances, want %d", size, len(got), len(want))
		}
	}
	n := 0
	for _, err := range cl.List(testContext(t), client.ListFilter{Spec: "list", State: "right", PageSize: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 10 {
		t.Fatalf("%d instances in the state, want 10", n)
	}
}

func deviationsAreMerged(t *testing.T, c *Cluster) {
	cl := c.Client()
	apply(t, cl, pingPong("merge"))
	mustInit(t, cl, "merge", "merge-a")
	seal(t, cl, "merge")
	for shard := uint32(1); shard <= 4; shard++ {
		id := inShard(t, 4, shard, "merge", 1)
		mustInit(t, cl, "merge", id)
		for range shard {
			step(t, cl, id, "explode", "left")
		}
		if shard == 2 {
			step(t, cl, id, "vanish", "nowhere")
		}
	}
	for node := range 3 {
		resp, err := c.Client(node).Deviations(testContext(t), "merge", 0)
		if err != nil || len(resp.GetFailures()) > 0 || resp.GetTruncated() {
			t.Fatalf("%v, %v", resp, err)
		}
		list := resp.GetDeviations()
		if len(list) != 2 || list[0].GetCount() != 10 || list[0].GetTransition().GetAction() != "explode" || list[1].GetCount() != 1 {
			t.Fatalf("deviations: %v", list)
		}
		if list[0].GetFirstInstance() != inShard(t, 4, 1, "merge", 1) || list[0].GetLastInstance() != inShard(t, 4, 4, "merge", 1) {
			t.Fatalf("first and last: %v", list[0])
		}
	}
	resp, err := cl.Deviations(testContext(t), "merge", 1)
	if err != nil || len(resp.GetDeviations()) != 1 || !resp.GetTruncated() {
		t.Fatalf("limit 1: %v, %v", resp, err)
	}
	// The catalog counts distinct ones over all shards.
	Eventually(t, "the catalog to know both deviations", func() bool {
		m, _, err := cl.GetModel(testContext(t), "merge", 0)
		return err == nil && m.GetDeviations() == 2
	})
}

func unknownNames(t *testing.T, c *Cluster) {
	for node := range 3 {
		cl := c.Client(node)
		_, err := cl.Init(testContext(t), "unknown", "unknown-a")
		wantReason(t, err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		_, err = cl.Transition(testContext(t), "unknown-a", "ping", "right")
		wantReason(t, err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		_, err = cl.Get(testContext(t), "unknown-a")
		wantReason(t, err, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
		_, _, err = cl.GetSpecification(testContext(t), "unknown", 0)
		wantReason(t, err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		_, err = cl.SealModel(testContext(t), "unknown")
		wantReason(t, err, typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		if resp, err := cl.Delete(testContext(t), "unknown-a"); err != nil || resp.GetDeleted() {
			t.Fatalf("delete: %v, %v", resp, err)
		}
	}
}

func missingModelIsRefused(t *testing.T, c *Cluster) {
	cl := c.Client(0)
	s := pingPong("missing")
	s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT
	apply(t, cl, s)
	for shard := uint32(1); shard <= 4; shard++ {
		_, err := cl.Init(testContext(t), "missing", inShard(t, 4, shard, "missing", 0))
		wantReason(t, err, typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND)
	}
	_, err := cl.SealModel(testContext(t), "missing")
	wantReason(t, err, typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND)
	if _, err := c.Client(1).ImportModel(testContext(t), "missing", true, []*typesv1.Transition{{Action: spec.Initialisation, To: "left"}}); err != nil {
		t.Fatal(err)
	}
	// Another node denied the model a moment ago.
	for shard := uint32(1); shard <= 4; shard++ {
		id := inShard(t, 4, shard, "missing", 0)
		mustInit(t, c.Client(2), "missing", id)
		if resp := step(t, c.Client(2), id, "ping", "right"); resp.GetVerdict() != verdictOK {
			t.Fatalf("a model that was imported to learn did not: %v", resp)
		}
	}
}

func versionsArePinned(t *testing.T, c *Cluster) {
	cl := c.Client()
	apply(t, cl, pingPong("pinned"))
	mustInit(t, cl, "pinned", "pinned-1")
	second := pingPong("pinned")
	second.Transitions = append(second.Transitions, &typesv1.Transition{From: "right", Action: "rest", To: "bed"})
	resp, err := cl.ApplySpecification(testContext(t), second)
	if err != nil || resp.GetVersion() != 2 || !resp.GetChanged() {
		t.Fatalf("%v, %v", resp, err)
	}
	if again, err := cl.ApplySpecification(testContext(t), second); err != nil || again.GetVersion() != 2 || again.GetChanged() {
		t.Fatalf("the same again: %v, %v", again, err)
	}
	mustInit(t, cl, "pinned", "pinned-2")
	mustInit(t, cl, "pinned", "pinned-old", client.WithSpecVersion(1))
	for id, version := range map[string]uint64{"pinned-1": 1, "pinned-2": 2, "pinned-old": 1} {
		if resp := step(t, cl, id, "ping", "right"); resp.GetSpecVersion() != version {
			t.Fatalf("%s is at version %d, want %d", id, resp.GetSpecVersion(), version)
		}
	}
	if _, err := cl.DeleteSpecification(testContext(t), "pinned"); err != nil {
		t.Fatal(err)
	}
	for node := range 3 {
		cl := c.ClientWith(client.Options{}, node)
		for _, opts := range [][]client.InitOption{nil, {client.WithSpecVersion(1)}, {client.WithSpecVersion(2)}} {
			Eventually(t, "the deletion to be known everywhere", func() bool {
				_, err := cl.Init(testContext(t), "pinned", "pinned-late"+requestID(), opts...)
				return errors.Is(err, client.ErrSpecificationNotFound)
			})
		}
		list, err := cl.ListSpecifications(testContext(t))
		if err != nil || slices.ContainsFunc(list.GetSpecifications(), func(s *spexv1.SpecificationInfo) bool { return s.GetName() == "pinned" }) {
			t.Fatalf("%v, %v", list, err)
		}
	}
	if resp := step(t, cl, "pinned-1", "pong", "left"); resp.GetVerdict() != verdictOK {
		t.Fatalf("an instance of a deleted specification goes on: %v", resp)
	}
	if resp, err := cl.ApplySpecification(testContext(t), second); err != nil || resp.GetVersion() != 3 {
		t.Fatalf("applied anew: %v, %v", resp, err)
	}
}

func modelsAreImported(t *testing.T, c *Cluster) {
	cl := c.Client()
	apply(t, cl, pingPong("import"))
	mustInit(t, cl, "import", "import-a")
	seal(t, cl, "import")
	if resp := step(t, cl, "import-a", "ping", "right"); resp.GetVerdict() == verdictOK {
		t.Fatalf("a step that the model does not know: %v", resp)
	}
	imported, err := cl.ImportModel(testContext(t), "import", false, []*typesv1.Transition{
		{From: "left", Action: "ping", To: "right"}, {From: "left", Action: "ping", To: "right"}, {From: "right", Action: "pong", To: "left"},
	})
	if err != nil || imported.GetAdded() != 2 || imported.GetModel().GetMode() != typesv1.ModelMode_MODEL_MODE_SEALED {
		t.Fatalf("%v, %v", imported, err)
	}
	// The import of a sealed model answers when all shards have it.
	for shard := uint32(1); shard <= 4; shard++ {
		id := inShard(t, 4, shard, "import", 1)
		mustInit(t, cl, "import", id)
		if resp := step(t, cl, id, "ping", "right"); resp.GetVerdict() != verdictOK {
			t.Fatalf("shard %d does not know what was imported: %v", shard, resp)
		}
	}
	info, transitions, err := cl.GetModel(testContext(t), "import", 0)
	if err != nil || len(transitions) != 3 || !info.GetEquivalent() || info.GetTransitions() != 3 {
		t.Fatalf("%v, %v, %v", info, transitions, err)
	}
	if resp, err := cl.LearnModel(testContext(t), "import"); err != nil || resp.GetModel().GetMode() != typesv1.ModelMode_MODEL_MODE_LEARNING {
		t.Fatalf("%v, %v", resp, err)
	}
	// So does learning again, as long as no shard stays away.
	for shard := uint32(1); shard <= 4; shard++ {
		id := inShard(t, 4, shard, "import", 1)
		if resp := step(t, cl, id, fmt.Sprint("new", shard), "left"); resp.GetVerdict() != verdictOK {
			t.Fatalf("shard %d does not learn again: %v", shard, resp)
		}
	}
	if m := seal(t, cl, "import"); m.GetTransitions() != 7 || m.GetEquivalent() {
		t.Fatalf("sealed again: %v", m)
	}
}

func limits(t *testing.T, c *Cluster) {
	cl := c.Client()
	long := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(i%26)
		}
		return string(b)
	}
	s := pingPong(long(spec.MaxSpecNameBytes))
	apply(t, cl, s)
	meta := map[string]string{}
	for i := range spec.MaxMetaKeys {
		meta[fmt.Sprintf("%03d", i)] = long(spec.MaxMetaBytes/spec.MaxMetaKeys - 3)
	}
	id := long(spec.MaxIdentifierBytes)
	mustInit(t, cl, s.GetName(), id, client.WithMeta(meta), client.WithInitialState(long(spec.MaxNameBytes)))
	got, err := cl.Get(testContext(t), id)
	if err != nil || len(got.GetInstance().GetMeta()) != spec.MaxMetaKeys {
		t.Fatalf("%v, %v", got, err)
	}
	step(t, cl, id, long(spec.MaxNameBytes), long(spec.MaxNameBytes-1))
	meta["more"] = "x"
	for name, err := range map[string]error{
		"id":     second(cl.Init(testContext(t), s.GetName(), id+"x")),
		"meta":   second(cl.Init(testContext(t), s.GetName(), "limits-a", client.WithMeta(meta))),
		"state":  second(cl.Init(testContext(t), s.GetName(), "limits-a", client.WithInitialState(long(spec.MaxNameBytes+1)))),
		"action": second(cl.Transition(testContext(t), id, long(spec.MaxNameBytes+1), "left")),
	} {
		if !errors.Is(err, client.ErrLimitExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(history(t, cl, id)); n != 2 {
		t.Fatalf("%d steps, want 2", n)
	}
}

func second[T any](_ T, err error) error { return err }
