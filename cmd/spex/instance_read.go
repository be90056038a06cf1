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
	var newest int
	var page string
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show an instance and its history",
		Long: `Show an instance and its kept steps, oldest first.

With --history N only the last N steps are shown, newest first, and how to ask for
the ones before.

The answer reflects every write that was acknowledged before. With --stale any
replica answers from what it has, also when its shard has no leader.`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if newest < 0 || newest > client.MaxPage {
				return usagef("--history must be from 1 to %d, or 0 for all kept steps", client.MaxPage)
			}
			if page != "" && newest == 0 {
				return usagef("--page goes on with a history that --history N has begun: give the same N")
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				read := readInstance
				if newest > 0 {
					read = func(ctx context.Context, c *client.Client, id string, stale bool) (instanceHistoryJSON, error) {
						return readNewest(ctx, c, id, stale, newest, page)
					}
				}
				out, err := read(cmd.Context(), c, args[0], stale)
				if err != nil {
					return err
				}
				return a.emit(out, func(w io.Writer, p painter) { drawInstance(w, p, out, newest) })
			})
		},
	}
	cmd.Flags().IntVar(&newest, "history", 0, "show the last `N` steps, newest first (default: all, oldest first)")
	cmd.Flags().StringVar(&page, "page", "", "with --history: go on where the page before ended")
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

// readNewest reads a page of the history from its end, in one request.
func readNewest(ctx context.Context, c *client.Client, id string, stale bool, n int, page string) (instanceHistoryJSON, error) {
	opts := []client.ReadOption{client.NewestFirst(), client.PageSize(uint32(n))}
	if stale {
		opts = append(opts, client.Stale())
	}
	got, err := c.HistoryPage(ctx, id, page, opts...)
	if err != nil {
		return instanceHistoryJSON{}, err
	}
	out := instanceHistoryJSON{
		instanceJSON: instanceToJSON(got.GetInstance()),
		FirstKeptSeq: got.GetFirstKeptSeq(),
		History:      []stepJSON{},
		NextPage:     got.GetNextPageToken(),
		Read:         readToJSON(got.GetRead(), stale),
	}
	for _, step := range got.GetSteps() {
		out.History = append(out.History, stepToJSON(step))
	}
	return out, nil
}

// drawInstance shows an instance; newest is 0 when the history is all of it.
func drawInstance(w io.Writer, p painter, i instanceHistoryJSON, newest int) {
	var l pairs
	l.add("id", i.ID)
	l.add("spec", fmt.Sprintf("%s version %d", i.Spec, i.SpecVersion))
	l.add("state", i.State)
	l.add("steps", i.Seq)
	if i.OffModel {
		l.add("model", cell{"the instance has left the model", styleWarn})
	}
	if i.RunViolation != nil {
		l.add("run", cell{i.RunViolation.show(), styleWarn})
	}
	if i.Awaiting > 0 {
		l.add("awaiting", cell{plural(i.Awaiting, "verdict"), styleWarn})
	}
	for _, key := range slices.Sorted(maps.Keys(i.Meta)) {
		l.add("meta "+key, i.Meta[key])
	}
	l.add("created", time.Time(i.CreatedAt))
	l.add("updated", time.Time(i.UpdatedAt))
	switch deadline := time.Time(i.Deadline); {
	case i.TimedOut:
		l.add("timed out", cell{"no step came until " + showTime(deadline), styleWarn})
	case !deadline.IsZero():
		l.add("deadline", deadline)
	}
	if at := time.Time(i.PruneAt); !at.IsZero() {
		l.add("pruned after", at)
	}
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
		if s.RunViolation != nil {
			t.note(s.RunViolation.show())
		}
	}
	t.write(w, p)
	if i.NextPage != "" {
		fmt.Fprintf(w, "Older steps: spex instance get %s --history %d --page %s\n", i.ID, newest, i.NextPage)
		return
	}
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
		Long: `List instances, by shard and then by id.

--where takes a CEL expression over the instance: id, spec, spec_version, state, seq,
meta, created, updated, age (since the last step), off_model, awaiting, terminal.
--stuck is for instances that should go on and do not: it leaves out those in
terminal states.`,
		Example: `  spex instance list --stuck 1h
  spex instance list --where 'state == "pending" && age > duration("1h")'
  spex instance list --spec order --where 'has(meta.customer) && meta.customer == "acme"'`,
		Args: cobra.NoArgs,
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
	cmd.Flags().StringVar(&filter.Where, "where", "", "only instances for which this CEL `expression` is true")
	cmd.Flags().Var((*durationValue)(&filter.Stuck), "stuck", "only instances without a step for longer than this, in a state that the model can leave")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 means all")
	return cmd
}

func (a *app) listInstances(ctx context.Context, c *client.Client, filter client.ListFilter) error {
	out := []instanceJSON{}
	var partial *client.PartialError
	var unevaluated *client.UnevaluatedError
	for i, err := range c.List(ctx, filter) {
		if errors.As(err, &partial) || errors.As(err, &unevaluated) {
			continue
		}
		if err != nil {
			return err
		}
		out = append(out, instanceToJSON(i))
	}
	if len(out) == 0 {
		a.warnUnknownSpec(ctx, c, filter.Spec)
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
	a.noteUnevaluated(unevaluated)
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
	if i.RunViolation != nil {
		notes = append(notes, "violates its specification")
	}
	if i.Awaiting > 0 {
		notes = append(notes, plural(i.Awaiting, "verdict")+" awaited")
	}
	if i.TimedOut {
		notes = append(notes, "timed out")
	}
	return cell{text: strings.Join(notes, ", "), style: styleWarn}
}
