package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// takeSnapshots answers installations as raft does: it reads to the end, then responds.
func takeSnapshots(b *RaftTransport, got chan<- []byte) {
	for {
		select {
		case rpc := <-b.Consumer():
			data, err := io.ReadAll(rpc.Reader)
			got <- data
			rpc.Respond(&raft.InstallSnapshotResponse{Term: rpc.Command.(*raft.InstallSnapshotRequest).Term, Success: err == nil}, err)
		case <-b.ctx.Done():
			return
		}
	}
}

func TestSnapshotsArriveWhole(t *testing.T) {
	a, b, _, _ := twoNodes(t, nil)
	got := make(chan []byte, 1)
	go takeSnapshots(b, got)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, MaxSnapshotChunkBytes - 1, MaxSnapshotChunkBytes, MaxSnapshotChunkBytes + 1, 5*MaxSnapshotChunkBytes + 17} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		var resp raft.InstallSnapshotResponse
		// Half a read at a time: the chunks must not depend on how the store reads.
		src := iotest.HalfReader(bytes.NewReader(data))
		if err := a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Term: 9, Size: int64(size)}, &resp, src); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !resp.Success || resp.Term != 9 {
			t.Errorf("%d bytes: %+v", size, resp)
		}
		if !bytes.Equal(<-got, data) {
			t.Errorf("%d bytes arrived changed", size)
		}
	}
}

func TestSnapshotSizeIsChecked(t *testing.T) {
	a, b, na, _ := twoNodes(t, nil)
	got := make(chan []byte, 10)
	go takeSnapshots(b, got)

	t.Run("source too short", func(t *testing.T) {
		err := a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: 10}, nil, strings.NewReader("short"))
		if err == nil || !strings.Contains(err.Error(), "5 bytes before its end") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("source too long", func(t *testing.T) {
		err := a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: 2}, nil, strings.NewReader("long"))
		if err == nil || !strings.Contains(err.Error(), "larger than the 2 bytes") {
			t.Errorf("got %v", err)
		}
	})
	cc, err := na.conn("n2")
	if err != nil {
		t.Fatal(err)
	}
	request := func(size int64) *peerv1.InstallSnapshotChunk {
		r := raftInstallToProto(&raft.InstallSnapshotRequest{Size: size}, na.target(1, "n2"))
		return &peerv1.InstallSnapshotChunk{Content: &peerv1.InstallSnapshotChunk_Request{Request: r}}
	}
	data := func(n int) *peerv1.InstallSnapshotChunk {
		return &peerv1.InstallSnapshotChunk{Content: &peerv1.InstallSnapshotChunk_Data{Data: make([]byte, n)}}
	}
	streams := map[string][]*peerv1.InstallSnapshotChunk{
		"nothing":           {},
		"data first":        {data(3)},
		"negative":          {request(-1)},
		"ends early":        {request(10), data(9)},
		"too much":          {request(10), data(9), data(2)},
		"empty chunk":       {request(10), data(0)},
		"large chunk":       {request(4 * MaxSnapshotChunkBytes), data(MaxSnapshotChunkBytes + 1)},
		"request repeated":  {request(10), request(10)},
		"message w/o field": {{}},
	}
	for name, msgs := range streams {
		t.Run(name, func(t *testing.T) {
			stream, err := peerv1.NewRaftServiceClient(cc).InstallSnapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range msgs {
				if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			_, err = stream.CloseAndRecv()
			if len(msgs) == 0 {
				if err == nil {
					t.Error("an empty stream was accepted")
				}
				return
			}
			wantReason(t, ErrorFromStatus(err), typesv1.Reason_REASON_INVALID_ARGUMENT)
		})
	}
}

