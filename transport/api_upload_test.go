package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// wideSpec is a specification of n transitions, each with names of full length.
func wideSpec(n int) *typesv1.Specification {
	name := func(kind string, i int) string {
		s := fmt.Sprint(kind, i)
		return s + strings.Repeat("x", 256-len(s))
	}
	s := &typesv1.Specification{Name: "wide"}
	for i := range n {
		s.Transitions = append(s.Transitions, &typesv1.Transition{From: name("s", i), Action: name("a", i), To: name("s", i+1)})
	}
	return s
}

func chunks(data []byte, size int) (pieces [][]byte) {
	for len(data) > 0 {
		n := min(size, len(data))
		pieces, data = append(pieces, data[:n]), data[n:]
	}
	return pieces
}

// TestLargestSpecification goes up and comes down again in pieces, unchanged.
func TestLargestSpecification(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	ctx := apiContext(t)
	sent := wideSpec(10_000)
	r, err := applySpec(ctx, h, "", chunks(mustMarshal(sent), ChunkBytes)...)
	if err != nil || r.Name != "wide" {
		t.Fatalf("got %v, %v", r, err)
	}
	sent.InitialState = sent.Transitions[0].From
	if len(backend.spec.Transitions) != 10_000 || backend.spec.InitialState != sent.InitialState {
		t.Fatalf("the backend got %d transitions, initial state %q", len(backend.spec.Transitions), backend.spec.InitialState)
	}

	stream, err := h.specs.GetSpecification(ctx, &spexv1.GetSpecificationRequest{Name: "wide"})
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for n := 0; ; n++ {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(piece.Data) > ChunkBytes || (piece.Version != 0) != (n == 0) {
			t.Errorf("piece %d has %d bytes and version %d", n, len(piece.Data), piece.Version)
		}
		data = append(data, piece.Data...)
	}
	got := new(typesv1.Specification)
	if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(got, backend.spec) {
		t.Errorf("it came back changed: %v", err)
	}
}

func TestRefusedSpecifications(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	good := mustMarshal(treeSpec)
	bad := func(change func(*typesv1.Specification)) []byte {
		s := proto.Clone(treeSpec).(*typesv1.Specification)
		change(s)
		return mustMarshal(s)
	}
	for _, c := range []struct {
		name      string
		namespace string
		pieces    [][]byte
		want      typesv1.Reason
	}{
		{"nothing", "", nil, typesv1.Reason_REASON_UPLOAD_INCOMPLETE},
		{"empty pieces", "", [][]byte{nil, nil}, typesv1.Reason_REASON_UPLOAD_INCOMPLETE},
		{"byte by byte", "", chunks(good, 1), fine},
		{"cut off", "", [][]byte{good[:len(good)-1]}, typesv1.Reason_REASON_DESERIALISATION_FAILED},
		{"not protobuf", "", [][]byte{[]byte("name: tree\n")}, typesv1.Reason_REASON_DESERIALISATION_FAILED},
		{"too many bytes", "", chunks(make([]byte, api.MaxUploadBytes+1), 1<<20), limit},
		{"too many transitions", "", chunks(mustMarshal(wideSpec(10_001)), ChunkBytes), limit},
		{"a long namespace", text(129), [][]byte{good}, limit},
		{"no name", "", [][]byte{bad(func(s *typesv1.Specification) { s.Name = "" })}, invalid},
		{"a name with a slash", "", [][]byte{bad(func(s *typesv1.Specification) { s.Name = "a/b" })}, invalid},
		{"a long state", "", [][]byte{bad(func(s *typesv1.Specification) { s.Transitions[1].To = text(257) })}, limit},
		{"a reserved state", "", [][]byte{bad(func(s *typesv1.Specification) { s.Transitions[1].To = "__internal__" })}, reserved},
		{"a reserved action", "", [][]byte{bad(func(s *typesv1.Specification) { s.Transitions[1].Action = "__initialisation__" })}, reserved},
		{"a history limit that is too large", "", [][]byte{bad(func(s *typesv1.Specification) { s.HistoryLimit = 100_001 })}, limit},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend.set(func() { backend.spec = nil })
			_, err := applySpec(apiContext(t), h, c.namespace, c.pieces...)
			if reasonIn(err) != c.want {
				t.Fatalf("got %v (%v), want %v", reasonIn(err), err, c.want)
			}
			if (backend.spec != nil) != (err == nil) {
				t.Errorf("the backend got %v", backend.spec)
			}
		})
	}
	stream, err := h.specs.ApplySpecification(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"one", "two"} {
		_ = stream.Send(&spexv1.ApplySpecificationRequest{Namespace: namespace, Data: good[:1]})
	}
	if _, err := stream.CloseAndRecv(); reasonIn(err) != invalid {
		t.Errorf("two namespaces: %v", err)
	}
}

