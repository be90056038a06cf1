package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spexio/spex/client"
)

// The exit statuses. Scripts depend on them: they do not change.
const (
	exitOK = 0
	// exitNo means that the command worked and the answer is "no".
	exitNo = 1
	// exitUsage means that the command line is wrong; nothing was done.
	exitUsage = 2
	// exitFailed means that the command could not do its work.
	exitFailed = 3
)

// noError ends a command whose answer is "no". The answer itself has been
// written to stdout; the message says in one line what was found.
type noError struct{ message string }

func (e *noError) Error() string { return e.message }

// answerNo ends a command with exit status 1.
func answerNo(format string, args ...any) error {
	return &noError{message: fmt.Sprintf(format, args...)}
}

// usageError is a command line that cannot be carried out.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// usagef makes an error about the command line, for exit status 2.
func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// report writes what is to be said about err and gives the exit status. It is
// the only place that maps errors to statuses.
func (a *app) report(err error) int {
	var no *noError
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &no):
		a.notef("spex: %s", no.message)
		return exitNo
	case errors.As(err, &usage), !a.started:
		a.notef("spex: %v", err)
		if a.command != nil {
			a.notef("Usage: %s", a.command.UseLine())
			a.notef("Try '%s --help'.", a.command.CommandPath())
		}
		return exitUsage
	default:
		a.notef("spex: %s", a.describe(err))
		return exitFailed
	}
}

// describe puts a failure into one line: what happened, where, and how to mend it.
func (a *app) describe(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	text, hint := strings.TrimPrefix(err.Error(), "spex: "), ""
	var failure *client.Error
	var partial *client.PartialError
	if errors.As(err, &partial) {
		return text + " (what the other shards know is shown; see 'spex cluster status')"
	}
	if errors.As(err, &failure) {
		// The code of the reason is for programs, the message for people.
		text = strings.Replace(text, failure.Error(), failure.Message, 1)
		hint = hintFor(failure)
		if unreachable(failure) {
			// The only error that addresses has was reported before the call.
			addrs, _ := a.addresses()
			text = "no server answers at " + strings.Join(addrs, ", ")
			hint = "start one with 'spex dev' or 'spex server', or give --addr"
		}
	}
	if hint == "" && errors.Is(err, context.DeadlineExceeded) {
		hint = "has the cluster a quorum? See 'spex cluster status', or raise --timeout"
	}
	if hint == "" {
		return text
	}
	return text + " (" + hint + ")"
}

// checkAddress tells whether addr is host:port with a port number.
func checkAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		var addrErr *net.AddrError
		if errors.As(err, &addrErr) {
			return errors.New(addrErr.Err)
		}
		return err
	}
	if host == "" {
		return errors.New("the host is missing")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port must be a number from 1 to 65535")
	}
	return nil
}
