package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/explain"
	"github.com/spexio/spex/model"
	"github.com/spexio/spex/spec"
)

// elixirPrefix is how the Elixir library names specifications in its files.
const elixirPrefix = "Elixir."

// loadedSpec is a specification with the file that it came from.
type loadedSpec struct {
	file string
	spec *spec.Specification
}

// loadSpecs reads the specifications of files and directories, by name. The
// error joins everything that is wrong.
func loadSpecs(paths []string) (map[string]loadedSpec, error) {
	specs := map[string]loadedSpec{}
	var errs []error
	for _, path := range paths {
		files, err := filesIn(path, "specification", ".yaml", ".yml")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			s, err := spec.Parse(file, data)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if other, twice := specs[s.Name]; twice && other.file != file {
				errs = append(errs, fmt.Errorf("%s: the specification %q is in %s too: keep one of them", file, s.Name, other.file))
				continue
			}
			specs[s.Name] = loadedSpec{file: file, spec: s}
		}
	}
	return specs, errors.Join(errs...)
}

// filesIn lists a file, or the files of a directory that have one of the
// suffixes, sorted. A directory without such a file is an error: whoever names
// an empty directory to a check has named the wrong one.
func filesIn(path, what string, suffixes ...string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no such file or directory: give the path of the %ss", path, what)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains(suffixes, filepath.Ext(e.Name())) && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: the directory has no %s (*%s)", path, what, strings.Join(suffixes, ", *"))
	}
	return files, nil
}

// checkModels checks the models at path, a file or a directory.
func checkModels(path string, specs map[string]loadedSpec) (checkJSON, error) {
	files, err := filesIn(path, "model", ".spex")
	if err != nil {
		return checkJSON{}, err
	}
	out := checkJSON{Models: []checkedModelJSON{}, SpecsWithoutModel: []string{}, Specifications: len(specs)}
	modelOf := map[string]string{}
	for _, file := range files {
		m := checkModel(file, specs, modelOf)
		out.Models = append(out.Models, m)
		switch {
		case m.Error != "":
			out.Failed++
		case *m.Equivalent:
			out.Equivalent++
		default:
			out.NotEquivalent++
		}
		if m.Learning {
			out.Learning++
		}
	}
	for _, name := range sortedKeys(specs) {
		// Whoever names one file asks about that one.
		if modelOf[name] == "" && !(len(files) == 1 && files[0] == path) {
			out.SpecsWithoutModel = append(out.SpecsWithoutModel, name)
		}
	}
	return out, nil
}

// checkModel checks one model. modelOf notes which file is the model of a
// specification, since of two files for one only one can be meant.
func checkModel(path string, specs map[string]loadedSpec, modelOf map[string]string) checkedModelJSON {
	out := checkedModelJSON{File: path}
	f, err := decodeFile(path)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Spec, out.Learning, out.Transitions = f.Spec, f.Learning, len(f.Transitions)
	loaded, ok := specs[f.Spec]
	if !ok {
		loaded, ok = specs[strings.TrimPrefix(f.Spec, elixirPrefix)]
	}
	if !ok {
		out.Error = fmt.Sprintf("there is no specification %q: add its YAML file with --specs; there are %s", f.Spec, strings.Join(sortedKeys(specs), ", "))
		return out
	}
	if other := modelOf[loaded.spec.Name]; other != "" {
		out.Error = fmt.Sprintf("%s is a model of %q too: keep one of them", other, loaded.spec.Name)
		return out
	}
	modelOf[loaded.spec.Name] = path
	if err := compareModel(&out, loaded.spec, f.Transitions); err != nil {
		out.Error = err.Error()
	}
	return out
}

// checkNames is what systems are called in what is said about a model.
var checkNames = explain.Options{
	Equivalence: lts.Branching, Left: "the specification", Right: "the model", Internal: spec.Internal,
}

// compareModel compares a model with its specification.
func compareModel(out *checkedModelJSON, s *spec.Specification, transitions []model.Transition) error {
	checker := model.NewChecker(s, transitions)
	equivalent, reason := checker.Equivalent()
	left := s.LTS()
	if right, _ := model.System(transitions, left.Alphabet); right != nil {
		r, err := explain.Compare(left, right, checkNames)
		if err != nil {
			return err
		}
		out.Report = reportDocument(s.Name, out.File, r, checkNames)
	}
	out.Equivalent = &equivalent
	if !equivalent {
		out.Reason, out.Explanation = reason, checker.Explain()
	}
	return nil
}

func decodeFile(path string) (*model.File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return model.Decode(path, r)
}
