package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// boundedKey finds the *boundedBody of a request in its context.
type boundedKey struct{}

// boundedBody is a body that ends with an error when it is too long or too slow.
type boundedBody struct {
	io.ReadCloser
	limit   int64
	timeout time.Duration
	control *http.ResponseController
	// One goroutine reads, and another one may ask why.
	tooLong, tooSlow atomic.Bool
}

// bounded returns r with a body that is bounded in size and time. The steps of a
// stream come when they come: for these only a line is bounded.
func (a *API) bounded(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody || r.URL.Path == streamPath {
		return r
	}
	b := &boundedBody{limit: a.cfg.MaxBody, timeout: a.cfg.BodyTimeout, control: http.NewResponseController(w)}
	if isUpload(r) {
		b.limit = a.cfg.MaxUpload
	}
	b.ReadCloser = http.MaxBytesReader(w, r.Body, b.limit)
	// A writer that knows no deadlines is that of a test.
	_ = b.control.SetReadDeadline(time.Now().Add(b.timeout))
	r = r.WithContext(context.WithValue(r.Context(), boundedKey{}, b))
	r.Body = b
	return r
}

// Read reads, and lifts the deadline at the end: it would end the request later.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{})
	case errors.As(err, &tooLong):
		b.tooLong.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.tooSlow.Store(true)
	}
	return n, err
}

// why is the error of a body that did not come to its end, and nil for one that did.
func (b *boundedBody) why() error {
	switch {
	case b.tooLong.Load():
		return statusError(http.StatusRequestEntityTooLarge, typesv1.Reason_REASON_LIMIT_EXCEEDED,
			"the body has more than %d bytes, which is the limit: send less in one request", b.limit)
	case b.tooSlow.Load():
		return statusError(http.StatusRequestTimeout, typesv1.Reason_REASON_UPLOAD_INCOMPLETE,
			"the body did not arrive within %v: send it faster, or less in one request", b.timeout)
	}
	return nil
}

// deadlineWriter gives each write a deadline of its own, so that streams may
// last, and peers that do not read cannot.
type deadlineWriter struct {
	http.ResponseWriter
	timeout time.Duration
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.timeout))
	return w.ResponseWriter.Write(p)
}

// FlushError is Flush for http.ResponseController, which waits for the peer too.
func (w *deadlineWriter) FlushError() error {
	control := http.NewResponseController(w.ResponseWriter)
	_ = control.SetWriteDeadline(time.Now().Add(w.timeout))
	return control.Flush()
}

// Unwrap is for http.ResponseController.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
