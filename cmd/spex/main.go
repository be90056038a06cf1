// Command spex is the one binary of Spex: the server, a whole cluster for
// development, and every tool and client command. See docs/cli.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
	"google.golang.org/grpc/grpclog"
)

func main() {
	os.Exit(runMain())
}

// quietGRPC keeps gRPC and its gateway from writing to stderr past the log: what
// they complain about, such as watchers that went away, is what peers did, and
// calls that fail return their errors. GRPC_GO_LOG_SEVERITY_LEVEL brings it back.
func quietGRPC() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}

// runMain exists so that deferred calls run before the process exits.
func runMain() int {
	quietGRPC()
	// The first signal asks the command to end; once it has been heard, a
	// second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	a := &app{
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		env:       os.Getenv,
		stdoutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		stderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		columns: func() int {
			width, _, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 0
			}
			return width
		},
		now: time.Now,
	}
	return a.run(ctx, os.Args[1:])
}
