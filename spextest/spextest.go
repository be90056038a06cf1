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
//
// The result of a run is one of `go test`'s cache until a specification or a model
// of it changes. Those have to be inside the module: `go test` does not look at
// other files, so that `-count=1` is needed for them.
//
// `go test` of several packages shows what a package that passes has printed with
// -v alone, which hides the reports that do not fail a run: see Shared and ReportOnly.
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
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

var mergeFlag = flag.Bool("spex.merge", false, "add what the tests do to the models that are there, instead of beginning with empty ones")

// mergeVariable says the same as the flag to all packages of a `go test ./...`,
// also to those that do not know the flag.
const mergeVariable = "SPEX_MERGE"

// timeout bounds what Run does beside the tests.
const timeout = 5 * time.Minute

// current is the run that is under way.
var current struct {
	mu      sync.Mutex // guards the fields below
	m       client.Manager
	inputs  []string // what the run depends on beside its code
	touched bool     // whether go test has been shown the inputs
}

// Manager is what the code under test is given in place of a manager of a
// cluster: the one of the Run that is under way. It learns, so that it accepts
// every step; all tests share it, and it refuses to seal a model. It panics when no
// Run is under way.
func Manager() client.Manager {
	current.mu.Lock()
	defer current.mu.Unlock()
	if current.m == nil {
		panic("spextest: there is no manager: call spextest.Run in TestMain")
	}
	if !current.touched {
		current.touched = true
		touch(current.inputs)
	}
	return current.m
}

// touch shows go test what the run depends on. It notes what is opened and asked
// for while the tests run, and repeats the result of a run while all of that is as
// it was; before and after the tests, when the files are read, it notes nothing.
func touch(inputs []string) {
	os.Getenv(mergeVariable)
	for _, path := range inputs {
		if f, err := os.Open(path); err == nil {
			_ = f.Close() // nothing was read
		}
	}
}

// learning is a manager whose models have to go on learning.
type learning struct{ client.Manager }

func (learning) SealModel(context.Context, string) (*spexv1.SealModelResponse, error) {
	return nil, errors.New("spextest: a sealed model would refuse the steps of the tests that follow: seal one of a manager of the test's own (package client/local)")
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
// known when the tests begin. Tests may apply more by the manager, but no other
// one of the same name: the models of two versions are not one, and fail the run.
func Specs(paths ...string) Option {
	return func(c *config) { c.specs = append(c.specs, paths...) }
}

// Shared is for several packages whose tests together make up the models of one
// directory: part, the name of the package, say, tells them apart. Each package
// keeps what its own tests did in DIR/parts/PART, which belongs into the
// repository like the models, and the models are the union of all parts, whoever
// ends last; packages may run at the same time. A model that only lacks something
// is reported and does not fail the run, since another package may not have shown
// it yet: `spex check` after all packages does, and `go test` hides the report
// without -v.
func Shared(part string) Option { return func(c *config) { c.part = part } }

// Merge adds to the models of Dir, like the flag -spex.merge and the environment
// variable SPEX_MERGE=1, which is for `go test ./...`: packages that do not use
// spextest fail with a flag that they do not know.
func Merge() Option { return func(c *config) { c.merge = true } }

// ReportOnly shows how models differ from their specifications and does not fail
// the run. `go test` of several packages shows it with -v alone.
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
	specs, err := applyAll(ctx, manager, c.specs)
	if err != nil {
		return 1, err
	}
	inputs, err := c.inputs(specs)
	if err != nil {
		return 1, err
	}
	current.mu.Lock()
	if current.m != nil {
		current.mu.Unlock()
		return 1, errors.New("a Run is under way in this process already")
	}
	current.m, current.inputs, current.touched = learning{manager}, inputs, false
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
	if err := c.decideMerge(); err != nil {
		return 1, err
	}
	if why := c.partial(); why != "" && !c.merge {
		fmt.Fprintf(c.output, "spextest: only a part of the tests ran (%s), so that the models stay as they are and are not checked; %s=1 adds to them\n", why, mergeVariable)
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

// decideMerge finds out whether anybody asked for a merge.
func (c *config) decideMerge() error {
	asked := c.merge || *mergeFlag
	if v := os.Getenv(mergeVariable); v != "" {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("the environment variable %s is %q: give 1 or 0", mergeVariable, v)
		}
		asked = asked || on
	}
	c.merge = asked && c.dir != ""
	if asked && !c.merge {
		fmt.Fprintln(c.output, "spextest: there are no models to merge with: give spextest.Run the option Dir")
	}
	return nil
}

// inputs are the files and directories that a run depends on, with absolute paths:
// a test may change the directory of the process. The listing of a directory has
// the size and time of its files, those included that are written later.
func (c *config) inputs(specs []string) ([]string, error) {
	paths := slices.Clone(specs)
	if c.dir != "" {
		paths = append(paths, c.dir)
	}
	if c.dir != "" && c.part != "" {
		parts := filepath.Join(c.dir, partsDir)
		others, err := filepath.Glob(filepath.Join(escape(parts), "*"))
		if err != nil {
			return nil, err
		}
		paths = append(append(paths, parts, filepath.Join(parts, c.part)), others...)
	}
	for i, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		paths[i] = abs
	}
	return paths, nil
}

// applyAll makes the specifications of files and directories known, and returns
// all of both.
func applyAll(ctx context.Context, m client.Manager, paths []string) (all []string, err error) {
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			all = append(all, path)
			if files, err = filepath.Glob(filepath.Join(escape(path), "*.y*ml")); err != nil {
				return nil, err
			}
			files = slices.DeleteFunc(files, func(f string) bool { ext := filepath.Ext(f); return ext != ".yaml" && ext != ".yml" })
			if len(files) == 0 {
				return nil, fmt.Errorf("%s: the directory has no specification (*.yaml, *.yml)", path)
			}
		}
		all = append(all, files...)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			s, err := spec.Parse(file, data)
			if err != nil {
				return nil, err
			}
			if _, err := m.ApplySpecification(ctx, s.Proto()); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return all, nil
}