// The sender gives up on a receiver that takes nothing, whatever the size.
func TestSnapshotToStalledRaft(t *testing.T) {
	short := Timing{SnapshotProgress: 200 * time.Millisecond}
	a, b, _, _ := twoNodes(t, func(c *NetConfig) { c.Timing = short })
	const size = 256 << 20 // More than every window and buffer on the way.
	send := func() error {
		return a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: size}, nil, io.LimitReader(zeroReader{}, size))
	}
	t.Run("not taken", func(t *testing.T) { wantStalled(t, send()) })
	t.Run("taken and not read", func(t *testing.T) {
		taken := make(chan raft.RPC, 1)
		go func() { taken <- <-b.Consumer() }()
		wantStalled(t, send())
		for len(taken) == 0 { // A slow machine gives up before raft has taken it.
			wantStalled(t, send())
		}
		// When raft's disk comes back, raft must learn that there is no more.
		if n, err := io.Copy(io.Discard, (<-taken).Reader); err == nil {
			t.Errorf("raft read %d bytes and no error", n)
		}
	})
}

func wantStalled(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "no progress within") && !strings.Contains(err.Error(), "did not take the snapshot") &&
		!strings.Contains(err.Error(), "nothing of the snapshot arrived") {
		t.Errorf("got %v", err)
	}
}

// The receiver gives up on a sender that sends nothing, so that raft's main
// loop, which reads the snapshot, comes back.
func TestSnapshotFromStalledSender(t *testing.T) {
	m := newPeerMesh(t)
	a := m.start("n1", "a:1", nil, nil).Raft(1)
	b := m.start("n2", "b:1", nil, func(c *NetConfig) { c.Timing.SnapshotProgress = 100 * time.Millisecond }).Raft(1)
	src := &blockingReader{data: bytes.NewReader(make([]byte, 10)), release: make(chan struct{})}
	sent := make(chan error, 1)
	go func() {
		sent <- a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: 20 << 20}, nil, src)
	}()
	rpc := take(t, b)
	if _, err := io.ReadAll(rpc.Reader); err == nil || !strings.Contains(err.Error(), "nothing of the snapshot arrived") {
		t.Errorf("raft read the error %v", err)
	}
	rpc.Respond(nil, errors.New("too late"))
	close(src.release)
	if err := <-sent; err == nil {
		t.Error("the sender was told of success")
	}
}

// hashicorp/raft#585, #268, #312: stopping a node must not wait for a stalled installation,
// on either side.
func TestRaft585ShutdownDuringStalledInstall(t *testing.T) {
	const size = 256 << 20
	stops := map[string]func(a, b *RaftTransport, na, nb *meshNode){
		"sender's group":   func(a, _ *RaftTransport, _, _ *meshNode) { _ = a.Close() },
		"receiver's group": func(_, b *RaftTransport, _, _ *meshNode) { _ = b.Close() },
		"sender's node":    func(_, _ *RaftTransport, na, _ *meshNode) { na.stop("a:1") },
		"receiver's node":  func(_, _ *RaftTransport, _, nb *meshNode) { nb.stop("b:1") },
		"receiver's node gracefully": func(_, _ *RaftTransport, _, nb *meshNode) {
			_ = nb.Close()
			nb.srv.GracefulStop()
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			a, b, na, nb := twoNodes(t, func(c *NetConfig) { c.Timing.SnapshotProgress = time.Hour })
			sent := make(chan error, 1)
			go func() {
				sent <- a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: size}, nil, io.LimitReader(zeroReader{}, size))
			}()
			rpc := take(t, b)
			if _, err := io.ReadFull(rpc.Reader, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			stop(a, b, na, nb)
			if err := <-sent; err == nil {
				t.Error("the sender was told of success")
			}
			if _, err := io.Copy(io.Discard, rpc.Reader); err == nil {
				t.Error("raft took the part for the whole")
			}
			rpc.Respond(&raft.InstallSnapshotResponse{}, nil)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// countingStreams counts the messages that arrive on a server's streams.
func countingStreams(count func()) grpc.ServerOption {
	return grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		return next(srv, &countedStream{ServerStream: s, count: count})
	})
}

type countedStream struct {
	grpc.ServerStream
	count func()
}

func (s *countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.count()
	}
	return err
}
