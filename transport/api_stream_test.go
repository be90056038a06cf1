package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// streamStepFor is a step that says in its request id where it stands.
func streamStepFor(instance string, n int) *spexv1.TransitionRequest {
	return &spexv1.TransitionRequest{Id: instance, Action: "a", ToState: fmt.Sprint("s", n), ExpectedSeq: uint64(n), RequestId: fmt.Sprintf("%s/%d", instance, n)}
}

// orderBackend applies steps in memory and checks the contract of Backend: no
// two calls with steps of one instance at the same time. Steps whose state is
// "fail" fail, and stop their instance within the call.
type orderBackend struct {
	fakeBackend
	delay func(call int)

	order struct {
		sync.Mutex
		busy    map[string]bool
		applied map[string][]string // request ids by instance
		calls   int
		broken  string // how the contract was broken
	}
}

func newOrderBackend(delay func(call int)) *orderBackend {
	b := &orderBackend{delay: delay}
	b.order.busy = make(map[string]bool)
	b.order.applied = make(map[string][]string)
	b.onSteps = b.apply
	return b
}

func (b *orderBackend) apply(_ context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
	mine := make(map[string]bool)
	b.order.Lock()
	b.order.calls++
	call := b.order.calls
	for _, s := range steps {
		if b.order.busy[s.Id] && !mine[s.Id] {
			b.order.broken = "two calls have steps of " + s.Id
		}
		b.order.busy[s.Id], mine[s.Id] = true, true
	}
	b.order.Unlock()
	if b.delay != nil {
		b.delay(call)
	}
	b.order.Lock()
	defer b.order.Unlock()
	failed := make(map[string]*typesv1.ErrorDetail)
	results := make([]*spexv1.TransitionResult, len(steps))
	for i, s := range steps {
		switch {
		case failed[s.Id] != nil:
			results[i] = failedStep(s, skippedAfter(failed[s.Id]))
		case strings.HasPrefix(s.ToState, "fail"):
			failed[s.Id] = detailFor(fsm.Errorf(typesv1.Reason_REASON_SEQUENCE_MISMATCH, "no"))
			results[i] = failedStep(s, failed[s.Id])
		default:
			b.order.applied[s.Id] = append(b.order.applied[s.Id], s.RequestId)
			results[i] = stepStored(s)
		}
	}
	for id := range mine {
		b.order.busy[id] = false
	}
	return results
}

// collect reads results until the stream ends.
func collect(stream spexv1.InstanceService_TransitionStreamClient) (results []*spexv1.TransitionResult, err error) {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
}

// TestStreamKeepsTheOrderOfEveryInstance: whatever is sent, every step is
// answered once, and what was applied of an instance is, in the order in which
// it was sent, the steps that were answered as stored.
func TestStreamKeepsTheOrderOfEveryInstance(t *testing.T) {
	for _, opts := range []APIOptions{{}, {StreamWindow: 3, StreamCalls: 2}, {StreamWindow: 1, StreamCalls: 1}} {
		t.Run(fmt.Sprintf("window %d", opts.StreamWindow), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { checkStreamOrder(t, rt, opts) })
		})
	}
}

