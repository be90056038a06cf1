package cluster

import (
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func age(now, contact time.Time) int64 {
	if contact.IsZero() {
		return int64(time.Duration(1<<63 - 1))
	}
	return max(0, int64(now.Sub(contact)))
}

// errorDetail is the detail of any error; one without a reason is internal.
func errorDetail(err error) *typesv1.ErrorDetail {
	if e := asError(err); e != nil {
		return e.Detail()
	}
	return &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_INTERNAL, Message: err.Error()}
}
