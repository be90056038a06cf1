package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/atomicfile"
	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// modelTimeout is the time limit of calls about a whole model, which wait for
// every shard, unless --timeout is given.
const modelTimeout = time.Minute

// patience raises the time limit of a command that waits for every shard.
func (a *app) patience(cmd *cobra.Command) {
	if !cmd.Flags().Changed("timeout") {
		a.opts.timeout = max(a.opts.timeout, modelTimeout)
	}
}

func newModelExportCommand(a *app) *cobra.Command {
	var keepLearning bool
	var only []string
	cmd := &cobra.Command{
		Use:   "export DIR",
		Short: "Write the models as .spex files, one per specification",
		Long: `Write the models of the namespace as DIR/NAME.spex, replacing older files. DIR is
made when it does not exist.

A model that is still learning is written as closed all the same, so that the file
can go into production as it is; --keep-learning writes the mode as it is.`,
		Args: exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.exportModels(cmd.Context(), c, args[0], only, keepLearning)
			})
		},
	}
	cmd.Flags().BoolVar(&keepLearning, "keep-learning", false, "write 'Learning mode: true' for models that learn")
	cmd.Flags().StringArrayVar(&only, "spec", nil, "only the model of this specification, repeatable")
	return cmd
}

func (a *app) exportModels(ctx context.Context, c *client.Client, dir string, only []string, keepLearning bool) error {
	names := only
	if len(names) == 0 {
		resp, err := c.ListModels(ctx)
		if err != nil {
			return err
		}
		for _, m := range resp.GetModels() {
			if m.GetMode() != typesv1.ModelMode_MODEL_MODE_ABSENT {
				names = append(names, m.GetSpec())
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out := []modelExportJSON{}
	var failure error
	for _, name := range names {
		exported, err := a.exportModel(ctx, c, dir, name, keepLearning)
		if err != nil {
			failure = fmt.Errorf("export the model of %s: %w", name, err)
			break
		}
		out = append(out, exported)
	}
	err := a.emit(out, func(w io.Writer, _ painter) {
		for _, m := range out {
			fmt.Fprintf(w, "%s: %s\n", m.File, plural(m.Transitions, "transition"))
		}
		if len(out) == 0 && failure == nil {
			fmt.Fprintln(w, "No models.")
		}
	})
	return errors.Join(failure, err)
}

func (a *app) exportModel(ctx context.Context, c *client.Client, dir, name string, keepLearning bool) (modelExportJSON, error) {
	info, transitions, err := c.GetModel(ctx, name, 0)
	if err != nil {
		return modelExportJSON{}, err
	}
	learning := info.GetMode() == typesv1.ModelMode_MODEL_MODE_LEARNING
	file := model.File{
		Spec:     name,
		Learning: learning && keepLearning,
		Transitions: mapSlice(transitions, func(t *typesv1.Transition) model.Transition {
			return model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
		}),
	}
	path := filepath.Join(dir, name+".spex")
	if err := atomicfile.Write(path, 0o644, func(w io.Writer) error { return model.Encode(w, &file) }); err != nil {
		return modelExportJSON{}, err
	}
	if learning && !keepLearning {
		a.warnf("the model of %s is still learning in the cluster; its file is written as closed (see --keep-learning)", name)
	}
	return modelExportJSON{
		Spec:        name,
		File:        path,
		Transitions: len(transitions),
		Learning:    file.Learning,
		Mode:        modeName(info.GetMode()),
	}, nil
}

func newModelImportCommand(a *app) *cobra.Command {
	var into string
	var merge, replace bool
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Add the transitions of .spex files to the models in the cluster",
		Long: `Add the transitions of .spex files to the models of the newest versions of their
specifications, which must be applied before. A file with 'Learning mode: false'
seals the model afterwards. All files are read before the first one is imported.

What a model has beside the file stays (--merge, the default) or is taken out
(--replace): then steps that only the older model knew deviate. A model that is
learning also gets what the shards have learned and not handed over yet. Unlike
'spex model accept', the command imports also what makes the model not equivalent
to its specification; it says so, and how they differ.

Files of the Elixir library name a module, for example Elixir.Order: say with
--spec to which specification such a file belongs.`,
		Args: someArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if merge && replace {
				return usagef("give one of --merge and --replace")
			}
			if into != "" && len(args) > 1 {
				return usagef("--spec is for one FILE, not %d", len(args))
			}
			files, err := a.decodeModels(args)
			if err != nil {
				return err
			}
			if into != "" {
				files[0].Spec = into
			}
			a.patience(cmd)
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.importModels(cmd.Context(), c, args, files, replace)
			})
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "keep what the model has beside the file (the default)")
	cmd.Flags().BoolVar(&replace, "replace", false, "take out what the model has beside the file")
	cmd.Flags().StringVar(&into, "spec", "", "import into the model of this specification, whatever name the file has")
	return cmd
}

