package spextest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/atomicfile"
	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
	"github.com/spexio/spex/model"
	"github.com/spexio/spex/spec"
)

// partsDir is where the parts of a shared directory are.
const partsDir = "parts"

// finish writes the models and compares them.
func (c *config) finish(ctx context.Context, m client.Manager) (code int, err error) {
	models, err := m.Models(ctx)
	if err != nil {
		return 1, err
	}
	for _, info := range models {
		if v := info.GetSpecVersion(); v > 1 {
			// A model file has one model, and the tests have made several.
			fmt.Fprintf(c.output, "spextest: %s: applied in %d versions, so that there is no one model of it: give each test the same specification, or another name\n", info.GetSpec(), v)
			if !c.report {
				code = 1
			}
			continue
		}
		_, list, err := m.GetModel(ctx, info.GetSpec(), info.GetSpecVersion())
		if err != nil {
			return 1, err
		}
		var transitions []model.Transition
		for _, t := range list {
			transitions = append(transitions, model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()})
		}
		definition, _, err := m.GetSpecification(ctx, info.GetSpec(), info.GetSpecVersion())
		if err != nil {
			return 1, err
		}
		s, err := spec.FromProto(definition)
		if err != nil {
			return 1, err
		}
		if transitions, err = c.store(s.Name, transitions); err != nil {
			return 1, err
		}
		failed, err := c.compare(s, transitions)
		if err != nil {
			return 1, err
		}
		if failed && !c.report {
			code = 1
		}
	}
	return code, nil
}

// store writes what the tests did, and returns the model that it belongs to.
func (c *config) store(name string, transitions []model.Transition) ([]model.Transition, error) {
	if c.dir == "" {
		return transitions, nil
	}
	target := filepath.Join(c.dir, name+".spex")
	own := target
	if c.part != "" {
		own = filepath.Join(c.dir, partsDir, c.part, name+".spex")
	}
	if c.merge {
		old, err := read(own)
		if err != nil {
			return nil, err
		}
		transitions = model.Union(transitions, old)
	}
	if len(transitions) > 0 || c.part != "" {
		if err := write(own, name, transitions); err != nil {
			return nil, err
		}
	}
	if c.part == "" {
		return transitions, nil
	}
	return c.unite(target, name)
}

// unite makes the model of all parts. Another package may do so at the same
// time: whoever writes last looks at the parts once more after it, so that the
// model that stays has all of them, and nobody waits for anybody.
func (c *config) unite(target, name string) ([]model.Transition, error) {
	for {
		before, err := c.parts(name)
		if err != nil {
			return nil, err
		}
		if err := write(target, name, before); err != nil {
			return nil, err
		}
		after, err := c.parts(name)
		if err != nil {
			return nil, err
		}
		if slices.Equal(before, after) {
			return after, nil
		}
	}
}

// parts reads the union of what all packages did.
func (c *config) parts(name string) ([]model.Transition, error) {
	files, err := filepath.Glob(filepath.Join(escape(c.dir), partsDir, "*", escape(name)+".spex"))
	if err != nil {
		return nil, err
	}
	var all []model.Transition
	for _, f := range files {
		list, err := read(f)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return model.Union(all), nil
}

// escape makes a path match only itself.
func escape(path string) string {
	var out []rune
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' {
			out = append(out, '[', r, ']')
			continue
		}
		out = append(out, r)
	}
	return string(out)
}

// read returns the transitions of a model file, none when there is no file.
func read(path string) ([]model.Transition, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := model.Decode(path, f)
	if err != nil {
		return nil, err
	}
	return m.Transitions, nil
}

// write replaces a model file whole, unless it is the same already: a file that has
// changed makes go test run the tests again. The file says that the model does not
// learn: who imports it elsewhere wants it to check.
func write(path, name string, transitions []model.Transition) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var data bytes.Buffer
	if err := model.Encode(&data, &model.File{Spec: name, Transitions: transitions}); err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data.Bytes()) {
		return nil
	}
	return atomicfile.WriteFile(path, data.Bytes(), 0o644)
}

// compare reports how a model differs from its specification, and whether that
// fails the run.
func (c *config) compare(s *spec.Specification, transitions []model.Transition) (failed bool, err error) {
	checker := model.NewChecker(s, transitions)
	equivalent, _ := checker.Equivalent()
	left := s.LTS()
	right, _ := model.System(transitions, left.Alphabet)
	if right == nil {
		fmt.Fprintf(c.output, "spextest: %s: NOT EQUIVALENT: %s\n", s.Name, checker.Explain())
		return c.part == "" || len(transitions) > 0, nil
	}
	r, err := explain.Compare(left, right, explain.Options{Equivalence: lts.Branching, Left: "the specification", Right: "the model", Internal: spec.Internal})
	if err != nil {
		return false, err
	}
	if equivalent {
		fmt.Fprintf(c.output, "spextest: %s: equivalent, %d transitions\n", s.Name, len(transitions))
	} else {
		fmt.Fprintf(c.output, "spextest: %s: NOT EQUIVALENT: %s\n  %s\n", s.Name, r.Summary, checker.Explain())
	}
	c.details(r)
	// Another package may show what is only missing.
	return !equivalent && !(c.part != "" && r.Grade == explain.CoverageGap), nil
}

// details shows a trace that is too much, and what no test has shown.
func (c *config) details(r *explain.Report) {
	if r.Extra != nil {
		fmt.Fprintf(c.output, "  the specification does not have the trace: %s\n", strings.Join(r.Extra.Actions, " "))
	}
	if r.Coverage == nil || r.Coverage.Complete() {
		return
	}
	fmt.Fprintf(c.output, "  the tests have shown %d of %d transitions of the specification; missing:\n", r.Coverage.Shown, r.Coverage.Total)
	for _, t := range r.Coverage.Missing {
		fmt.Fprintf(c.output, "    %s --[%s]-> %s\n", t.From, t.Action, t.To)
	}
}
