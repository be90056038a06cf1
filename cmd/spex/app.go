package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is one run of the program: its streams and surroundings, injected so
// that tests run commands in process, and the options that every command has.
// It belongs to one goroutine; commands that start goroutines hand them what
// they need and wait for them.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	// env answers an environment variable, "" when it is not set.
	env func(key string) string
	// stdoutTTY and stderrTTY say whether a person watches the stream.
	stdoutTTY bool
	stderrTTY bool
	// columns is the width of the terminal of stdout, 0 when it is not known; it may be nil.
	columns func() int
	// now is called from many goroutines.
	now func() time.Time

	opts globalOptions
	// command is the command that cobra chose; nil before it did.
	command *cobra.Command
	// started is set when the body of a command begins. An error from before
	// that is about the command line.
	started bool
}

// globalOptions are the flags that every command takes.
type globalOptions struct {
	addrs     []string
	namespace string
	timeout   time.Duration
	output    outputFormat
}

const (
	defaultAddr      = "127.0.0.1:7300"
	defaultNamespace = "default"
	defaultTimeout   = 10 * time.Second
)

// run executes one command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	a.command = cmd
	return a.report(err)
}

// addresses gives the servers to talk to: --addr, else SPEX_ADDR, else the default.
func (a *app) addresses() ([]string, error) {
	lists := a.opts.addrs
	source := "--addr"
	if len(lists) == 0 {
		lists, source = []string{a.env("SPEX_ADDR")}, "SPEX_ADDR"
	}
	var out []string
	for _, list := range lists {
		for _, addr := range strings.Split(list, ",") {
			addr = strings.TrimSpace(addr)
			if addr == "" {
				continue
			}
			if err := checkAddress(addr); err != nil {
				return nil, usagef("%s %q: %v: give host:port, for example %s", source, addr, err, defaultAddr)
			}
			out = append(out, addr)
		}
	}
	if len(out) == 0 {
		return []string{defaultAddr}, nil
	}
	return out, nil
}

// namespace gives the namespace of the command: --namespace, else SPEX_NAMESPACE, else "default".
func (a *app) namespace() string {
	if a.opts.namespace != "" {
		return a.opts.namespace
	}
	if ns := a.env("SPEX_NAMESPACE"); ns != "" {
		return ns
	}
	return defaultNamespace
}

// notef writes one line for people to stderr.
func (a *app) notef(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

// warnf writes one line for people about something that deserves a look.
func (a *app) warnf(format string, args ...any) {
	p := a.stderrPainter()
	fmt.Fprintf(a.stderr, "%s "+format+"\n", append([]any{p.paint(styleWarn, "warning:")}, args...)...)
}

// readFile reads a file, or standard input for "-". The name that it returns
// is the one to use in messages.
func (a *app) readFile(path string) (name string, data []byte, err error) {
	if path == "-" {
		data, err = io.ReadAll(a.stdin)
		return "standard input", data, err
	}
	data, err = os.ReadFile(path)
	return path, data, err
}
