package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/internal/atomicfile"
	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/ltsfile"
)

// stdio is the file name that stands for standard output.
const stdio = "-"

func newLTSCommand(a *app) *cobra.Command {
	return groupCommand(&cobra.Command{
		Use:   "lts COMMAND",
		Short: "Look at, convert and minimise transition systems",
		Long: `Look at, convert and minimise labelled transition systems in files of any kind:
` + systemFormats + ` (a specification). No server is needed.`,
	}, newLTSInfoCommand(a), newLTSConvertCommand(a), newLTSMinimizeCommand(a), newLTSDotCommand(a))
}

// ltsInfoJSON tells about one system.
type ltsInfoJSON struct {
	File          string   `json:"file"`
	States        int      `json:"states"`
	Transitions   int      `json:"transitions"`
	Actions       []string `json:"actions"`
	Internal      int      `json:"internal_transitions"`
	Initial       string   `json:"initial_state"`
	Reachable     int      `json:"reachable_states"`
	Deadlocks     int      `json:"deadlocks"`
	Deterministic bool     `json:"deterministic"`
	Divergent     int      `json:"divergent_states"`
	Classes       int      `json:"branching_classes"`
}

func newLTSInfoCommand(a *app) *cobra.Command {
	var systems systemOptions
	cmd := &cobra.Command{
		Use:   "info FILE...",
		Short: "Tell about transition systems: size, actions, deadlocks, internal loops",
		Long: `Tell about transition systems. Counts of deadlocks, of states on internal loops and of
classes (of branching bisimilarity) are about the states that can be reached.`,
		Example: "  spex lts info order.yaml order.spex",
		Args:    someArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			infos := []ltsInfoJSON{}
			for _, path := range args {
				f, err := loadSystem(path, systems)
				if err != nil {
					return err
				}
				infos = append(infos, describeSystem(f))
			}
			return a.emit(infos, func(w io.Writer, p painter) { drawInfos(w, p, infos) })
		},
	}
	systemFlags(cmd, &systems)
	return cmd
}

func describeSystem(f *systemFile) ltsInfoJSON {
	l := f.LTS
	out := ltsInfoJSON{
		File: f.path, States: l.States(), Transitions: l.Transitions(), Actions: []string{}, Initial: f.StateName(l.Initial()), Deterministic: true,
	}
	seen := make([]bool, f.Alphabet.Len())
	reachable := l.Reachable(l.Initial())
	minimal, _ := lts.Minimize(l, lts.Branching)
	out.Classes = minimal.States()
	for s := range lts.State(l.States()) {
		steps := l.Steps(s)
		for i, step := range steps {
			seen[step.Label] = true
			if step.Label == lts.Tau {
				out.Internal++
			}
			if reachable[s] && (step.Label == lts.Tau || i > 0 && steps[i-1].Label == step.Label) {
				out.Deterministic = false
			}
		}
		if reachable[s] {
			out.Reachable++
			if len(steps) == 0 {
				out.Deadlocks++
			}
		}
	}
	for s, divergent := range l.Divergent() {
		if divergent && reachable[s] {
			out.Divergent++
		}
	}
	for label := lts.Tau + 1; int(label) < len(seen); label++ {
		if seen[label] {
			out.Actions = append(out.Actions, f.Alphabet.Name(label))
		}
	}
	return out
}

func drawInfos(w io.Writer, p painter, infos []ltsInfoJSON) {
	t := newTable("FILE", "STATES", "REACHABLE", "TRANSITIONS", "INTERNAL", "ACTIONS", "DEADLOCKS", "CLASSES", "INITIAL", "NOTES")
	for _, i := range infos {
		notes := "deterministic"
		if !i.Deterministic {
			notes = "nondeterministic"
		}
		if i.Divergent > 0 {
			notes += fmt.Sprintf(", %s on internal loops", plural(i.Divergent, "state"))
		}
		t.row(i.File, i.States, i.Reachable, i.Transitions, i.Internal, len(i.Actions), i.Deadlocks, i.Classes, i.Initial, notes)
	}
	t.write(w, p)
}

// outputFlags say how a system is written.
type outputFlags struct {
	to     string
	tauOut string
}

func (f *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.to, "to", "", "`format` of the result: aut, dot, mermaid or json (default by the name of the file)")
	cmd.Flags().StringVar(&f.tauOut, "tau-out", "", "`name` of the internal action in the result (default i)")
}

