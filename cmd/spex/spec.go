package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/spec"
)

func newSpecCommand(a *app) *cobra.Command {
	return groupCommand(&cobra.Command{
		Use:   "spec COMMAND",
		Short: "Apply, read, check and discover specifications",
	},
		newSpecApplyCommand(a),
		newSpecGetCommand(a),
		newSpecListCommand(a),
		newSpecDeleteCommand(a),
		newSpecLintCommand(a),
		newSpecDiscoverCommand(a),
	)
}

func newSpecApplyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE...",
		Short: "Make specifications known, or new versions of them",
		Long: `Make specifications known, or new versions of those that changed. All files are
read and checked before the first one is applied. "-" reads standard input.`,
		Example: "  spex spec apply order.yaml",
		Args:    someArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			specs, err := a.parseSpecs(args)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.applySpecs(cmd.Context(), c, args, specs)
			})
		},
	}
}

// parseSpecs reads all files; the error joins what is wrong with each of them.
func (a *app) parseSpecs(files []string) ([]*spec.Specification, error) {
	var errs []error
	var specs []*spec.Specification
	from := map[string]string{}
	for _, file := range files {
		s, err := a.parseSpec(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if other, twice := from[s.Name]; twice {
			errs = append(errs, fmt.Errorf("%s: the specification %q is in %s too: keep one of them", file, s.Name, other))
		}
		from[s.Name] = file
		specs = append(specs, s)
	}
	return specs, errors.Join(errs...)
}

func (a *app) parseSpec(file string) (*spec.Specification, error) {
	name, data, err := a.readFile(file)
	if err != nil {
		return nil, err
	}
	return spec.Parse(name, data)
}

func (a *app) applySpecs(ctx context.Context, c *client.Client, files []string, specs []*spec.Specification) error {
	out := []specAppliedJSON{}
	var failure error
	for i, s := range specs {
		resp, err := c.ApplySpecification(ctx, s.Proto())
		if err != nil {
			failure = fmt.Errorf("%s: %w", files[i], err)
			break
		}
		out = append(out, specAppliedJSON{
			File:         files[i],
			Name:         resp.GetName(),
			Version:      resp.GetVersion(),
			Changed:      resp.GetChanged(),
			ModelMode:    modeName(resp.GetModelMode()),
			CatalogIndex: resp.GetCatalogIndex(),
		})
	}
	// What was applied before a failure is shown too: it stays applied.
	err := a.emit(out, func(w io.Writer, p painter) {
		for _, r := range out {
			change := cell{"unchanged", styleFaint}
			if r.Changed {
				change = cell{"applied", styleGood}
			}
			fmt.Fprintf(w, "%s version %d %s, model %s\n", r.Name, r.Version, p.paint(change.style, change.text), r.ModelMode)
		}
	})
	return errors.Join(failure, err)
}

func newSpecGetCommand(a *app) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a specification as YAML, or as JSON with -o json",
		Args:  exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				m, got, err := c.GetSpecification(cmd.Context(), args[0], version)
				if err != nil {
					return err
				}
				s, err := spec.FromProto(m)
				if err != nil {
					return fmt.Errorf("the server sent a specification that this program does not understand: %w", err)
				}
				if a.opts.output == outputJSON {
					return writeJSON(a.stdout, specToJSON(s, got))
				}
				text, err := s.YAML()
				if err != nil {
					return err
				}
				_, err = a.stdout.Write(text)
				return err
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "version to print (default: the newest)")
	return cmd
}

func newSpecListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the specifications of the namespace",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.ListSpecifications(cmd.Context())
				if err != nil {
					return err
				}
				out := mapSlice(resp.GetSpecifications(), specInfoToJSON)
				return a.emit(out, func(w io.Writer, p painter) { drawSpecs(w, p, out) })
			})
		},
	}
}

func drawSpecs(w io.Writer, p painter, specs []specInfoJSON) {
	if len(specs) == 0 {
		fmt.Fprintln(w, "No specifications.")
		return
	}
	t := newTable("NAME", "VERSION", "STATES", "TRANSITIONS", "MODEL", "APPLIED")
	for _, s := range specs {
		model := cell{}
		if s.Model != nil {
			model = modeCell(s.Model.Mode)
		}
		t.row(s.Name, s.Version, s.States, s.Transitions, model, time.Time(s.AppliedAt))
	}
	t.write(w, p)
}

func newSpecDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a specification with its model",
		Args:  exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.DeleteSpecification(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				out := specDeletedJSON{Name: args[0], Deleted: true, CatalogIndex: resp.GetCatalogIndex()}
				return a.emit(out, func(w io.Writer, _ painter) { fmt.Fprintf(w, "deleted %s\n", out.Name) })
			})
		},
	}
}
