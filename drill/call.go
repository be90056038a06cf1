package drill

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// The reasons of refusals that tell something about the instance.
var (
	inUse    = reasonName(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE)
	absent   = reasonName(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND)
	mismatch = reasonName(typesv1.Reason_REASON_SEQUENCE_MISMATCH)
	reused   = reasonName(typesv1.Reason_REASON_REQUEST_ID_REUSED)
)

func reasonName(r typesv1.Reason) string { return strings.TrimPrefix(r.String(), "REASON_") }

// deadline gives a call its time, which the end of the workload does not cut
// short: an answer is wanted to everything that was sent.
func (w *Workload) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), w.cfg.CallTimeout)
}

// send makes a write and fills in what became of it.
func (w *Workload) send(ctx context.Context, c *client.Client, o Operation) Operation {
	ctx, cancel := w.deadline(ctx)
	defer cancel()
	o.Call = w.now()
	var err error
	switch o.Kind {
	case Init:
		var resp *spexv1.StepResponse
		resp, err = c.Init(ctx, w.cfg.Spec, o.Instance, client.WithInitialState(stateName(0)), client.WithRequestID(o.RequestID), client.WithEventTime(time.Unix(o.Mark, 0)))
		err = answered(&o, resp, err)
	case Step:
		opts := []client.StepOption{client.WithRequestID(o.RequestID), client.WithEventTime(time.Unix(o.Mark, 0))}
		if o.ExpectedSeq > 0 {
			opts = append(opts, client.WithExpectedSeq(o.ExpectedSeq))
		}
		var resp *spexv1.StepResponse
		resp, err = c.Transition(ctx, o.Instance, o.Action, o.State, opts...)
		err = answered(&o, resp, err)
	case Delete:
		var resp *spexv1.DeleteInstanceResponse
		resp, err = c.Delete(ctx, o.Instance, client.WithRequestID(o.RequestID))
		o.Answer = Answer{Exists: resp.GetDeleted(), Incarnation: resp.GetIncarnation(), Duplicate: resp.GetDuplicate()}
	}
	o.Return = w.now()
	failed(&o, err)
	return o
}

// answered takes over what was said about a step. A step that the policy rejects
// is stored like every other.
func answered(o *Operation, r *spexv1.StepResponse, err error) error {
	var deviation *client.DeviationError
	if errors.As(err, &deviation) {
		r, err = deviation.Response, nil
	}
	if err == nil {
		o.Answer = Answer{
			Exists: true, Incarnation: r.GetIncarnation(), Seq: r.GetSeq(), From: r.GetFromState(), State: r.GetState(),
			Verdict: r.GetVerdict(), Duplicate: r.GetDuplicate(), Shard: r.GetShard(),
			Index: r.GetIndex(),
		}
	}
	return err
}

// failed sorts a failure.
func failed(o *Operation, err error) {
	if err == nil {
		o.Outcome = OK
		return
	}
	o.Outcome, o.Error, o.Answer = Refused, err.Error(), Answer{}
	var e *client.Error
	if !errors.As(err, &e) {
		if o.Kind.writes() {
			o.Outcome = Unknown
		}
		return
	}
	if o.Kind.writes() && !e.NotApplied {
		o.Outcome = Unknown
		return
	}
	if e.Code == codes.DeadlineExceeded || e.Code == codes.Canceled {
		return // the reason is that of an attempt, not of the call
	}
	o.Reason = reasonName(e.Reason)
	if o.Reason == mismatch {
		o.Answer.CurrentSeq = e.CurrentSeq
	}
	if o.Reason == absent && !o.Kind.writes() {
		o.Outcome, o.Error = OK, ""
	}
}

// look makes a read and fills in what it saw.
func (w *Workload) look(ctx context.Context, c *client.Client, o Operation) Operation {
	ctx, cancel := w.deadline(ctx)
	defer cancel()
	o.Call = w.now()
	var err error
	switch o.Kind {
	case Get, Stale:
		var opts []client.ReadOption
		if o.Kind == Stale {
			opts = []client.ReadOption{client.Stale(), client.MinIndex(o.MinIndex)}
		}
		var resp *spexv1.GetInstanceResponse
		resp, err = c.Get(ctx, o.Instance, opts...)
		o.Answer = seen(resp.GetInstance(), resp.GetRead())
	case Read:
		o.Answer, err = readHistory(ctx, c, o.Instance)
	case List:
		for in, failure := range c.List(ctx, client.ListFilter{Spec: w.cfg.Spec, Where: `id == "` + o.Instance + `"`, PageSize: client.MaxPage}) {
			if failure != nil {
				err = failure
			} else if in.GetId() == o.Instance {
				o.Answer = seen(in, nil)
			}
		}
		if o.Answer.Exists {
			err = nil // what other shards did not say is not about this instance
		}
	}
	o.Return = w.now()
	failed(&o, err)
	return o
}

func seen(in *spexv1.Instance, read *spexv1.ReadInfo) Answer {
	return Answer{
		Exists: in != nil, Incarnation: in.GetIncarnation(), Seq: in.GetSeq(), State: in.GetState(), Shard: in.GetShard(),
		Index: read.GetIndex(), Age: time.Duration(read.GetAgeNanos()),
	}
}

// maxReads bounds how often a history is begun again because its instance was
// replaced between two pages.
const maxReads = 5

// readHistory reads an instance with all of its steps. Only what comes in one
// page was so at one moment; a Workload's instances are that short, but for
// those of probes, which nobody reads while they move.
func readHistory(ctx context.Context, c *client.Client, id string) (Answer, error) {
	for n := 0; ; n++ {
		a, restart, err := readPages(ctx, c, id)
		if !restart || n == maxReads {
			return a, err
		}
	}
}

func readPages(ctx context.Context, c *client.Client, id string) (a Answer, restart bool, err error) {
	for token := ""; ; {
		page, err := c.HistoryPage(ctx, id, token)
		if err != nil {
			return Answer{}, token != "" && errors.Is(err, client.ErrInstanceNotFound), err
		}
		steps := a.Steps
		a = seen(page.GetInstance(), page.GetRead())
		a.Steps = steps
		for _, s := range page.GetSteps() {
			a.Steps = append(a.Steps, RecordedStep{
				Seq: s.GetSeq(), From: s.GetFromState(), Action: s.GetAction(), State: s.GetState(),
				Mark: s.GetEventTime().GetSeconds(), Verdict: s.GetVerdict(),
			})
		}
		if token = page.GetNextPageToken(); token == "" {
			return a, false, nil
		}
	}
}
