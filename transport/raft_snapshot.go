package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// InstallSnapshot sends a snapshot of args.Size bytes in chunks. Each chunk has
// a deadline of its own, Timing.SnapshotProgress, so that the whole may take as
// long as it needs while the receiver keeps up; so has the installation after
// the last one. The waits for NetConfig.CopyRate are short beside that, and end with
// the transport. A read of data that blocks is not interrupted.
func (t *RaftTransport) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.ctx.Err() != nil {
		return raft.ErrTransportShutdown
	}
	t.sawTerm(args)
	if t.failuresInARow(to) > awaitAfter {
		t.awaitPeer(to, args.Term)
	}
	cc, err := t.net.conn(string(to))
	if err != nil {
		return t.failed("install snapshot", to, err)
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	progress := t.net.timing.SnapshotProgress
	watch := time.AfterFunc(progress, func() {
		cancel(fmt.Errorf("no progress within %s", progress))
	})
	defer watch.Stop()

	answer, err := t.streamSnapshot(ctx, watch, cc, to, args, data)
	t.count(to, err)
	if err != nil {
		// The cause says more than the "context canceled" that the stream saw.
		if cause := context.Cause(ctx); cause != nil && t.ctx.Err() == nil {
			return fmt.Errorf("install snapshot of group %d to node %s: %w", t.group, to, cause)
		}
		return t.failed("install snapshot", to, err)
	}
	*resp = *raftInstallRespFromProto(answer)
	return nil
}

// streamSnapshot sends the request and the chunks. Every step restarts watch.
func (t *RaftTransport) streamSnapshot(ctx context.Context, watch *time.Timer, cc *grpc.ClientConn, to raft.ServerAddress,
	args *raft.InstallSnapshotRequest, data io.Reader,
) (*peerv1.InstallSnapshotResponse, error) {
	stream, err := peerv1.NewRaftServiceClient(cc).InstallSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	send := func(c *peerv1.InstallSnapshotChunk) (ended bool, err error) {
		watch.Reset(t.net.timing.SnapshotProgress)
		// io.EOF means that the receiver has answered already; CloseAndRecv has the reason.
		if err := stream.Send(c); errors.Is(err, io.EOF) {
			return true, nil
		} else if err != nil {
			return false, err
		}
		return false, nil
	}
	first := &peerv1.InstallSnapshotChunk_Request{Request: raftInstallToProto(args, t.net.target(t.group, string(to)))}
	ended, err := send(&peerv1.InstallSnapshotChunk{Content: first})
	if err == nil && !ended {
		ended, err = t.sendData(ctx, watch, send, args.Size, data)
	}
	if err != nil {
		return nil, err
	}
	if !ended {
		if n, _ := io.ReadFull(data, make([]byte, 1)); n > 0 {
			return nil, localError("the snapshot is larger than the %d bytes that it is said to have", args.Size)
		}
	}
	watch.Reset(t.net.timing.SnapshotInstall)
	return stream.CloseAndRecv()
}

// sendData sends size bytes of data, as fast as the copies of the node may, until
// the receiver has ended the stream.
func (t *RaftTransport) sendData(ctx context.Context, watch *time.Timer, send func(*peerv1.InstallSnapshotChunk) (bool, error),
	size int64, data io.Reader,
) (ended bool, err error) {
	defer t.net.copies.begin()()
	for left := size; left > 0; {
		watch.Reset(t.net.timing.SnapshotProgress)
		n, err := t.net.copies.next(ctx, left)
		if err != nil {
			return false, err
		}
		// Each chunk gets a buffer of its own: a message may still be read after Send.
		buf := make([]byte, n)
		if n, err := io.ReadFull(data, buf); err != nil {
			return false, localError("reading the snapshot, %d bytes before its end: %w", left-int64(n), err)
		}
		left -= n
		if ended, err := send(&peerv1.InstallSnapshotChunk{Content: &peerv1.InstallSnapshotChunk_Data{Data: buf}}); ended || err != nil {
			return ended, err
		}
	}
	return false, nil
}

// localError is a failure on this side of the stream.
func localError(format string, args ...any) error {
	return &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL, Message: fmt.Errorf(format, args...).Error()}
}

// snapshotPump reads the stream of an incoming snapshot, since such a read can
// be ended only by ending the stream. What it reads it writes to a pipe whose
// other end raft reads: while raft does not, no further chunk is taken, and the
// flow control of the stream slows the sender down.
type snapshotPump struct {
	stream   grpc.ClientStreamingServer[peerv1.InstallSnapshotChunk, peerv1.InstallSnapshotResponse]
	progress time.Duration
	// fail ends the call with a cause; the first one counts.
	fail context.CancelCauseFunc
	pipe *io.PipeWriter
	// first receives the request, of which run never sends more than one.
	first chan *peerv1.InstallSnapshotRequest
}

// run reads until the end of the stream.
func (p *snapshotPump) run() {
	if err := p.pump(); err != nil {
		p.fail(err)
		_ = p.pipe.CloseWithError(err) // It never fails.
		return
	}
	_ = p.pipe.Close() // It never fails.
}

func (p *snapshotPump) pump() error {
	watch := time.AfterFunc(p.progress, func() {
		p.fail(fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "nothing of the snapshot arrived within %s", p.progress))
	})
	defer watch.Stop()
	msg, err := p.stream.Recv()
	if err != nil {
		return err
	}
	req := msg.GetRequest()
	if req == nil {
		return snapshotRefusal("the stream of a snapshot does not begin with the request")
	}
	left := req.GetSize()
	if left < 0 {
		return snapshotRefusal("a snapshot cannot have %d bytes", left)
	}
	p.first <- req
	for {
		watch.Reset(p.progress)
		msg, err := p.stream.Recv()
		watch.Stop()
		switch {
		case errors.Is(err, io.EOF) && left == 0:
			return nil
		case errors.Is(err, io.EOF):
			return snapshotRefusal("the snapshot ended %d bytes before its end", left)
		case err != nil:
			return err
		}
		data := msg.GetData()
		switch {
		case len(data) == 0 || len(data) > MaxSnapshotChunkBytes:
			return snapshotRefusal("a chunk of a snapshot has %d bytes; it must have 1 to %d", len(data), MaxSnapshotChunkBytes)
		case int64(len(data)) > left:
			return snapshotRefusal("the snapshot is larger than the %d bytes that its request names", req.GetSize())
		}
		if _, err := p.pipe.Write(data); err != nil {
			return err
		}
		if left -= int64(len(data)); left > 0 {
			failpoint.Hit("transport/snapshot-arriving")
		}
	}
}

func snapshotRefusal(format string, args ...any) error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, format, args...)
}
