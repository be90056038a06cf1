package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// transitionStream takes steps as JSON lines and answers results as JSON lines at
// the same time. The generated handler would end without a word at a line that it
// cannot read, and leave its reader behind.
func (a *API) transitionStream(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if _, err := queryKeys(r); err != nil {
		return err
	}
	// With full duplex, net/http may read ahead after a body that was not read to
	// its end, which is in the way of a next request on the connection.
	w.Header().Set("Connection", "close")
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		return fmt.Errorf("read and write at the same time: %w", err)
	}
	stream, err := a.instances.TransitionStream(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		// In this order: closing ends the results, and then this is asked for.
		sent <- sendSteps(stream, r.Body)
		_ = stream.CloseSend()
	})
	defer reader.Wait()
	// The results end when the steps do, or when the node stops.
	wrote, end := forwardResults(w, control, stream)
	var unread error
	select {
	case unread = <-sent:
	default:
		// The reader waits for a line that nobody would take.
		_ = control.SetReadDeadline(time.Now())
		unread = <-sent
	}
	if end = errors.Join(unread, end); end == nil {
		return nil
	}
	if unread != nil {
		end = unread // what ended the results, too
	}
	httpStatus, st := a.statusOf(r, end)
	line, err := jsonLines{}.Marshal(map[string]any{"error": st.Proto()})
	if err != nil {
		return err
	}
	if !wrote {
		w.Header().Set("Content-Type", jsonLines{}.StreamContentType(nil))
		w.WriteHeader(httpStatus)
	}
	_, _ = w.Write(append(line, '\n'))
	return nil
}

// sendSteps hands on a step a line until the body ends. A line that it cannot
// read ends the stream; the steps before it are answered.
func sendSteps(stream grpc.BidiStreamingClient[spexv1.TransitionRequest, spexv1.TransitionResult], body io.Reader) (err error) {
	// Nobody else would catch it: this is not the goroutine of the handler.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic while the steps were read: %v", r)
		}
	}()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 4<<10), MaxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		step := new(spexv1.TransitionRequest)
		if err := jsonIn.Unmarshal(line, step); err != nil {
			return invalid("line %d is not the JSON of a spex.v1.TransitionRequest: %v; it and what follows was not applied", n, err)
		}
		if err := stream.Send(step); errors.Is(err, io.EOF) {
			return nil // the results say why
		} else if err != nil {
			return invalid("line %d: %v; it and what follows was not applied", n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return invalid("a line has more than %d bytes; it and what follows was not applied", MaxLine)
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	default:
		return invalid("the steps broke off: %v", err)
	}
}

// forwardResults writes results until they end. It reports whether it wrote any.
func forwardResults(w http.ResponseWriter, control *http.ResponseController, stream grpc.BidiStreamingClient[spexv1.TransitionRequest, spexv1.TransitionResult]) (wrote bool, err error) {
	for {
		result, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return wrote, nil
		}
		if err != nil {
			return wrote, err
		}
		line, err := jsonLines{}.Marshal(map[string]any{"result": result})
		if err != nil {
			return wrote, err
		}
		if !wrote {
			wrote = true
			w.Header().Set("Content-Type", jsonLines{}.StreamContentType(nil))
			w.WriteHeader(http.StatusOK)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return wrote, err
		}
		if err := control.Flush(); err != nil {
			return wrote, err
		}
	}
}
