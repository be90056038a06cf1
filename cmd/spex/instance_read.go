package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
)

func newInstanceGetCommand(a *app) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show an instance and its history",
		Long: `Show an instance and its kept steps, oldest first.

The answer reflects every write that was acknowledged before. With --stale any
replica answers from what it has, also when its shard has no leader.`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				out, err := readInstance(cmd.Context(), c, args[0], stale)
				if err != nil {
					return err
				}
				return a.emit(out, func(w io.Writer, p painter) { drawInstance(w, p, out) })
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "take the answer of any replica, which may be behind")
	return cmd
}

// readInstance gathers an instance with its whole kept history.
func readInstance(ctx context.Context, c *client.Client, id string, stale bool) (instanceHistoryJSON, error) {
	var opts []client.ReadOption
	if stale {
		opts = append(opts, client.Stale())
	}
	got, err := c.Get(ctx, id, opts...)
	if err != nil {
		return instanceHistoryJSON{}, err
	}
	out := instanceHistoryJSON{
		instanceJSON: instanceToJSON(got.GetInstance()),
		History:      []stepJSON{},
		Read:         readToJSON(got.GetRead(), stale),
	}
	// The history is read after the instance, so it may be newer but never
	// older; steps beyond the instance's seq belong to a later look.
	for step, err := range c.History(ctx, id, append(opts, client.MinIndex(got.GetRead().GetIndex()))...) {
		if err != nil {
			return instanceHistoryJSON{}, err
		}
		if step.GetSeq() > out.Seq {
			break
		}
		out.History = append(out.History, stepToJSON(step))
	}
	if len(out.History) > 0 {
		out.FirstKeptSeq = out.History[0].Seq
	}
	return out, nil
}

func drawInstance(w io.Writer, p painter, i instanceHistoryJSON) {
	var l pairs
	l.add("id", i.ID)
	l.add("spec", fmt.Sprintf("%s version %d", i.Spec, i.SpecVersion))
	l.add("state", i.State)
	l.add("steps", i.Seq)
	if i.OffModel {
		l.add("model", cell{"the instance has left the model", styleWarn})
	}
	if i.Awaiting > 0 {
		l.add("awaiting", cell{plural(i.Awaiting, "verdict"), styleWarn})
	}
	for _, key := range slices.Sorted(maps.Keys(i.Meta)) {
		l.add("meta "+key, i.Meta[key])
	}
	l.add("created", time.Time(i.CreatedAt))
	l.add("updated", time.Time(i.UpdatedAt))
	l.add("shard", i.Shard)
	if i.Read.Consistency == "stale" {
		age := time.Duration(i.Read.AgeSeconds * float64(time.Second)).Round(time.Millisecond)
		l.add("read", cell{fmt.Sprintf("stale, at index %d, at most %v old", i.Read.Index, age), styleWarn})
	}
	l.write(w, p)
	fmt.Fprintln(w)

	t := newTable("SEQ", "TIME", "ACTION", "STATE", "VERDICT")
	for _, s := range i.History {
		when := time.Time(s.Time)
		if event := time.Time(s.EventTime); !event.IsZero() {
			when = event
		}
		t.row(s.Seq, when, s.Action, s.State, verdictCell(s.Verdict))
		if s.Judgement != nil {
			if why := showWhy(s.Judgement.Reason, s.Judgement.Explanation); why != "" {
				t.note(why)
			}
			if text := showGrade(s.Judgement.Grade, s.Verdict); text != "" {
				t.note(text)
			}
		}
	}
	t.write(w, p)
	if i.FirstKeptSeq > 1 {
		fmt.Fprintf(w, "Steps before %d are no longer kept.\n", i.FirstKeptSeq)
	}
}

func newInstanceListCommand(a *app) *cobra.Command {
	var filter client.ListFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List instances, by shard and then by id",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit must not be negative: 0 means all")
			}
			filter.Limit = limit
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.listInstances(cmd.Context(), c, filter)
			})
		},
	}
	cmd.Flags().StringVar(&filter.Spec, "spec", "", "only instances of this specification")
	cmd.Flags().StringVar(&filter.State, "state", "", "only instances in this state")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 means all")
	return cmd
}

func (a *app) listInstances(ctx context.Context, c *client.Client, filter client.ListFilter) error {
	out := []instanceJSON{}
	var partial *client.PartialError
	for i, err := range c.List(ctx, filter) {
		if errors.As(err, &partial) {
			continue
		}
		if err != nil {
			return err
		}
		out = append(out, instanceToJSON(i))
	}
	err := a.emit(out, func(w io.Writer, p painter) {
		if len(out) == 0 {
			fmt.Fprintln(w, "No instances.")
			return
		}
		t := newTable("ID", "SPEC", "STATE", "STEPS", "UPDATED", "NOTE")
		for _, i := range out {
			t.row(i.ID, i.Spec, i.State, i.Seq, time.Time(i.UpdatedAt), instanceNote(i))
		}
		t.write(w, p)
	})
	if err != nil {
		return err
	}
	if filter.Limit > 0 && len(out) == filter.Limit {
		a.notef("Shown are the first %d; there may be more: raise --limit.", filter.Limit)
	}
	return incomplete(partial)
}

// incomplete makes the failure of a listing that some shards did not answer.
func incomplete(partial *client.PartialError) error {
	if partial == nil {
		return nil
	}
	return partial
}

func instanceNote(i instanceJSON) cell {
	var notes []string
	if i.OffModel {
		notes = append(notes, "off the model")
	}
	if i.Awaiting > 0 {
		notes = append(notes, plural(i.Awaiting, "verdict")+" awaited")
	}
	return cell{text: strings.Join(notes, ", "), style: styleWarn}
}

func newInstanceDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Delete an instance; it is no error when there is none",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				resp, err := c.Delete(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				out := deletedJSON{
					Namespace:   a.namespace(),
					ID:          args[0],
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
			})
		},
	}
}