// decodeModels reads all files; the error joins what is wrong with each of them.
func (a *app) decodeModels(paths []string) ([]*model.File, error) {
	var errs []error
	var files []*model.File
	for _, path := range paths {
		f, err := a.decodeModel(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files = append(files, f)
	}
	return files, errors.Join(errs...)
}

func (a *app) decodeModel(path string) (*model.File, error) {
	name, data, err := a.readFile(path)
	if err != nil {
		return nil, err
	}
	return model.Decode(name, bytes.NewReader(data))
}

func (a *app) importModels(ctx context.Context, c *client.Client, paths []string, files []*model.File, replace bool) error {
	out := []modelImportJSON{}
	var failure error
	for i, f := range files {
		imported, err := importModel(ctx, c, f, replace)
		if err != nil {
			failure = fmt.Errorf("%s: %w", paths[i], err)
			break
		}
		imported.File = paths[i]
		out = append(out, imported)
	}
	err := a.emit(out, func(w io.Writer, _ painter) {
		for _, m := range out {
			out := ""
			if m.Removed > 0 {
				out = fmt.Sprintf(", %d taken out", m.Removed)
			}
			fmt.Fprintf(w, "%s: %d new of %s%s, model %s\n", m.Spec, m.Added, plural(m.Model.Transitions, "transition"), out, m.Model.Mode)
			if m.Grade != nil {
				fmt.Fprintf(w, "%s: NOT equivalent to its specification: %s\n", m.Spec, showModelGrade(m.Grade))
			}
		}
	})
	return errors.Join(failure, err)
}

func importModel(ctx context.Context, c *client.Client, f *model.File, replace bool) (modelImportJSON, error) {
	transitions := mapSlice(f.Transitions, func(t model.Transition) *typesv1.Transition {
		return &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}
	})
	send := c.ImportModel
	if replace {
		send = c.ReplaceModel
	}
	resp, err := send(ctx, f.Spec, f.Learning, transitions)
	if err != nil {
		return modelImportJSON{}, err
	}
	out := modelImportJSON{Spec: f.Spec, Added: resp.GetAdded(), Removed: resp.GetRemoved(), Model: modelToJSON(resp.GetModel())}
	if !f.Learning && resp.GetModel().GetMode() == typesv1.ModelMode_MODEL_MODE_LEARNING {
		// The file says that the model is closed: nothing may join it unjudged.
		sealed, err := sealModel(ctx, c, f.Spec)
		if err != nil {
			return out, fmt.Errorf("the transitions are imported, but sealing failed: %w", err)
		}
		out.Sealed, out.Model = true, modelToJSON(sealed)
	}
	if eq := out.Model.Equivalent; eq != nil && !*eq {
		if out.Grade, err = gradeModel(ctx, c, f.Spec, out.Model.SpecVersion); err != nil {
			return out, fmt.Errorf("the transitions are imported, but the model is not equivalent to its specification, and how it differs could not be found out: %w", err)
		}
	}
	return out, nil
}

// gradeModel says how the model of a specification that is not equivalent differs from it.
func gradeModel(ctx context.Context, c *client.Client, name string, version uint64) (*modelGradeJSON, error) {
	m, _, err := c.GetSpecification(ctx, name, version)
	if err != nil {
		return nil, err
	}
	s, err := spec.FromProto(m)
	if err != nil {
		return nil, err
	}
	_, transitions, err := c.GetModel(ctx, name, version)
	if err != nil {
		return nil, err
	}
	checker := model.NewChecker(s, mapSlice(transitions, func(t *typesv1.Transition) model.Transition {
		return model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
	}))
	g := checker.Grade()
	return &modelGradeJSON{Grade: optional(string(g.Grade)), Trace: append([]string{}, g.Trace...)}, nil
}