func checkStreamOrder(t *testing.T, rt *rapid.T, opts APIOptions) {
	type sent struct {
		instance, kind int
	}
	plan := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) sent {
		return sent{rapid.IntRange(0, 4).Draw(rt, "instance"), rapid.IntRange(0, 19).Draw(rt, "kind")}
	}), 0, 120).Draw(rt, "steps")
	slow := rapid.IntRange(1, 5).Draw(rt, "slow")
	backend := newOrderBackend(func(call int) {
		if call%slow == 0 {
			time.Sleep(200 * time.Microsecond) // lets steps pile up behind the call
		}
	})
	server := &apiServer{backend: backend, opts: opts.withDefaults(), metrics: newAPIMetrics(nil)}
	stream := newPipeStream(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.TransitionStream(stream) }()

	var all []string
	go func() {
		for i, p := range plan {
			step := streamStepFor(fmt.Sprint("i", p.instance), i+2)
			switch p.kind {
			case 0:
				step.ToState = "fail"
			case 1:
				step.Action = "" // malformed
			}
			stream.in <- step
		}
		close(stream.in)
	}()
	for i, p := range plan {
		all = append(all, fmt.Sprintf("i%d/%d", p.instance, i+2))
	}

	answered := make(map[string]bool)
	stored := make(map[string]bool)
	for range plan {
		r := <-stream.out
		if answered[r.RequestId] {
			rt.Fatalf("%s was answered twice", r.RequestId)
		}
		answered[r.RequestId] = true
		stored[r.RequestId] = r.GetResponse() != nil
	}
	if err := <-ended; err != nil {
		rt.Fatalf("the stream ended with %v", err)
	}
	server.opts.Lifecycle.Wait()
	want := make(map[string][]string)
	for _, id := range all {
		if !answered[id] {
			rt.Fatalf("%s was not answered", id)
		}
		if stored[id] {
			instance, _, _ := strings.Cut(id, "/")
			want[instance] = append(want[instance], id)
		}
	}
	backend.order.Lock()
	defer backend.order.Unlock()
	if backend.order.broken != "" {
		rt.Fatal(backend.order.broken)
	}
	if fmt.Sprint(backend.order.applied) != fmt.Sprint(want) {
		rt.Fatalf("applied %v\nstored  %v", backend.order.applied, want)
	}
}

// pipeStream is the server's side of a stream without gRPC.
type pipeStream struct {
	spexv1.InstanceService_TransitionStreamServer
	ctx context.Context
	in  chan *spexv1.TransitionRequest
	out chan *spexv1.TransitionResult
}

func newPipeStream(ctx context.Context) *pipeStream {
	return &pipeStream{ctx: ctx, in: make(chan *spexv1.TransitionRequest), out: make(chan *spexv1.TransitionResult)}
}

func (p *pipeStream) Context() context.Context { return p.ctx }