// write writes a system to a file, whole or not at all, or to standard output.
func (f *outputFlags) write(a *app, path string, s *lts.System) error {
	format, known := ltsfile.FormatOf(path)
	if f.to != "" {
		var err error
		if format, err = ltsfile.ParseFormat(f.to); err != nil {
			return usagef("--to: %v", err)
		}
	} else if !known && path == stdio {
		format = ltsfile.AUT
	} else if !known {
		return usagef("%s: the format cannot be told from the name: end it in .aut, .dot, .mmd or .json, or give --to", path)
	}
	fill := func(w io.Writer) error { return ltsfile.Write(w, s, format, ltsfile.WriteOptions{Tau: f.tauOut}) }
	if path == stdio {
		return fill(a.stdout)
	}
	return atomicfile.Write(path, 0o644, fill)
}

func newLTSConvertCommand(a *app) *cobra.Command {
	var systems systemOptions
	var out outputFlags
	cmd := &cobra.Command{
		Use:     "convert IN OUT",
		Short:   "Write a transition system in another format",
		Long:    "Write a transition system in another format. OUT is a file, or - for standard output.",
		Example: "  spex lts convert order.yaml order.mmd\n  spex lts convert order.spex - --to dot",
		Args:    exactArgs("IN", "OUT"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := loadSystem(args[0], systems)
			if err != nil {
				return err
			}
			return out.write(a, args[1], f.System)
		},
	}
	systemFlags(cmd, &systems)
	out.add(cmd)
	return cmd
}

func newLTSMinimizeCommand(a *app) *cobra.Command {
	e := equivalenceValue(lts.Branching)
	var systems systemOptions
	var out outputFlags
	path := stdio
	cmd := &cobra.Command{
		Use:   "minimize FILE",
		Short: "Write the smallest transition system that is equivalent to one",
		Long: `Write the smallest transition system that is equivalent to the one in FILE, without the
states that cannot be reached. Each state is called like one of the states that it stands for.

The equivalence is one of strong, dpbranching and branching.`,
		Example: "  spex lts minimize model.aut --out small.aut\n  spex lts minimize order.spex -e strong --to dot",
		Args:    exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if lts.Equivalence(e) > lts.Branching {
				return usagef("-e %s: use strong, dpbranching or branching", lts.Equivalence(e))
			}
			f, err := loadSystem(args[0], systems)
			if err != nil {
				return err
			}
			small := minimizeSystem(f.System, lts.Equivalence(e))
			if err := out.write(a, path, small); err != nil {
				return err
			}
			a.notef("%s: %s and %s, from %d and %d", args[0], plural(small.LTS.States(), "state"), plural(small.LTS.Transitions(), "transition"),
				f.LTS.States(), f.LTS.Transitions())
			return nil
		},
	}
	cmd.Flags().VarP(&e, "equivalence", "e", "what to keep")
	cmd.Flags().StringVar(&path, "out", stdio, "`file` to write, - for standard output")
	systemFlags(cmd, &systems)
	out.add(cmd)
	return cmd
}

// minimizeSystem minimises and names each state after the first one that it stands for.
func minimizeSystem(s *lts.System, e lts.Equivalence) *lts.System {
	small, of := lts.Minimize(s.LTS, e)
	out := &lts.System{LTS: small, Alphabet: s.Alphabet}
	if len(s.States) == 0 {
		return out
	}
	out.States = make([]string, small.States())
	for state := len(of) - 1; state >= 0; state-- {
		if of[state] >= 0 {
			out.States[of[state]] = s.StateName(lts.State(state))
		}
	}
	return out
}

func newLTSDotCommand(a *app) *cobra.Command {
	var systems systemOptions
	cmd := &cobra.Command{
		Use:     "dot FILE",
		Short:   "Draw a transition system: print it for Graphviz",
		Example: "  spex lts dot order.yaml | dot -Tsvg > order.svg",
		Args:    exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := loadSystem(args[0], systems)
			if err != nil {
				return err
			}
			out := outputFlags{to: string(ltsfile.DOT), tauOut: f.internal}
			return out.write(a, stdio, f.System)
		},
	}
	systemFlags(cmd, &systems)
	return cmd
}
