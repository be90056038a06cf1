package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/internal/atomicfile"
)

type drillFlags struct {
	faults       []string
	count        int
	hold, settle time.Duration
	duration     time.Duration
	agents       []string
	tokenFile    string
	ask          bool
	dev, shards  int
	groups       int
	clients      int
	seed         uint64
	html         string
	history      string
	keep         bool
	patience     time.Duration
	// breaks names a flag that was given and is about faults, "" if none was.
	breaks func() string
}

func newDrillCommand(a *app) *cobra.Command {
	f := &drillFlags{}
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break nodes under load and check that no promise is broken",
		Long: `Break nodes under load and check that no promise is broken.

Clients begin, move, read, list and delete instances of a specification of their
own, ` + drill.DefaultSpec + `, and note what they are told. Meanwhile nodes are killed, paused or
isolated, one after the other: by agents that run beside them (--agent), by
whoever sits at this terminal (--ask), or in a cluster that the command starts for
the purpose (--dev). Without any of these nothing is broken, for --duration.

At the end everything is read and compared: no acknowledged step may be lost,
doubled or in another place, no read stale, and the answers about each instance
must have an order in which all of them are right. The exit status is 1 when a
promise is broken, and 3 when none is and the drill was not held as asked, as when
a fault could not be made: its report then says why. What is left of a drill that
found nothing is deleted.

The faults are for a cluster that can stand them: not more than one node is
broken at a time. A cluster that is not whole again within --patience, or a fault
that could not be undone, ends the drill.`,
		Example: `  spex drill --dev
  spex drill --agent n1=http://127.0.0.1:7391 --agent n2=http://127.0.0.1:7392 --token-file token --count 20
  spex drill --ask --faults isolate --html drill.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				f.seed = rand.Uint64()
			}
			if err := f.check(); err != nil {
				return err
			}
			return a.drill(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.faults, "faults", []string{"kill", "pause"}, "`kinds` of faults, taken in turn: kill, pause, isolate")
	fl.IntVar(&f.count, "count", 6, "`number` of faults; 0: until --duration or an interrupt")
	fl.DurationVar(&f.hold, "hold", 5*time.Second, "how `long` a fault lasts")
	fl.DurationVar(&f.settle, "settle", 5*time.Second, "how `long` the cluster is left alone between faults, once it is whole again")
	fl.DurationVar(&f.duration, "duration", 0, "stop after this `time`; 0: after the last fault, or a minute without faults")
	fl.StringArrayVar(&f.agents, "agent", nil, "`name=url` of the agent that can break the node of that name, repeatable; see 'spex drill agent'")
	fl.StringVar(&f.tokenFile, "token-file", "", "`file` with the token of the agents (or env "+drillTokenEnv+")")
	fl.BoolVar(&f.ask, "ask", false, "ask at this terminal for each fault")
	fl.IntVar(&f.dev, "dev", 0, "start a cluster of this `number` of processes here and break that")
	fl.Lookup("dev").NoOptDefVal = "3"
	fl.IntVar(&f.shards, "shards", 8, "`number` of shards of the cluster of --dev")
	fl.IntVar(&f.groups, "groups", 8, "`number` of groups of clients; each group shares one instance at a time")
	fl.IntVar(&f.clients, "clients", drill.DefaultClients, "`number` of clients of a group")
	fl.Uint64Var(&f.seed, "seed", 0, "`number` that decides what the clients do and which nodes are broken; default: any")
	fl.StringVar(&f.html, "html", "", "`file` for a picture of the instances that are broken, or of some that are not")
	fl.StringVar(&f.history, "history", "", "`file` for every call and answer, as JSON")
	fl.BoolVar(&f.keep, "keep", false, "do not delete the instances afterwards")
	fl.DurationVar(&f.patience, "patience", time.Minute, "how `long` the cluster may take to be whole again, after a fault and at the end")
	f.breaks = func() (flag string) {
		for _, name := range []string{"faults", "count", "hold", "settle"} {
			if fl.Changed(name) {
				return name
			}
		}
		return ""
	}
	cmd.AddCommand(newDrillAgentCommand(a))
	return cmd
}

func (f *drillFlags) check() error {
	ways := 0
	for _, given := range []bool{len(f.agents) > 0, f.ask, f.dev != 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return usagef("--agent, --ask and --dev are different ways to break nodes: use one")
	case f.dev != 0 && (f.dev < 3 || f.dev > 9):
		return usagef("--dev=%d: use 3 to 9 nodes; fewer do not survive the loss of one", f.dev)
	case f.shards < 1 || f.shards > 64:
		return usagef("--shards %d: use 1 to 64", f.shards)
	case f.count < 0 || f.hold < 0 || f.settle < 0 || f.duration < 0 || f.patience <= 0:
		return usagef("--count, --hold, --settle and --duration must not be negative, and --patience must be above zero")
	case f.groups < 1 || f.groups > drill.MaxGroups:
		return usagef("--groups %d: use 1 to %d", f.groups, drill.MaxGroups)
	case f.clients < 1 || f.clients > drill.MaxClients:
		return usagef("--clients %d: use 1 to %d", f.clients, drill.MaxClients)
	}
	for _, k := range f.faults {
		if !slices.Contains(drill.FaultKinds(), drill.FaultKind(k)) {
			return usagef("--faults: there is no fault %q: use kill, pause or isolate", k)
		}
	}
	if flag := f.breaks(); ways == 0 && flag != "" {
		return usagef("--%s is about faults, and nobody is there to make them: give --agent, --ask or --dev", flag)
	}
	return nil
}

// schedule is what the flags say about faults.
func (f *drillFlags) schedule(tell func(drill.Fault)) drill.Schedule {
	s := drill.Schedule{Count: f.count, Hold: f.hold, Settle: f.settle, Patience: f.patience, Seed: f.seed, Tell: tell}
	for _, k := range f.faults {
		s.Kinds = append(s.Kinds, drill.FaultKind(k))
	}
	return s
}

// drill runs the whole of it. The report is written also when it was interrupted.
func (a *app) drill(ctx context.Context, f *drillFlags) (err error) {
	if err := f.writable(); err != nil {
		return err
	}
	breaker, addrs, end, err := a.drillBreaker(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end(err != nil)) }()
	w, err := drill.NewWorkload(drill.Config{
		Addresses: addrs, Namespace: a.namespace(), Seed: f.seed, Groups: f.groups, Clients: f.clients,
	})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Setup(ctx); err != nil {
		return err
	}
	h, faults, cut, err := a.drillRun(ctx, w, breaker, f)
	if err != nil {
		return err
	}
	a.notef("drill: reading %s", plural(h.Counts().Instances, "instance"))
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.patience)
	defer cancel()
	final, err := w.Final(last)
	if err != nil {
		return err
	}
	verdict := drill.Check(h, final)
	report := drill.NewReport(h, verdict, faults)
	if cut != nil {
		report.Incomplete = cut.Error()
	} else if report.Incomplete != "" {
		cut = errors.New("the drill was not held as asked: " + report.Incomplete)
	}
	err = errors.Join(
		a.emit(drillReport(report), func(w io.Writer, _ painter) { _ = report.WriteText(w) }),
		f.writeFiles(h, final, verdict, report), cut)
	if !verdict.OK() {
		if err != nil {
			a.warnf("%v", err)
		}
		left := "the instances are left for you to look at"
		if f.dev != 0 {
			left = "see the data and logs of the cluster"
		}
		return answerNo("the drill found %s; %s", plural(len(verdict.Violations), "violation"), left)
	}
	if !f.keep && f.dev == 0 {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.patience)
		defer cancel()
		if err := w.Clean(clean); err != nil {
			a.warnf("%v", err)
		}
	}
	return err
}

// drillRun runs the workload and the faults beside each other. With cut there is a
// history, and the faults were not made as they should have been.
func (a *app) drillRun(ctx context.Context, w *drill.Workload, breaker drill.Breaker, f *drillFlags) (h *drill.History, faults []drill.Fault, cut, err error) {
	wanted := f.duration
	if wanted == 0 && breaker == nil {
		wanted = time.Minute
	}
	run, stop := context.WithCancel(ctx)
	if wanted > 0 {
		run, stop = context.WithTimeout(ctx, wanted)
	}
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		h, err = w.Run(run)
	}()
	if breaker != nil {
		faults, cut = w.Inject(run, breaker, f.schedule(a.tellFault))
		if cut == nil && len(faults) == 0 {
			cut = errors.New("no fault was made: the drill ended before the first; give it a longer --duration, or more --patience")
		}
		if f.duration == 0 || cut != nil {
			stop()
		}
	}
	<-done
	return h, faults, cut, err
}

// tellFault says what is done.
func (a *app) tellFault(f drill.Fault) {
	at := f.Begin.Round(100 * time.Millisecond)
	switch {
	case f.End == 0:
		a.notef("drill: %s: %s %s (%s)", at, f.Kind, f.Node, plural(f.Leaderships, "leadership"))
	case f.Error != "":
		a.notef("drill: %s: %s %s failed: %s", at, f.Kind, f.Node, f.Error)
	case f.Whole == 0:
		a.notef("drill: %s: the cluster is not whole again", at)
	}
}

// writable finds out whether the files can be written, before anything is broken.
func (f *drillFlags) writable() error {
	for _, name := range []string{f.history, f.html} {
		if name == "" {
			continue
		}
		file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles leaves what was asked for.
func (f *drillFlags) writeFiles(h *drill.History, final *drill.Final, v *drill.Verdict, r *drill.Report) error {
	var errs []error
	if f.history != "" {
		errs = append(errs, atomicfile.Write(f.history, 0o644, func(w io.Writer) error {
			return json.NewEncoder(w).Encode(struct {
				*drill.History
				Final *drill.Final `json:"final"`
			}{h, final})
		}))
	}
	if f.html != "" {
		out, err := os.Create(f.html)
		if err == nil {
			err = errors.Join(v.WriteHTML(out, r.Marks()...), out.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// drillBreaker gives what breaks nodes, nil for nothing, the addresses of all
// nodes, and what ends it, which keeps the evidence when the drill has failed.
func (a *app) drillBreaker(ctx context.Context, f *drillFlags) (drill.Breaker, []string, func(failed bool) error, error) {
	nothing := func(bool) error { return nil }
	if f.dev != 0 {
		d, err := a.startDrillCluster(ctx, f)
		if err != nil {
			return nil, nil, nil, err
		}
		return d, d.addresses(), d.close, nil
	}
	names, addrs, err := a.clusterNodes(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	switch {
	case f.ask:
		return newOperator(a, names), addrs, nothing, nil
	case len(f.agents) > 0:
		b, err := a.newAgents(ctx, f, names)
		if err != nil {
			return nil, nil, nil, err
		}
		return b, addrs, nothing, nil
	}
	return nil, addrs, nothing, nil
}

// clusterNodes asks the cluster for the names of its nodes, and for where clients
// find them beside the addresses that were given.
func (a *app) clusterNodes(ctx context.Context) (names, addrs []string, err error) {
	if addrs, err = a.addresses(); err != nil {
		return nil, nil, err
	}
	err = a.withClient(ctx, func(c *client.Client) error {
		st, err := c.Status(ctx, false)
		if err != nil {
			return err
		}
		for _, n := range st.GetNodes() {
			names = append(names, n.GetName())
			if at := n.GetClientAddress(); at != "" && !slices.Contains(addrs, at) {
				addrs = append(addrs, at)
			}
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("the cluster names no nodes")
	}
	return names, addrs, err
}

// knownNode wants a name to be that of a node.
func knownNode(name string, names []string) error {
	if !slices.Contains(names, name) {
		return usagef("the cluster has no node %q; there are %s", name, strings.Join(names, ", "))
	}
	return nil
}
