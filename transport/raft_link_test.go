package transport

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// link is a connection whose writes take as long as they would on a link of some
// bytes a second, behind a queue of linkQueue bytes like that of sockets and switches.
type link struct {
	net.Conn
	perSecond int64

	mu     sync.Mutex // guards the fields below
	room   *sync.Cond
	queue  [][]byte
	queued int
	err    error // of a write to the connection, or of closing it
}

const linkQueue = 1 << 20

func newLink(c net.Conn, perSecond int64) *link {
	l := &link{Conn: c, perSecond: perSecond}
	l.room = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// run carries what is queued until the connection is closed.
func (l *link) run() {
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && l.err == nil {
			l.room.Wait()
		}
		if l.err != nil {
			l.mu.Unlock()
			return
		}
		b := l.queue[0]
		l.mu.Unlock()
		time.Sleep(time.Duration(int64(len(b)) * int64(time.Second) / l.perSecond))
		_, err := l.Conn.Write(b)
		l.mu.Lock()
		l.queue, l.queued, l.err = l.queue[1:], l.queued-len(b), err
		l.mu.Unlock()
		l.room.Broadcast()
	}
}

func (l *link) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.queued > 0 && l.queued+len(b) > linkQueue && l.err == nil {
		l.room.Wait()
	}
	if l.err != nil {
		return 0, l.err
	}
	l.queue, l.queued = append(l.queue, slices.Clone(b)), l.queued+len(b)
	l.room.Broadcast()
	return len(b), nil
}

func (l *link) Close() error {
	err := l.Conn.Close()
	l.mu.Lock()
	l.err = net.ErrClosed
	l.mu.Unlock()
	l.room.Broadcast()
	return err
}

// besideCopies is how long entries take on a link of 1 Gbit/s while a node is made anew:
// four groups are copied at a time. Nothing but the link takes any time.
func besideCopies(t *testing.T, copies int, perSecond int64) (p50, p99 time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		m := newPeerMesh(t)
		change := func(c *NetConfig) {
			c.CopyRate, c.Timing = perSecond, Timing{}
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				conn, err := m.dial(ctx, address)
				if err != nil {
					return nil, err
				}
				return newLink(conn, 125_000_000), nil
			}
		}
		from, to := m.start("n1", "a:1", nil, change), m.start("n2", "b:1", nil, change)
		var groups []*RaftTransport
		for id := range uint32(copies + 1) {
			groups = append(groups, from.Raft(id))
			go answerAll(to.Raft(id))
		}
		sent := send(groups[1:], 64<<20)
		var took []time.Duration
		for start := time.Now(); time.Since(start) < 1500*time.Millisecond; {
			begin := time.Now()
			entries := []*raft.Log{{Index: 1, Term: 1, Data: make([]byte, 4<<10)}}
			if err := groups[0].AppendEntries("n2", "n2", &raft.AppendEntriesRequest{Term: 1, Entries: entries}, &raft.AppendEntriesResponse{}); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
			time.Sleep(2 * time.Millisecond)
		}
		if copies > 0 && len(sent) > 0 {
			t.Error("a copy has ended before the writes")
		}
		wantAll(t, copies, sent)
		slices.Sort(took)
		p50, p99 = took[len(took)/2], took[len(took)*99/100]
	})
	return p50, p99
}

// With the default, entries on a link of 1 Gbit/s hardly notice copies.
func TestCopyRateLeavesRoom(t *testing.T) {
	p50, p99 := besideCopies(t, 0, 0)
	t.Logf("no copies: p50 %v, p99 %v", p50, p99)
	freeP50, freeP99 := besideCopies(t, 4, 0)
	t.Logf("four copies without a limit: p50 %v, p99 %v", freeP50, freeP99)
	limitedP50, limitedP99 := besideCopies(t, 4, DefaultCopyRate)
	t.Logf("four copies with the default: p50 %v, p99 %v", limitedP50, limitedP99)
	if freeP50 < 10*p50 {
		t.Error("copies without a limit do not fill the link")
	}
	if limitedP50 > 2*p50 || limitedP99 > time.Millisecond {
		t.Error("copies are in the way of entries")
	}
}
