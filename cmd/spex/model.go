package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func newModelCommand(a *app) *cobra.Command {
	return groupCommand(&cobra.Command{
		Use:   "model COMMAND",
		Short: "Look at, seal, review, export and import implementation models",
	},
		newModelListCommand(a),
		newModelGetCommand(a),
		newModelExportCommand(a),
		newModelImportCommand(a),
		newModelSealCommand(a),
		newModelLearnCommand(a),
		newModelAcceptCommand(a),
		newModelRejectCommand(a),
		newModelHistoryCommand(a),
	)
}

func newModelListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the models of the namespace",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.ListModels(cmd.Context())
				if err != nil {
					return err
				}
				out := mapSlice(resp.GetModels(), modelToJSON)
				return a.emit(out, func(w io.Writer, p painter) { drawModels(w, p, out) })
			})
		},
	}
}

func drawModels(w io.Writer, p painter, models []modelJSON) {
	if len(models) == 0 {
		fmt.Fprintln(w, "No models.")
		return
	}
	t := newTable("SPEC", "SPEC VERSION", "MODE", "MODEL VERSION", "TRANSITIONS", "DEVIATIONS", "EQUIVALENT")
	for _, m := range models {
		t.row(m.Spec, m.SpecVersion, modeCell(m.Mode), m.Version, m.Transitions, m.Deviations, equivalentCell(m.Equivalent))
	}
	t.write(w, p)
}

// modeCell colours the stages of a model: a model that learns judges nothing.
func modeCell(mode string) cell {
	switch mode {
	case "sealed":
		return cell{mode, styleGood}
	case "absent":
		return cell{mode, styleFaint}
	default:
		return cell{mode, styleWarn}
	}
}

func equivalentCell(equivalent *bool) cell {
	switch {
	case equivalent == nil:
		return cell{}
	case *equivalent:
		return cell{"yes", styleGood}
	default:
		return cell{"no", styleBad}
	}
}

func newModelGetCommand(a *app) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use:   "get SPEC",
		Short: "Show the model of a specification with its transitions",
		Args:  exactArgs("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				info, transitions, err := c.GetModel(cmd.Context(), args[0], version)
				if err != nil {
					return err
				}
				out := modelContentJSON{modelJSON: modelToJSON(info), Relation: mapSlice(transitions, transitionToJSON)}
				return a.emit(out, func(w io.Writer, p painter) { drawModel(w, p, out) })
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "spec-version", 0, "version of the specification (default: the newest)")
	return cmd
}

func drawModel(w io.Writer, p painter, m modelContentJSON) {
	var l pairs
	l.add("spec", fmt.Sprintf("%s version %d", m.Spec, m.SpecVersion))
	l.add("mode", modeCell(m.Mode))
	l.add("version", m.Version)
	l.add("transitions", m.Transitions)
	if m.Deviations > 0 {
		l.add("deviations", cell{fmt.Sprint(m.Deviations), styleWarn})
	}
	if m.Equivalent != nil {
		l.add("equivalent", equivalentCell(m.Equivalent))
	}
	l.write(w, p)
	fmt.Fprintln(w)
	t := newTable("FROM", "ACTION", "TO")
	for _, tr := range m.Relation {
		t.row(tr.From, tr.Action, tr.To)
	}
	t.write(w, p)
}

func newModelSealCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal SPEC",
		Short: "End the learning of a model: from now on steps are judged",
		Long: `End the learning of a model. The command returns when every shard works with the
sealed model, which then holds every step that was acknowledged as learned. It
waits for a minute unless --timeout is given.`,
		Args: exactArgs("SPEC"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.patience(cmd)
		return a.withClient(cmd.Context(), func(c *client.Client) error {
			m, err := sealModel(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			out := modelToJSON(m)
			return a.emit(out, func(w io.Writer, _ painter) {
				fmt.Fprintf(w, "sealed %s with %s\n", out.Spec, plural(out.Transitions, "transition"))
			})
		})
	}
	return cmd
}

func sealModel(ctx context.Context, c *client.Client, spec string) (*spexv1.ModelInfo, error) {
	resp, err := c.SealModel(ctx, spec)
	if err != nil {
		return nil, err
	}
	return resp.GetModel(), nil
}

func newModelLearnCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "learn SPEC",
		Short: "Let a model learn again: novel steps join it and are not judged",
		Args:  exactArgs("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.patience(cmd)
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.LearnModel(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				out := modelToJSON(resp.GetModel())
				return a.emit(out, func(w io.Writer, _ painter) {
					fmt.Fprintf(w, "%s is learning, with %s so far\n", out.Spec, plural(out.Transitions, "transition"))
				})
			})
		},
	}
}
