package local

import (
	"errors"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// out makes the error of a caller of the error of a machine.
func out(err error) error {
	var given *client.Error
	if err == nil || errors.As(err, &given) {
		return err
	}
	e := asError(err)
	if e == errClosed {
		return client.ErrClosed
	}
	if e == nil {
		e = &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL, Message: err.Error()}
	}
	d := e.Detail()
	d.Shard = 0 // there is one, and nobody is to rely on it
	return client.ErrorFromDetail(d, api.CodeOf(e.Reason))
}

// asError is the *fsm.Error in err's chain, or nil.
func asError(err error) *fsm.Error {
	var e *fsm.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
