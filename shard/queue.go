package shard

import (
	"sync"

	"github.com/spexio/spex/fsm"
)

// call is one Propose or ProposeAll. All fields but done are guarded by the
// queue's mutex until done is closed; after that nobody writes them.
type call struct {
	done    chan struct{}
	results []Applied
	// left counts the commands without an outcome.
	left int
	// taken is set when a command of the call went into a batch.
	taken bool
	// abandoned is set when the caller has gone; what is still queued is dropped.
	abandoned bool
	// err is the first failure.
	err *fsm.Error
}

// item is one command on its way.
type item struct {
	call *call
	pos  int
	// data is the command in wire form.
	data []byte
}

// queue holds the commands that arrived while a batch was on its way.
// Invariant: len(items)-head <= limit.
type queue struct {
	limit int
	// wake has a token when something was added or the queue was closed.
	wake chan struct{}

	mu sync.Mutex // guards the fields below and the calls
	// items[head:] wait; what is before head is nil.
	items []item
	head  int
	// err is why the queue is closed; nil while it is open.
	err *fsm.Error
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1)}
}

// add queues the commands of a call, all or none. It reports whether there was room,
// and the reason why the queue is closed.
func (q *queue) add(c *call, commands [][]byte) (room bool, closed *fsm.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return true, q.err
	}
	if len(q.items)-q.head+len(commands) > q.limit {
		return false, nil
	}
	if q.head > 0 && len(q.items)+len(commands) > cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	for pos, data := range commands {
		q.items = append(q.items, item{call: c, pos: pos, data: data})
	}
	signal(q.wake)
	return true, nil
}

// take removes what fits into one entry, oldest first, and drops what was
// abandoned. It returns nothing only when nothing waits.
func (q *queue) take(maxCommands, maxBytes int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []item
	bytes := entryOverhead
	for q.head < len(q.items) {
		it := q.items[q.head]
		if !it.call.abandoned {
			size := commandSize(it.data)
			if len(batch) > 0 && (len(batch) == maxCommands || bytes+size > maxBytes) {
				break
			}
			bytes += size
			it.call.taken = true
			batch = append(batch, it)
		}
		q.items[q.head] = item{}
		q.head++
	}
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return batch
}

// length is how many commands are queued, abandoned ones included.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head
}

// resolve gives items their outcome: outcomes has one element for each.
func (q *queue) resolve(batch []item, outcomes []Applied) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, it := range batch {
		q.settleLocked(it, outcomes[i], nil)
	}
}

// fail gives items a failure.
func (q *queue) fail(batch []item, err *fsm.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range batch {
		q.settleLocked(it, Applied{}, err)
	}
}

func (q *queue) settleLocked(it item, outcome Applied, err *fsm.Error) {
	c := it.call
	if err != nil {
		outcome = Applied{Result: fsm.Result{Err: err}}
		if c.err == nil {
			c.err = err
		}
	}
	c.results[it.pos] = outcome
	c.left--
	if c.left == 0 {
		close(c.done)
	}
}

// failAll fails everything that is queued.
func (q *queue) failAll(err *fsm.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failAllLocked(err)
}

func (q *queue) failAllLocked(err *fsm.Error) {
	for _, it := range q.items[q.head:] {
		q.settleLocked(it, Applied{}, err)
	}
	q.items, q.head = nil, 0
}

// close fails everything that is queued or will be. The first reason stays.
func (q *queue) close(err *fsm.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.failAllLocked(err)
	}
	signal(q.wake)
}

// isClosed tells whether the queue was closed.
func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil
}

// abandon is called when a caller goes away. It tells whether the call was
// finished meanwhile, and else whether any of its commands may be in the log.
func (q *queue) abandon(c *call) (finished, taken bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.left == 0 {
		return true, c.taken
	}
	c.abandoned = true
	return false, c.taken
}
