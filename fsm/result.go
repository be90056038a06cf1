package fsm

import (
	"errors"
	"fmt"
	"io"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Result is the outcome of one command of an entry: a value, whose type is
// documented at the machine's handler of the command, or the reason why the
// machine refused the command. A refused command changed nothing, but for a
// damaged upload that it named, which is dropped.
type Result struct {
	Value any
	Err   *Error
}

// Snapshot is an immutable view of a machine's state at one applied index.
// Taking it is cheap; writing it may run beside further Apply calls.
type Snapshot interface {
	// Index is the applied index of the view.
	Index() uint64
	// WriteTo streams the view: header, records, and a trailer with the count
	// and the checksum of the records.
	WriteTo(w io.Writer) (int64, error)
	// Release lets go of the view. It is called once, after the last WriteTo.
	Release()
}

// Error is a refusal or failure with a machine-readable reason. It is the
// one error type that crosses the boundaries between a machine, its group, the
// node and the wire; see typesv1.ErrorDetail for the meaning of the fields.
type Error struct {
	Reason        typesv1.Reason
	Message       string
	LeaderID      string
	LeaderAddress string
	Shard         uint32
	CurrentSeq    uint64
	// NotApplied is set when the request is certain not to have been applied,
	// so that it may be sent again without a request id.
	NotApplied bool
}

// Errorf makes an Error with a formatted message. The request that it answers
// is taken as not applied, as is true of every refusal by a machine.
func Errorf(reason typesv1.Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...), NotApplied: true}
}

// Error gives the message for people.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is an *Error with the same reason, so that
// errors.Is(err, &fsm.Error{Reason: r}) asks for a reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// ReasonOf returns the reason of the first *Error in err's chain, and
// REASON_UNSPECIFIED when there is none.
func ReasonOf(err error) typesv1.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return typesv1.Reason_REASON_UNSPECIFIED
}

// Detail returns the form of the error that travels on the wire.
func (e *Error) Detail() *typesv1.ErrorDetail {
	return &typesv1.ErrorDetail{
		Reason:        e.Reason,
		Message:       e.Message,
		LeaderId:      e.LeaderID,
		LeaderAddress: e.LeaderAddress,
		Shard:         uint64(e.Shard),
		CurrentSeq:    e.CurrentSeq,
		NotApplied:    e.NotApplied,
	}
}

// ErrorFromDetail is the inverse of Detail. It returns nil for nil.
func ErrorFromDetail(d *typesv1.ErrorDetail) *Error {
	if d == nil {
		return nil
	}
	return &Error{
		Reason:        d.GetReason(),
		Message:       d.GetMessage(),
		LeaderID:      d.GetLeaderId(),
		LeaderAddress: d.GetLeaderAddress(),
		Shard:         uint32(d.GetShard()),
		CurrentSeq:    d.GetCurrentSeq(),
		NotApplied:    d.GetNotApplied(),
	}
}