func (p *pipeStream) Recv() (*spexv1.TransitionRequest, error) {
	select {
	case r, ok := <-p.in:
		if !ok {
			return nil, io.EOF
		}
		return r, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p *pipeStream) Send(r *spexv1.TransitionResult) error {
	select {
	case p.out <- r:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func TestStreamOverGRPC(t *testing.T) {
	backend := newOrderBackend(nil)
	h := startAPI(t, backend, APIOptions{})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	const instances, steps = 20, 50
	go func() {
		for n := range steps {
			for i := range instances {
				if stream.Send(streamStepFor(fmt.Sprint("i", i), n+2)) != nil {
					return // collect has the reason
				}
			}
		}
		_ = stream.CloseSend()
	}()
	results, err := collect(stream)
	if err != nil || len(results) != instances*steps {
		t.Fatalf("%d results, %v", len(results), err)
	}
	next := make(map[string]uint64)
	for _, r := range results {
		s := r.GetResponse()
		if s == nil || r.RequestId != fmt.Sprintf("%s/%d", s.Id, s.Seq) || s.Seq != next[s.Id]+2 {
			t.Fatalf("result %v after %d of the instance", r, next[s.Id])
		}
		next[s.Id]++
	}
	backend.order.Lock()
	defer backend.order.Unlock()
	if backend.order.calls >= instances*steps {
		t.Errorf("nothing was coalesced: %d calls for %d steps", backend.order.calls, instances*steps)
	}
}

func TestLoneStepIsNotDelayed(t *testing.T) {
	// One call hangs; a step of another instance is answered all the same, and alone.
	release := make(chan struct{})
	backend := newOrderBackend(func(call int) {
		if call == 1 {
			<-release
		}
	})
	h := startAPI(t, backend, APIOptions{})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	send := func(s *spexv1.TransitionRequest) {
		t.Helper()
		if err := stream.Send(s); err != nil {
			t.Fatal(err)
		}
	}
	recv := func(want string) {
		t.Helper()
		if r, err := stream.Recv(); err != nil || r.RequestId != want {
			t.Fatalf("got %v, %v; want %s", r, err, want)
		}
	}
	send(streamStepFor("slow", 2))
	backend.waitCalls(t, 1)
	send(streamStepFor("slow", 3)) // waits for the one before
	send(streamStepFor("quick", 2))
	recv("quick/2")
	close(release)
	recv("slow/2")
	recv("slow/3")
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if rest, err := collect(stream); err != nil || len(rest) != 0 {
		t.Errorf("rest %v, %v", rest, err)
	}
}

// waitCalls waits until the backend has been called n times.
func (b *orderBackend) waitCalls(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.order.Lock()
		calls := b.order.calls
		b.order.Unlock()
		if calls >= n {
			return
		}
	}
	t.Fatalf("the backend was not called %d times", n)
}

// TestWindowStopsReading: with the backend stuck, the server reads a window of steps and no more.
func TestWindowStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		backend := newOrderBackend(func(int) { <-release })
		server := &apiServer{backend: backend, opts: APIOptions{StreamWindow: 8}.withDefaults(), metrics: newAPIMetrics(nil)}
		stream := newPipeStream(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- server.TransitionStream(stream) }()
		for n := range 8 {
			stream.in <- streamStepFor("i", n+2)
		}
		synctest.Wait()
		select {
		case stream.in <- streamStepFor("i", 10):
			t.Error("a ninth step was read")
		default:
		}
		close(release)
		go func() {
			stream.in <- streamStepFor("i", 10)
			close(stream.in)
		}()
		for n := range 9 {
			if r := <-stream.out; r.RequestId != fmt.Sprint("i/", n+2) {
				t.Errorf("answer %d is %v", n, r)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.opts.Lifecycle.Wait()
	})
}

// TestClientThatDoesNotReadItsAnswersIsNotRead: back pressure works in the
// other direction too, and the end of the stream frees everybody.
func TestClientThatDoesNotReadItsAnswersIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newOrderBackend(nil)
		server := &apiServer{backend: backend, opts: APIOptions{StreamWindow: 4}.withDefaults(), metrics: newAPIMetrics(nil)}
		ctx, cancel := context.WithCancel(t.Context())
		stream := newPipeStream(ctx)
		ended := make(chan error, 1)
		go func() { ended <- server.TransitionStream(stream) }()
		read := 0
		for n := 0; ; n++ {
			synctest.Wait()
			select {
			case stream.in <- streamStepFor("i", n+2):
				read++
				continue
			default:
			}
			break
		}
		if read != 4 {
			t.Errorf("%d steps were read", read)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the stream ended with %v", err)
		}
		server.opts.Lifecycle.Wait()
	})
}

