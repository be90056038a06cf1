package inproc

import (
	"fmt"
	"testing"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func transition(id, action, state string, seq uint64) *spexv1.TransitionRequest {
	return &spexv1.TransitionRequest{Namespace: "default", Id: id, Action: action, ToState: state, ExpectedSeq: seq, RequestId: requestID()}
}

// outcome is short for a result: the seq of a step that is stored, or the reason.
func outcome(r *spexv1.TransitionResult) string {
	if e := r.GetError(); e != nil {
		s := e.GetReason().String()[len("REASON_"):]
		if e.GetNotApplied() {
			s += " (not applied)"
		}
		return s
	}
	if r.GetResponse().GetDuplicate() {
		return fmt.Sprintf("%d again", r.GetResponse().GetSeq())
	}
	return fmt.Sprint(r.GetResponse().GetSeq())
}

// TestBatches: the steps of an instance are applied in their order, none behind
// one that failed, and instances do not affect each other.
func TestBatches(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 1, Replicas: 1, Shards: 2})
	cl := c.Client()
	apply(t, cl, pingPong("batch"))
	api := spexv1.NewInstanceServiceClient(raw(t, c, 0))
	send := func(t *testing.T, steps ...*spexv1.TransitionRequest) []string {
		t.Helper()
		resp, err := api.TransitionBatch(testContext(t), &spexv1.TransitionBatchRequest{Transitions: steps})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for i, r := range resp.GetResults() {
			if r.GetRequestId() != steps[i].GetRequestId() {
				t.Fatalf("result %d is about %q, want %q", i, r.GetRequestId(), steps[i].GetRequestId())
			}
			list = append(list, outcome(r))
		}
		return list
	}
	const malformed = "INVALID_ARGUMENT (not applied)"
	const mismatch = "SEQUENCE_MISMATCH (not applied)"
	for _, tc := range []struct {
		name  string
		steps func(id string) []*spexv1.TransitionRequest
		want  []string
		kept  int
	}{
		{"in order, without seq", func(id string) []*spexv1.TransitionRequest {
			return []*spexv1.TransitionRequest{transition(id, "ping", "right", 0), transition(id, "pong", "left", 0), transition(id, "ping", "right", 0)}
		}, []string{"2", "3", "4"}, 4},
		{"a chain", func(id string) []*spexv1.TransitionRequest {
			return []*spexv1.TransitionRequest{transition(id, "ping", "right", 2), transition(id, "pong", "left", 3), transition(id, "ping", "right", 4)}
		}, []string{"2", "3", "4"}, 4},
		{"a chain that begins too late", func(id string) []*spexv1.TransitionRequest {
			return []*spexv1.TransitionRequest{transition(id, "ping", "right", 3), transition(id, "pong", "left", 4)}
		}, []string{mismatch, mismatch}, 1},
		{"the second fits only because the first failed", func(id string) []*spexv1.TransitionRequest {
			return []*spexv1.TransitionRequest{transition(id, "ping", "right", 9), transition(id, "pong", "left", 2), transition(id, "pong", "left", 0)}
		}, []string{mismatch, mismatch, mismatch}, 1},
		{"a malformed step", func(id string) []*spexv1.TransitionRequest {
			return []*spexv1.TransitionRequest{transition(id, "ping", "right", 0), transition(id, "", "right", 0), transition(id, "pong", "left", 0)}
		}, []string{"2", malformed, malformed}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Its neighbour in the same batch, in another shard, is not affected.
			id, other := inShard(t, 2, 1, tc.name, 0), inShard(t, 2, 2, tc.name, 0)
			mustInit(t, cl, "batch", id)
			mustInit(t, cl, "batch", other)
			steps := append(tc.steps(id), transition(other, "ping", "right", 2))
			want := append(tc.want, "2")
			if got := send(t, steps...); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("got  %q\nwant %q", got, want)
			}
			if n := len(history(t, cl, id)); n != tc.kept {
				t.Fatalf("%d steps are stored, want %d", n, tc.kept)
			}
		})
	}
	t.Run("a chain behind somebody else's step", func(t *testing.T) {
		mustInit(t, cl, "batch", "raced")
		step(t, cl, "raced", "ping", "right")
		// The chain was made when the instance was at seq 1. Its second step would
		// fit, and must not be taken without the first.
		got := send(t, transition("raced", "other", "elsewhere", 2), transition("raced", "pong", "left", 3))
		if want := []string{mismatch, mismatch}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
	t.Run("a chain sent twice", func(t *testing.T) {
		mustInit(t, cl, "batch", "twice")
		var steps []*spexv1.TransitionRequest
		for seq := uint64(2); seq < 40; seq += 2 {
			steps = append(steps, transition("twice", "ping", "right", seq), transition("twice", "pong", "left", seq+1))
		}
		half := send(t, steps[:20]...)
		all := send(t, steps...)
		for i := range all {
			want := fmt.Sprint(i + 2)
			if i < len(half) {
				want += " again"
			}
			if all[i] != want {
				t.Fatalf("result %d is %q, want %q", i, all[i], want)
			}
		}
	})
	t.Run("a thousand steps", func(t *testing.T) {
		var steps []*spexv1.TransitionRequest
		for i := range 1000 {
			id := fmt.Sprint("many-", i%10)
			if i < 10 {
				mustInit(t, cl, "batch", id)
			}
			steps = append(steps, transition(id, "ping", "right", uint64(i/10+2)))
		}
		for i, got := range send(t, steps...) {
			if want := fmt.Sprint(i/10 + 2); got != want {
				t.Fatalf("result %d is %q, want %q", i, got, want)
			}
		}
	})
}

// TestStream: a stream over a cluster answers every step once, in the order of
// each instance.
func TestStream(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	cl := c.Client()
	apply(t, cl, pingPong("stream"))
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = fmt.Sprint("stream-", i)
		mustInit(t, cl, "stream", ids[i])
	}
	mustInit(t, cl, "stream", "stream-known")
	step(t, cl, "stream-known", "ping", "right")
	step(t, cl, "stream-known", "pong", "left")
	seal(t, cl, "stream")
	s, err := c.Client(1).Stream(testContext(t), client.WithWindow(64))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const rounds = 30
	go func() {
		defer s.CloseSend()
		for r := range rounds {
			for i, id := range ids {
				req := &spexv1.TransitionRequest{Id: id, Action: "ping", ToState: "right"}
				if r%2 == 1 {
					req.Action, req.ToState = "pong", "left"
				}
				if i == 3 && r == 10 {
					req.Action = "explode"
				}
				if _, err := s.Send(testContext(t), req); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	seqs := map[string]uint64{}
	verdicts := map[typesv1.Verdict]int{}
	for range rounds * len(ids) {
		r, err := s.Recv(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		resp := r.GetResponse()
		if want := max(seqs[resp.GetId()], 1) + 1; resp.GetSeq() != want {
			t.Fatalf("%s: seq %d, want %d (%v)", resp.GetId(), resp.GetSeq(), want, r.GetError())
		}
		seqs[resp.GetId()] = resp.GetSeq()
		verdicts[resp.GetVerdict()]++
	}
	// One step was novel; the one after it was known, and begins where it ended.
	if verdicts[verdictNot] != 1 || verdicts[verdictOK] != rounds*len(ids)-1 {
		t.Fatalf("verdicts: %v", verdicts)
	}
	for _, id := range ids {
		if n := len(history(t, cl, id)); n != rounds+1 {
			t.Fatalf("%s has %d steps, want %d", id, n, rounds+1)
		}
	}
}
