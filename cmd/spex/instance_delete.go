package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
)

func newInstanceDeleteCommand(a *app) *cobra.Command {
	var filter client.DeleteFilter
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete [ID]",
		Short: "Delete an instance, or all that an expression selects",
		Long: `Delete the instance ID; it is no error when there is none.

With --where in the place of an ID, delete all instances for which a CEL expression
is true; --spec, --state and --stuck narrow it further. Without --yes they are
counted and nothing is deleted. Each is deleted only if it is still at the step at
which it matched: one that moves on meanwhile stays. A run that was interrupted can
be repeated.`,
		Example: `  spex instance delete order-17
  spex instance delete --where 'state == "cancelled" && age > duration("720h")'
  spex instance delete --where 'meta.customer == "test"' --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usagef("give one ID, or --where and no ID")
			case len(args) == 1 && filter.Where != "":
				return usagef("give an ID or --where, not both")
			case len(args) == 0 && filter.Where == "":
				return usagef(`give an ID, or --where with an expression ("true" selects every instance)`)
			case len(args) == 1 && (yes || filter.Spec != "" || filter.State != "" || filter.Stuck != 0):
				return usagef("--spec, --state, --stuck and --yes go with --where, not with an ID")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if len(args) == 1 {
					return a.deleteInstance(cmd.Context(), c, args[0])
				}
				filter.DryRun = !yes
				return a.deleteMatching(cmd.Context(), c, filter)
			})
		},
	}
	cmd.Flags().StringVar(&filter.Where, "where", "", "delete the instances for which this CEL `expression` is true")
	cmd.Flags().StringVar(&filter.Spec, "spec", "", "only instances of this specification")
	cmd.Flags().StringVar(&filter.State, "state", "", "only instances in this state")
	cmd.Flags().Var((*durationValue)(&filter.Stuck), "stuck", "only instances without a step for longer than this, in a state that the model can leave")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete, and do not only count")
	return cmd
}

func (a *app) deleteInstance(ctx context.Context, c *client.Client, id string) error {
	resp, err := c.Delete(ctx, id)
	if err != nil {
		return err
	}
	out := deletedJSON{
		Namespace:   a.namespace(),
		ID:          id,
		Deleted:     resp.GetDeleted(),
		Incarnation: resp.GetIncarnation(),
		Duplicate:   resp.GetDuplicate(),
	}
	return a.emit(out, func(w io.Writer, _ painter) {
		if out.Deleted {
			fmt.Fprintf(w, "deleted %s\n", out.ID)
		} else {
			fmt.Fprintf(w, "%s: there is no such instance\n", out.ID)
		}
	})
}

// deleteMatching shows what was done also when not all could be done.
func (a *app) deleteMatching(ctx context.Context, c *client.Client, filter client.DeleteFilter) error {
	done, err := c.DeleteMatching(ctx, filter)
	var partial *client.PartialError
	var unevaluated *client.UnevaluatedError
	known := errors.As(err, &partial)
	known = errors.As(err, &unevaluated) || known
	if err != nil && done.Examined == 0 && !known {
		return err
	}
	out := deletedMatchingJSON{
		Namespace: a.namespace(), DryRun: filter.DryRun,
		Matched: done.Matched, Deleted: done.Deleted, MovedOn: done.MovedOn, Examined: done.Examined,
	}
	if unevaluated != nil {
		out.Unevaluated = unevaluated.Count
	}
	if out.Matched == 0 {
		a.warnUnknownSpec(ctx, c, filter.Spec)
	}
	if failed := a.emit(out, func(w io.Writer, _ painter) { drawDeletedMatching(w, out) }); failed != nil {
		return failed
	}
	a.noteUnevaluated(unevaluated)
	if unevaluated != nil && partial == nil && done.Next == "" {
		return nil
	}
	if partial != nil && done.Next == "" {
		return partial
	}
	return err
}

func drawDeletedMatching(w io.Writer, out deletedMatchingJSON) {
	if out.DryRun {
		fmt.Fprintf(w, "%d of %s match; nothing is deleted without --yes\n", out.Matched, plural(out.Examined, "instance"))
		return
	}
	fmt.Fprintf(w, "deleted %s\n", plural(out.Deleted, "instance"))
	if out.MovedOn > 0 {
		fmt.Fprintf(w, "%d took a step or went meanwhile, and were left alone\n", out.MovedOn)
	}
}

// noteUnevaluated tells about instances that an expression could not decide about.
func (a *app) noteUnevaluated(e *client.UnevaluatedError) {
	if e != nil {
		a.notef("Left out: %s for which the expression has no value: %s. Ask for a key with has(meta.KEY) && ...", plural(e.Count, "instance"), e.Example)
	}
}