func TestFailedStepStopsWhatWaitsBehindIt(t *testing.T) {
	release := make(chan struct{})
	backend := newOrderBackend(func(call int) {
		if call == 1 {
			<-release
		}
	})
	h := startAPI(t, backend, APIOptions{})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	bad := streamStepFor("i", 2)
	bad.ToState = "fail"
	for i, s := range []*spexv1.TransitionRequest{bad, streamStepFor("i", 3), streamStepFor("i", 4), streamStepFor("j", 2)} {
		if err := stream.Send(s); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			backend.waitCalls(t, 1)
		}
	}
	// j's answer shows that the steps of i before it have been read.
	if r, err := stream.Recv(); err != nil || r.RequestId != "j/2" {
		t.Fatalf("got %v, %v", r, err)
	}
	close(release)
	for n := 2; n <= 4; n++ {
		r, err := stream.Recv()
		if err != nil || r.RequestId != fmt.Sprint("i/", n) || !r.GetError().GetNotApplied() || r.GetError().GetReason() != typesv1.Reason_REASON_SEQUENCE_MISMATCH {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	// The instance is free again.
	if err := stream.Send(streamStepFor("i", 2)); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetResponse().GetState() != "s2" {
		t.Fatalf("got %v, %v", r, err)
	}
	_ = stream.CloseSend()
	if _, err := collect(stream); err != nil {
		t.Error(err)
	}
}

func TestStreamEndsWithItsCaller(t *testing.T) {
	ended := make(chan struct{})
	backend := &fakeBackend{onSteps: func(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
		<-ctx.Done()
		close(ended)
		return []*spexv1.TransitionResult{failedStep(steps[0], detailFor(ctx.Err()))}
	}}
	h := startAPI(t, backend, APIOptions{})
	ctx, cancel := context.WithCancel(apiContext(t))
	stream, err := h.instances.TransitionStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(streamStepFor("i", 2)); err != nil {
		t.Fatal(err)
	}
	backend.waitFor(t, "Transitions")
	cancel()
	<-ended
	if _, err := collect(stream); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
}

// waitFor waits until the method has been called.
func (b *fakeBackend) waitFor(t testing.TB, method string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.mu.Lock()
		n := b.calls[method]
		b.mu.Unlock()
		if n > 0 {
			return
		}
	}
	t.Fatalf("%s was not called", method)
}

func TestStepsOfAStreamHaveADeadline(t *testing.T) {
	backend := &fakeBackend{onSteps: func(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
		<-ctx.Done()
		return []*spexv1.TransitionResult{failedStep(steps[0], detailFor(ctx.Err()))}
	}}
	h := startAPI(t, backend, APIOptions{DefaultTimeout: 20 * time.Millisecond})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(streamStepFor("i", 2)); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetError().GetReason() != typesv1.Reason_REASON_UNAVAILABLE || r.GetError().GetNotApplied() {
		t.Errorf("got %v, %v", r, err)
	}
	_ = stream.CloseSend()
	if _, err := collect(stream); err != nil {
		t.Error(err)
	}
}

// TestDrainEndsStreams: what is under way is answered, what waits is refused
// as not applied, and the server stops although the client would go on.
func TestDrainEndsStreams(t *testing.T) {
	release := make(chan struct{})
	backend := newOrderBackend(func(call int) {
		if call == 1 {
			<-release
		}
	})
	h := startAPI(t, backend, APIOptions{})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []*spexv1.TransitionRequest{streamStepFor("i", 2), streamStepFor("i", 3), streamStepFor("j", 2)} {
		if err := stream.Send(s); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			backend.waitCalls(t, 1)
		}
	}
	if r, err := stream.Recv(); err != nil || r.RequestId != "j/2" {
		t.Fatalf("got %v, %v", r, err)
	}
	h.lifecycle.Drain()
	if r, err := stream.Recv(); err != nil || r.RequestId != "i/3" || !r.GetError().GetNotApplied() || r.GetError().GetReason() != typesv1.Reason_REASON_UNAVAILABLE {
		t.Fatalf("got %v, %v", r, err)
	}
	close(release)
	rest, err := collect(stream)
	if len(rest) != 1 || rest[0].GetResponse().GetState() != "s2" {
		t.Errorf("rest %v", rest)
	}
	if status.Code(err) != codes.Unavailable || reasonIn(err) != typesv1.Reason_REASON_UNAVAILABLE {
		t.Errorf("the stream ended with %v", err)
	}
	h.server.GracefulStop()
}

func TestPanicOfTheBackendInAStreamIsAnAnswer(t *testing.T) {
	backend := &fakeBackend{onSteps: func(context.Context, []*spexv1.TransitionRequest) []*spexv1.TransitionResult { panic("boom") }}
	h := startAPI(t, backend, APIOptions{})
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := stream.Send(streamStepFor("i", n+2)); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || r.GetError().GetReason() != typesv1.Reason_REASON_INTERNAL || r.GetError().GetNotApplied() {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	_ = stream.CloseSend()
	if _, err := collect(stream); err != nil {
		t.Error(err)
	}
}
