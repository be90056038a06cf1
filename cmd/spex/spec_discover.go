package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/internal/atomicfile"
	"github.com/spexio/spex/internal/eventlog"
	"github.com/spexio/spex/spec"
)

func newSpecDiscoverCommand(a *app) *cobra.Command {
	var f logFlags
	var name, out string
	cmd := &cobra.Command{
		Use:   "discover LOG",
		Short: "Derive a specification from an event log",
		Long: `Derive a specification from an event log (CSV, XES or XES.gz) by the directly-follows
relation: the state is the last activity, unless --state names a column, and each
step that occurs in the log is a transition.

The YAML goes to stdout, or to the file of --out. With -o json the specification is
printed as by 'spex spec get -o json'.`,
		Example: "  spex spec discover orders.csv --name order --case order_id --activity status --timestamp at --out order.yaml",
		Args:    exactArgs("LOG"),
		RunE: func(_ *cobra.Command, args []string) error {
			if name == "" {
				return usagef("--name is missing: name the specification")
			}
			if err := spec.CheckSpecName("--name", name); err != nil {
				return usagef("%v", err)
			}
			return a.discover(args[0], name, out, f)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the specification (required)")
	cmd.Flags().StringVar(&out, "out", "", "write the YAML to this `file`")
	return cmd
}

func (a *app) discover(path, name, out string, f logFlags) error {
	log, err := f.open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	s, err := eventlog.Discover(name, log.Cases())
	if err != nil {
		return err
	}
	text, err := s.YAML()
	if err != nil {
		return err
	}
	if out != "" {
		if err := atomicfile.WriteFile(out, text, 0o644); err != nil {
			return err
		}
	}
	a.notef("discovered %s: %s, %s", s.Name, plural(len(s.States()), "state"), plural(len(s.Transitions), "transition"))
	switch {
	case a.opts.output == outputJSON:
		return writeJSON(a.stdout, specToJSON(s, 0))
	case out != "":
		_, err = fmt.Fprintf(a.stdout, "%s\n", out)
	default:
		_, err = a.stdout.Write(text)
	}
	return err
}
