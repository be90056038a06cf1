// Package spextest derives models from `go test`: the tests of a package run
// against an in-process manager that learns, and what they did becomes the models
// of the specifications, which are written to .spex files and compared with them.
//
//	func TestMain(m *testing.M) {
//		os.Exit(spextest.Run(m, spextest.Specs("testdata/orders.yaml"), spextest.Dir("testdata/spex")))
//	}
//
// The run fails when a model is not equivalent to its specification, with a report
// that says how they differ and which transitions of the specification no test has
// shown. A run that leaves tests out, or has failed, writes nothing: its models
// would lack what was not run.
package spextest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	"github.com/spexio/spex/spec"
)

var mergeFlag = flag.Bool("spex.merge", false, "add what the tests do to the models that are there, instead of beginning with empty ones")

// timeout bounds what Run does beside the tests.
const timeout = 5 * time.Minute

// current is the manager of the run that is under way.
var current struct {
	mu sync.Mutex // guards m
	m  client.Manager
}

// Manager is what the code under test is given in place of a manager of a
// cluster: the one of the Run that is under way. It learns, so that it accepts
// every step. It panics when no Run is under way.
func Manager() client.Manager {
	current.mu.Lock()
	defer current.mu.Unlock()
	if current.m == nil {
		panic("spextest: there is no manager: call spextest.Run in TestMain")
	}
	return current.m
}

// ID makes an identifier that no other test uses: tests share one manager, also
// those that run in parallel.
func ID(t testing.TB, name string) string { return t.Name() + "/" + name }

// Option configures Run.
type Option func(*config)

type config struct {
	dir, part     string
	specs         []string
	merge, report bool
	output        io.Writer
	partial       func() string
}

// Dir is where the models are written, one file for each specification; it is
// created. Without it nothing is written, and the models are compared only. A
// relative path is one in the directory of the package, where go test runs.
func Dir(dir string) Option { return func(c *config) { c.dir = dir } }

// Specs names files and directories of specifications (*.yaml, *.yml) that are
// known when the tests begin. Tests may apply more by the manager.
func Specs(paths ...string) Option {
	return func(c *config) { c.specs = append(c.specs, paths...) }
}

// Shared is for several packages whose tests together make up the models of one
// directory: part, the name of the package, say, tells them apart. Each package
// keeps what its own tests did in DIR/parts/PART, which belongs into the
// repository like the models, and the models are the union of all parts, whoever
// ends last; packages may run at the same time. A model that only lacks something
// is reported and does not fail the run, since another package may not have shown
// it yet: `spex check` after all packages does.
func Shared(part string) Option { return func(c *config) { c.part = part } }

// Merge adds to the models that are there, like the flag -spex.merge.
func Merge() Option { return func(c *config) { c.merge = true } }

// ReportOnly shows how models differ from their specifications and does not fail the run.
func ReportOnly() Option { return func(c *config) { c.report = true } }

// Output is where reports go; it is os.Stderr without this option.
func Output(w io.Writer) Option { return func(c *config) { c.output = w } }

// Run runs the tests of m, a *testing.M, and returns what to end the process
// with: the tests' own status when they failed, 1 when a model is not equivalent
// to its specification or cannot be written, else 0.
func Run(m interface{ Run() int }, opts ...Option) int {
	c := &config{output: os.Stderr, partial: partialRun}
	for _, o := range opts {
		o(c)
	}
	code, err := c.run(m)
	if err != nil {
		fmt.Fprintf(c.output, "spextest: %v\n", err)
		return max(code, 1)
	}
	return code
}

func (c *config) run(m interface{ Run() int }) (code int, err error) {
	if c.part != "" {
		if err := spec.CheckSpecName("the part", c.part); err != nil {
			return 1, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	manager, err := local.Open(ctx, local.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	if err := applyAll(ctx, manager, c.specs); err != nil {
		return 1, err
	}
	current.mu.Lock()
	if current.m != nil {
		current.mu.Unlock()
		return 1, errors.New("a Run is under way in this process already")
	}
	current.m = manager
	current.mu.Unlock()
	defer func() {
		current.mu.Lock()
		current.m = nil
		current.mu.Unlock()
	}()

	code = m.Run()
	// The tests may have taken longer than ctx lasts.
	ctx, cancel = context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := manager.Flush(ctx); err != nil {
		return code, err
	}
	if code != 0 {
		fmt.Fprintln(c.output, "spextest: the tests failed, so that the models stay as they are")
		return code, nil
	}
	c.merge = c.merge || *mergeFlag
	if why := c.partial(); why != "" && !c.merge {
		fmt.Fprintf(c.output, "spextest: only a part of the tests ran (%s), so that the models stay as they are and are not checked; -spex.merge adds to them\n", why)
		return 0, nil
	}
	return c.finish(ctx, manager)
}

// partialRun names the flag that left tests out, if any.
func partialRun() string {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return "-" + name[len("test."):]
		}
	}
	if f := flag.Lookup("test.short"); f != nil && f.Value.String() == "true" {
		return "-short"
	}
	return ""
}

// applyAll makes the specifications of files and directories known.
func applyAll(ctx context.Context, m client.Manager, paths []string) error {
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.y*ml")); err != nil {
				return err
			}
			files = slices.DeleteFunc(files, func(f string) bool { ext := filepath.Ext(f); return ext != ".yaml" && ext != ".yml" })
			if len(files) == 0 {
				return fmt.Errorf("%s: the directory has no specification (*.yaml, *.yml)", path)
			}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			s, err := spec.Parse(file, data)
			if err != nil {
				return err
			}
			if _, err := m.ApplySpecification(ctx, s.Proto()); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}
