package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/ltsfile"
	"github.com/spexio/spex/model"
	"github.com/spexio/spex/spec"
)

// systemFile is a transition system with where it comes from.
type systemFile struct {
	*lts.System
	path string
	// internal is what the internal action is called in that kind of file.
	internal string
}

// systemFormats is for messages about files of an unknown kind.
const systemFormats = ".aut, .dot, .gv, .mmd, .mermaid, .json, .spex, .yaml or .yml"

// systemOptions are the flags of commands that read transition systems.
type systemOptions struct {
	tau []string
	// visible says that no label of a file is internal.
	visible bool
}

func (o systemOptions) names() []string {
	switch {
	case o.visible:
		return []string{}
	case len(o.tau) > 0:
		return o.tau
	}
	return nil
}

// loadSystem reads one file of any kind that holds a transition system.
func loadSystem(path string, o systemOptions) (*systemFile, error) {
	out := &systemFile{path: path, internal: "tau"}
	if len(o.tau) > 0 {
		out.internal = o.tau[0]
	}
	if err := out.read(o); err != nil {
		return nil, err
	}
	return out, nil
}

// read reads the file by the ending of its name.
func (out *systemFile) read(o systemOptions) error {
	path := out.path
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".yaml", ".yml":
		data, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		s, err := spec.Parse(path, data)
		if err != nil {
			return err
		}
		out.System, out.internal = s.LTS(), spec.Internal
		return nil
	case ".spex":
		m, err := model.Decode(path, f)
		if err != nil {
			return err
		}
		sys, initials := model.System(m.Transitions, &lts.Alphabet{})
		if sys == nil {
			return fmt.Errorf("%s: %s", path, noSystem(initials))
		}
		out.System, out.internal = sys, spec.Internal
		return nil
	default:
		format, known := ltsfile.FormatOf(path)
		if !known {
			return fmt.Errorf("%s: what kind of file this is cannot be told from %q: the name must end in %s", path, ext, systemFormats)
		}
		out.System, err = ltsfile.Read(path, f, format, ltsfile.Options{Tau: o.names()})
		return err
	}
}

func openError(path string, err error) error {
	if pathErr, ok := err.(*fs.PathError); ok {
		return fmt.Errorf("%s: %w", path, pathErr.Err)
	}
	return err
}

// noSystem says why a model has no transition system.
func noSystem(initials []string) string {
	if len(initials) == 0 {
		return "the model has no initialisation, so nobody can tell where it begins"
	}
	return fmt.Sprintf("the model has %d initialisations (%s), and a system begins in one state", len(initials), strings.Join(initials, ", "))
}

// loadPair reads two systems at the same time and gives them one alphabet.
func loadPair(a, b string, o systemOptions) (left, right *systemFile, err error) {
	var files [2]*systemFile
	var errs [2]error
	both(func(i int) { files[i], errs[i] = loadSystem([]string{a, b}[i], o) })
	for _, err := range errs {
		if err != nil {
			return nil, nil, err
		}
	}
	left, right = files[0], files[1]
	left.System, right.System = lts.Align(left.System, right.System)
	return left, right, nil
}

// both does something for 0 and 1 at the same time.
func both(do func(i int)) {
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// sameLarge reports whether two systems are equivalent by one of the equivalences that
// systems can be minimised by. Two processors share most of the work, and the systems are
// let go on the way: the minimal ones are in their places afterwards.
func sameLarge(left, right *systemFile, e lts.Equivalence) bool {
	// Nearly all memory is in a few large tables without pointers, which cost the
	// collector nothing to look at; looking more often halves the peak.
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	both(func(i int) {
		f := []*systemFile{left, right}[i]
		small, _ := lts.Minimize(f.LTS, e)
		f.System = &lts.System{LTS: small, Alphabet: f.Alphabet}
	})
	return lts.Equivalent(left.LTS, right.LTS, e)
}
