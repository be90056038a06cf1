package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/spec"
)

const rootLong = `Spex checks, while systems run, whether they behave like their specification.

A specification is a labelled transition system. Applications report what their
workflow instances do; Spex records every step durably, derives an implementation
model per specification, and judges every step that the model does not know by
branching bisimilarity against the specification.

Results go to stdout, logs and progress to stderr. The exit status is 0 for
success, 1 when the answer is "no" (not equivalent, or deviations with
--fail-on-deviation), 2 for a wrong command line, and 3 when the command failed.`

// newRootCommand builds the command tree for one run of a.
func newRootCommand(a *app) *cobra.Command {
	root := groupCommand(&cobra.Command{
		Use:   "spex COMMAND",
		Short: "Check running systems against their specification",
		Long:  rootLong,
	}, commands(a)...)
	root.Version = buildVersion().Version
	root.SetVersionTemplate("spex {{.Version}}\n")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.DisableAutoGenTag = true

	f := root.PersistentFlags()
	f.StringArrayVar(&a.opts.addrs, "addr", nil,
		"`host:port` of a server, repeatable (env SPEX_ADDR, comma separated; default "+defaultAddr+")")
	f.StringVar(&a.opts.namespace, "namespace", "",
		"namespace of instances, specifications and models (env SPEX_NAMESPACE; default "+defaultNamespace+")")
	a.opts.timeout = defaultTimeout
	f.Var((*durationValue)(&a.opts.timeout), "timeout", "time limit of one request, retries included")
	f.VarP(&a.opts.output, "output", "o", "`format` of the result: table or json")
	noteStart(a, root)
	return root
}

// commands lists the top-level commands. The server side adds its own here.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newSpecCommand(a),
		newInstanceCommand(a),
		newModelCommand(a),
		newReplayCommand(a),
		newCheckCommand(a),
		newDiffCommand(a),
		newLTSCommand(a),
		newDeviationsCommand(a),
		newWatchCommand(a),
		newClusterCommand(a),
		newBenchCommand(a),
		newDrillCommand(a),
		newServerCommand(a),
		newDevCommand(a),
		newRecoverCommand(a),
		newVersionCommand(a),
		newDocsCommand(a),
	}
}

// noteStart makes every command record that its body began, which tells
// failures from mistakes in the command line.
func noteStart(a *app, cmd *cobra.Command) {
	if body := cmd.RunE; body != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return body(c, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(a, sub)
	}
}

// groupCommand makes cmd a command that only has subcommands. Cobra would
// answer a mistyped subcommand below the root with the help text and success.
func groupCommand(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			if !c.HasParent() {
				return c.Help()
			}
			return usagef("%s needs a command: one of %s", c.CommandPath(), strings.Join(visibleNames(c), ", "))
		}
		hint := "one of " + strings.Join(visibleNames(c), ", ")
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("unknown command %q for %q: %s", args[0], c.CommandPath(), hint)
	}
	return cmd
}

func visibleNames(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// exactArgs wants the named arguments, and says which one is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("too many arguments: %q", args[len(names)])
		}
		return nil
	}
}

// someArgs wants one or more arguments of a kind.
func someArgs(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s is missing: give one or more", name)
		}
		return nil
	}
}

// outputFormat is the value of --output.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
)

// String implements pflag.Value.
func (o *outputFormat) String() string {
	if *o == "" {
		return string(outputTable)
	}
	return string(*o)
}

// Set implements pflag.Value.
func (o *outputFormat) Set(s string) error {
	switch v := outputFormat(strings.ToLower(s)); v {
	case outputTable, outputJSON:
		*o = v
		return nil
	}
	return fmt.Errorf("must be table or json")
}

// Type implements pflag.Value.
func (o *outputFormat) Type() string { return "format" }

// durationValue is a flag for a duration above zero.
type durationValue time.Duration

// String implements pflag.Value. No duration is what pflag takes for no default.
func (v *durationValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

// Set implements pflag.Value.
func (v *durationValue) Set(s string) error {
	d, err := parseDuration(s)
	*v = durationValue(d)
	return err
}

// parseDuration reads a duration above zero as specifications write it: it may have days.
func parseDuration(s string) (time.Duration, error) {
	d, err := spec.ParseDuration(s)
	if err != nil || d == 0 { // infinity is 0
		return 0, errors.New("must be a duration above zero, for example 500ms, 10s, 2m, 36h or 30d")
	}
	return d, nil
}

// Type implements pflag.Value.
func (v *durationValue) Type() string { return "duration" }
