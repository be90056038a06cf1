package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/internal/failpoint"
)

// linkedVersion is set by release builds: -ldflags "-X main.linkedVersion=v1.2.3".
var linkedVersion string

// buildVersion tells what this binary is, from the linker or from what the Go
// toolchain noted.
func buildVersion() versionJSON {
	v := versionJSON{
		Version:   linkedVersion,
		GoVersion: runtime.Version(),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	if failpoint.Enabled {
		v.Version += "+failpoints"
	}
	return v
}

func newVersionCommand(a *app) *cobra.Command {
	var server bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell the version of this program, and of a server with --server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := buildVersion()
			if server {
				v, err := a.serverVersion(cmd.Context())
				if err != nil {
					return err
				}
				out.Server = v
			}
			return a.emit(out, func(w io.Writer, p painter) { drawVersion(w, p, out) })
		},
	}
	cmd.Flags().BoolVar(&server, "server", false, "ask a server for its version too")
	return cmd
}

func drawVersion(w io.Writer, p painter, v versionJSON) {
	commit := ""
	if len(v.Commit) >= 12 {
		commit = ", commit " + v.Commit[:12]
	}
	fmt.Fprintf(w, "spex %s (%s, %s%s)\n", v.Version, v.GoVersion, v.Platform, commit)
	if v.Server != nil {
		fmt.Fprintf(w, "server %s (%s, feature level %d)\n", v.Server.Version, v.Server.GoVersion, v.Server.FeatureLevel)
	}
}
