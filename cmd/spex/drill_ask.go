package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spexio/spex/drill"
)

// operator has a person break the nodes.
type operator struct {
	a     *app
	names []string
	// lines has the first line that was typed since the last look at it; it is closed
	// at the end of the input.
	lines chan string
}

func newOperator(a *app, names []string) *operator {
	o := &operator{a: a, names: names, lines: make(chan string, 1)}
	// Nothing can end a read of a terminal: the goroutine ends with the input or
	// with the process.
	go readLines(a.stdin, o.lines)
	return o
}

// readLines drops what there is no room for: one line answers a question.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(in); s.Scan(); {
		select {
		case lines <- s.Text():
		default:
		}
	}
}

// Nodes implements drill.Breaker.
func (o *operator) Nodes() []string { return o.names }

// doing says in words what is asked for.
var doing = map[drill.FaultKind][2]string{
	drill.Kill:    {"kill the process of %s so that it cannot say goodbye (SIGKILL), and leave it dead", "start %s again"},
	drill.Pause:   {"pause the process of %s (SIGSTOP)", "let the process of %s go on (SIGCONT)"},
	drill.Isolate: {"cut %s off from the other nodes", "connect %s with the other nodes again"},
}

// Break implements drill.Breaker.
func (o *operator) Break(ctx context.Context, node string, kind drill.FaultKind) error {
	return o.ask(ctx, fmt.Sprintf(doing[kind][0], node))
}

// Mend implements drill.Breaker.
func (o *operator) Mend(ctx context.Context, node string, kind drill.FaultKind) error {
	return o.ask(ctx, fmt.Sprintf(doing[kind][1], node))
}

// ask waits for Enter. One that came before the question answers another question,
// which was given up.
func (o *operator) ask(ctx context.Context, what string) error {
	select {
	case <-o.lines:
	default:
	}
	fmt.Fprintf(o.a.stderr, "drill: please %s, then press Enter: ", what)
	select {
	case _, ok := <-o.lines:
		if !ok {
			return fmt.Errorf("nobody is there to %s: standard input has ended", what)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
