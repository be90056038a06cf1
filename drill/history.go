package drill

import (
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Kind is what a call asks for.
type Kind string

// The kinds of calls.
const (
	// Init begins the instance.
	Init Kind = "init"
	// Step records a step.
	Step Kind = "step"
	// Get reads the instance without its history.
	Get Kind = "get"
	// Read reads the instance with its history.
	Read Kind = "read"
	// Stale reads the instance without its history from any replica, with the log
	// index that its client has seen.
	Stale Kind = "stale"
	// List looks the instance up in a listing of all instances.
	List Kind = "list"
	// Delete ends the instance.
	Delete Kind = "delete"
)

// writes tells whether a call of the kind may change something.
func (k Kind) writes() bool { return k == Init || k == Step || k == Delete }

// Outcome is what is known about a call.
type Outcome string

// The outcomes of calls.
const (
	// OK is a call that was answered: a write was applied.
	OK Outcome = "ok"
	// Refused is a call that certainly changed nothing; Reason says why, and the
	// answers Exists, Absent and Mismatch tell something about the instance.
	Refused Outcome = "refused"
	// Unknown is a write that may be applied: already, later, or never.
	Unknown Outcome = "unknown"
)

// Operation is one call of one client, or for List what one listing said about
// one instance. Times count from the beginning of the workload.
type Operation struct {
	// Client numbers the clients from 0.
	Client int `json:"client"`
	// Instance is the identifier.
	Instance string `json:"instance"`
	Kind     Kind   `json:"kind"`
	// RequestID is that of a write; calls that share it are retries of the first one.
	RequestID string `json:"request_id,omitempty"`
	// Mark is the event time of an Init or Step in seconds. It is carried by
	// no other request of the workload.
	Mark int64 `json:"mark,omitempty"`
	// Action and State are those of a Step.
	Action string `json:"action,omitempty"`
	State  string `json:"state,omitempty"`
	// ExpectedSeq is what the Step asked for; 0 means any.
	ExpectedSeq uint64 `json:"expected_seq,omitempty"`
	// MinIndex is what a Stale asked for: the highest index that its client was told
	// with an answer about the instance, 0 for none.
	MinIndex uint64 `json:"min_index,omitempty"`
	// Forged marks a call that used the request id of another request with
	// another body: it has to be refused.
	Forged bool `json:"forged,omitempty"`

	Call    time.Duration `json:"call_ns"`
	Return  time.Duration `json:"return_ns"`
	Outcome Outcome       `json:"outcome"`
	// Reason is that of the error, without its prefix; Error is the error in full.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Answer is set for OK, and CurrentSeq of it for a Refused step with a SEQUENCE_MISMATCH.
	Answer Answer `json:"answer"`
}

// Answer is what the cluster said about an instance or a step.
type Answer struct {
	// Exists is false for a read that found no instance, and for a Delete that had nothing to delete.
	Exists      bool   `json:"exists,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Seq is that of the step, or of the last step for a read.
	Seq uint64 `json:"seq,omitempty"`
	// From and State are those of the step; State alone is that of the instance for a read.
	From      string          `json:"from,omitempty"`
	State     string          `json:"state,omitempty"`
	Verdict   typesv1.Verdict `json:"verdict,omitempty"`
	Duplicate bool            `json:"duplicate,omitempty"`
	// Shard is the one that answered, 0 when that is not known.
	Shard uint32 `json:"shard,omitempty"`
	// Index is the log index of a write, or the one that a read reflects; 0 when
	// that is not known, as with a listing and where there was no instance.
	Index uint64 `json:"index,omitempty"`
	// Age is how old a Stale says that it may be.
	Age time.Duration `json:"age_ns,omitempty"`
	// CurrentSeq is the last seq that a refusal named.
	CurrentSeq uint64 `json:"current_seq,omitempty"`
	// Steps are those of a Read, all of them.
	Steps []RecordedStep `json:"steps,omitempty"`
}

// RecordedStep is one step of a history as the cluster tells it.
type RecordedStep struct {
	Seq     uint64          `json:"seq"`
	From    string          `json:"from,omitempty"`
	Action  string          `json:"action"`
	State   string          `json:"state"`
	Mark    int64           `json:"mark"`
	Verdict typesv1.Verdict `json:"verdict"`
}

// History is what the clients of a workload did and were told.
type History struct {
	// Start is when the workload began.
	Start time.Time `json:"start"`
	// Seed is that of Config, with which the clients chose what to do.
	Seed uint64 `json:"seed"`
	// Operations are in the order of their returns.
	Operations []Operation `json:"operations"`
	// Probes are the calls of the clients that only write, one for each shard, to
	// see when it can be written; see Config.ProbeEvery. They are in the order of
	// their returns, and their instances are not among those of Operations.
	Probes []Operation `json:"probes,omitempty"`
	// Duration is how long the workload took.
	Duration time.Duration `json:"duration_ns"`
}

// Final is what the cluster says about every instance of a workload after it.
type Final struct {
	// Asked is when the reads began, in time since the beginning of the workload.
	Asked time.Duration `json:"asked_ns"`
	// Instances maps identifiers to Read answers.
	Instances map[string]Answer `json:"instances"`
	// Unreadable says of instances why they could not be read.
	Unreadable map[string]string `json:"unreadable,omitempty"`
	// Disagreement names groups whose replicas have different states at the same
	// log index, or were not all seen at one; see Workload.Final.
	Disagreement []string `json:"disagreement,omitempty"`
}

// Counts sums up a History.
type Counts struct {
	// Operations counts calls, a listing as one for each instance that it tells
	// about, and probes.
	Operations int
	// Acknowledged counts writes that were answered, retries included.
	Acknowledged int
	// Refused counts calls that certainly changed nothing, Unknown writes of which that is not known.
	Refused int
	Unknown int
	// Unresolved counts requests, of one call or of several, with an unknown call and no answer.
	Unresolved int
	// Retries counts calls with the request id of an earlier one.
	Retries   int
	Instances int
}

// Counts counts the calls.
func (h *History) Counts() Counts {
	c := Counts{Operations: len(h.Operations) + len(h.Probes)}
	instances := map[string]bool{}
	type request struct{ called, answered, unknown bool }
	requests := map[string]*request{}
	for _, ops := range [][]Operation{h.Operations, h.Probes} {
		for i := range ops {
			o := &ops[i]
			instances[o.Instance] = true
			switch o.Outcome {
			case OK:
				if o.Kind.writes() {
					c.Acknowledged++
				}
			case Refused:
				c.Refused++
			case Unknown:
				c.Unknown++
			}
			if o.RequestID == "" || o.Forged {
				continue
			}
			r := requests[o.RequestID]
			if r == nil {
				r = &request{}
				requests[o.RequestID] = r
			}
			if r.called {
				c.Retries++
			}
			r.called = true
			r.answered = r.answered || o.Outcome == OK
			r.unknown = r.unknown || o.Outcome == Unknown
		}
	}
	for _, r := range requests {
		if r.unknown && !r.answered {
			c.Unresolved++
		}
	}
	c.Instances = len(instances)
	return c
}