func TestImportModel(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	many := func(n int) []*spexv1.ImportModelRequest {
		pieces := []*spexv1.ImportModelRequest{{Spec: "tree"}}
		for i := 0; i < n; i += 100 {
			p := new(spexv1.ImportModelRequest)
			for j := i; j < min(i+100, n); j++ {
				p.Transitions = append(p.Transitions, &typesv1.Transition{From: fmt.Sprint("s", j), Action: "a", To: "t"})
			}
			pieces = append(pieces, p)
		}
		return pieces
	}
	one := func(from, action, to string) []*spexv1.ImportModelRequest {
		return []*spexv1.ImportModelRequest{{Spec: "tree", Transitions: []*typesv1.Transition{{From: "s", Action: "a", To: "t"}, {From: from, Action: action, To: to}}}}
	}
	for _, c := range []struct {
		name   string
		pieces []*spexv1.ImportModelRequest
		want   typesv1.Reason
	}{
		{"nothing", nil, typesv1.Reason_REASON_UPLOAD_INCOMPLETE},
		{"no transitions", []*spexv1.ImportModelRequest{{Spec: "tree"}}, fine},
		{"as many as may be", many(20_000), fine},
		{"one more", many(20_001), limit},
		{"an initialisation", one("", "__initialisation__", "s"), fine},
		{"tau", one("s", "__internal__", "t"), fine},
		{"an initialisation from a state", one("s", "__initialisation__", "s"), invalid},
		{"a reserved state", one("__internal__", "a", "s"), reserved},
		{"a long action", one("s", text(257), "t"), limit},
		{"no action", one("s", "", "t"), invalid},
		{"no specification", []*spexv1.ImportModelRequest{{}}, invalid},
		{"a second name", []*spexv1.ImportModelRequest{{Spec: "tree"}, {Spec: "cycle"}}, invalid},
		{"a second namespace", []*spexv1.ImportModelRequest{{Spec: "tree"}, {Namespace: "n"}}, invalid},
		{"a mode that is not there", []*spexv1.ImportModelRequest{{Spec: "tree", Mode: 3}}, invalid},
		{"a mode later on", []*spexv1.ImportModelRequest{{Spec: "tree"}, {Mode: spexv1.ImportMode_IMPORT_MODE_MERGE}}, invalid},
		{"learning later on", []*spexv1.ImportModelRequest{{Spec: "tree"}, {Learning: true}}, invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := importModel(apiContext(t), h, c.pieces...)
			if reasonIn(err) != c.want {
				t.Fatalf("got %v (%v), want %v", reasonIn(err), err, c.want)
			}
			total := 0
			for _, p := range c.pieces {
				total += len(p.Transitions)
			}
			if err == nil && int(r.Added) != total {
				t.Errorf("the backend got %d of %d transitions", r.Added, total)
			}
		})
	}
}

func TestGetModelInPieces(t *testing.T) {
	for _, n := range []int{0, 1, 3000} {
		backend := &fakeBackend{model: wideSpec(n).Transitions}
		h := startAPI(t, backend, APIOptions{})
		stream, err := h.models.GetModel(apiContext(t), &spexv1.GetModelRequest{Spec: "tree", SpecVersion: 9})
		if err != nil {
			t.Fatal(err)
		}
		var got []*typesv1.Transition
		pieces := 0
		for ; ; pieces++ {
			piece, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if proto.Size(piece) > ChunkBytes || (piece.Info.GetSpecVersion() == 9) != (pieces == 0) {
				t.Errorf("piece %d has %d bytes and %v", pieces, proto.Size(piece), piece.Info)
			}
			got = append(got, piece.Transitions...)
		}
		if len(got) != n || pieces == 0 || n == 3000 && pieces < 9 {
			t.Errorf("%d transitions in %d pieces, want %d", len(got), pieces, n)
		}
		for i := range got {
			if !proto.Equal(got[i], backend.model[i]) {
				t.Fatalf("transition %d is %v", i, got[i])
			}
		}
	}
}

// TestStalledTransfersEnd: a client that neither sends nor reads cannot hold a
// handler past the deadline, which only the server knows here.
func TestStalledTransfersEnd(t *testing.T) {
	backend := &fakeBackend{model: wideSpec(20_000).Transitions}
	h := startAPI(t, backend, APIOptions{DefaultTimeout: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	up, err := h.specs.ApplySpecification(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Send(&spexv1.ApplySpecificationRequest{Data: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	var none spexv1.ApplySpecificationResponse
	if err := up.RecvMsg(&none); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("upload: %v", err)
	}

	down, err := h.models.GetModel(ctx, &spexv1.GetModelRequest{Spec: "s"})
	if err != nil {
		t.Fatal(err)
	}
	backend.waitFor(t, "GetModel")
	h.lifecycle.Wait() // the handler ends before anything is read
	for {
		if _, err = down.Recv(); err != nil {
			break
		}
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("download: %v", err)
	}
}

func TestMessageOverTheLimit(t *testing.T) {
	h := startAPI(t, &fakeBackend{}, APIOptions{})
	_, err := applySpec(apiContext(t), h, "", make([]byte, MaxRequestBytes+1))
	if status.Code(err) != codes.ResourceExhausted || reasonIn(err) != limit {
		t.Errorf("got %v with %v", err, reasonIn(err))
	}
	batch := &spexv1.TransitionBatchRequest{}
	for i := range 1000 {
		batch.Transitions = append(batch.Transitions, &spexv1.TransitionRequest{Namespace: text(128), Id: text(508) + fmt.Sprintf("%04d", i),
			Action: text(256), ToState: text(256), RequestId: text(128), ExpectedSeq: 1 << 62, Incarnation: 1 << 62})
	}
	if r, err := h.instances.TransitionBatch(apiContext(t), batch); err != nil || len(r.Results) != 1000 || r.Results[999].GetResponse() == nil {
		t.Errorf("the largest batch: %v", err)
	}
	batch.Transitions = append(batch.Transitions, batch.Transitions[0])
	if _, err := h.instances.TransitionBatch(apiContext(t), batch); reasonIn(err) != limit {
		t.Errorf("one step more: %v", err)
	}
}
