package client

import (
	"os"
	"path/filepath"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// writeModel replaces the model file of a specification whole: a reader finds the
// old content or the new one.
func writeModel(dir, spec string, transitions []*typesv1.Transition) (path string, err error) {
	f := &model.File{Spec: spec}
	for _, t := range transitions {
		f.Transitions = append(f.Transitions, model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()})
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, ".*.spex.tmp")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close() // closing twice is harmless
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := model.Encode(tmp, f); err != nil {
		return "", err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return "", err
	}
	if err := tmp.Sync(); err != nil {
		return "", err
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	path = filepath.Join(dir, spec+".spex")
	return path, os.Rename(tmp.Name(), path)
}
