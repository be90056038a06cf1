package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// setting is one of the cluster's settings as the command line shows it.
type setting struct {
	name, meaning string
	// set takes a value over into a change; an empty one is the default.
	set func(c *client.SettingsChange, value string) error
	// show tells the value.
	show func(s *spexv1.ClusterSettings) string
}

var clusterSettings = []setting{
	{"report_retention", "reports of each class that a shard keeps for watches",
		func(c *client.SettingsChange, v string) error { return parseCount(&c.ReportRetention, v) },
		func(s *spexv1.ClusterSettings) string { return fmt.Sprint(s.GetReportRetention()) }},
	{"request_window", "how long request ids and tombstones are remembered",
		func(c *client.SettingsChange, v string) error { return parseWindow(&c.RequestWindow, v) },
		func(s *spexv1.ClusterSettings) string { return s.GetRequestWindow().AsDuration().String() }},
	{"tombstones", "tombstones that a shard keeps, the youngest however many they are",
		func(c *client.SettingsChange, v string) error { return parseCount(&c.Tombstones, v) },
		func(s *spexv1.ClusterSettings) string { return fmt.Sprint(s.GetTombstones()) }},
	{"spec_versions", "versions of a specification that are kept, the newest included",
		func(c *client.SettingsChange, v string) error { return parseCount(&c.SpecVersions, v) },
		func(s *spexv1.ClusterSettings) string { return fmt.Sprint(s.GetSpecVersions()) }},
}

func parseCount(to **uint64, v string) error {
	n, err := uint64(0), error(nil)
	if v != "" {
		n, err = strconv.ParseUint(v, 10, 64)
	}
	if err != nil || v != "" && n == 0 {
		return fmt.Errorf("%q is not a number above 0", v)
	}
	*to = &n
	return nil
}

func parseWindow(to **time.Duration, v string) error {
	var d time.Duration
	if v != "" {
		var err error
		if d, err = parseDuration(v); err != nil {
			return fmt.Errorf("%q: %w", v, err)
		}
	}
	*to = &d
	return nil
}

// settingsFlags are the flags for the settings that a new cluster begins with.
func settingsFlags(f *pflag.FlagSet, s *transport.Settings) {
	def := transport.Settings{}.WithDefaults()
	f.Uint64Var(&s.ReportRetention, "report-retention", def.ReportRetention,
		"`number` of reports of each class that a shard of a new cluster keeps for watches")
	f.DurationVar(&s.RequestWindow, "request-window", def.RequestWindow,
		"`time` for which a new cluster remembers request ids and what was deleted")
	f.Uint64Var(&s.Tombstones, "tombstones", def.Tombstones,
		"`number` of tombstones that a shard of a new cluster keeps; those of the last five minutes stay however many they are")
	f.Uint64Var(&s.SpecVersions, "spec-versions", def.SpecVersions,
		"`number` of versions of a specification that a new cluster keeps beside those in use")
}

func newClusterSettingsCommand(a *app) *cobra.Command {
	var set, reset []string
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Show and change how much the cluster keeps of what has been",
		Long: `Show the settings of the running cluster, and change them with --set and --reset.
They are kept in the catalog; the shards follow a change within about a second.

A shorter request_window, or fewer tombstones, forgets earlier what was deleted and
which requests were made: a retry that comes later than that is refused with
OUTCOME_UNKNOWN, and never applied twice. A longer one does not bring back what is
forgotten. A version of a specification beyond spec_versions stays for as long as an
instance, or the tombstone of one, is of it.`,
		Example: `  spex cluster settings
  spex cluster settings --set request_window=6h --set spec_versions=5
  spex cluster settings --reset request_window`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			change, err := settingsChange(set, reset)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				changed := false
				if len(set)+len(reset) > 0 {
					resp, err := c.ChangeSettings(cmd.Context(), change)
					if err != nil {
						return err
					}
					changed = resp.GetChanged()
				}
				resp, err := c.Settings(cmd.Context())
				if err != nil {
					return err
				}
				out := settingsJSON{Settings: settingsToJSON(resp.GetSettings()), Defaults: settingsToJSON(resp.GetDefaults()), Changed: changed}
				return a.emit(out, func(w io.Writer, p painter) { drawSettings(w, p, resp) })
			})
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "change a setting, `KEY=VALUE`; may be repeated")
	cmd.Flags().StringArrayVar(&reset, "reset", nil, "bring the setting `KEY` back to its default; may be repeated")
	return cmd
}

// settingsChange reads --set and --reset.
func settingsChange(set, reset []string) (client.SettingsChange, error) {
	var change client.SettingsChange
	seen := map[string]bool{}
	take := func(flag, key, value string) error {
		for _, s := range clusterSettings {
			if s.name != key {
				continue
			}
			if seen[key] {
				return usagef("%s %s: the setting is given twice", flag, key)
			}
			seen[key] = true
			if err := s.set(&change, value); err != nil {
				return usagef("%s %s: %v", flag, key, err)
			}
			return nil
		}
		names := make([]string, len(clusterSettings))
		for i, s := range clusterSettings {
			names[i] = s.name
		}
		return usagef("%s %q: there is no such setting: use %s", flag, key, strings.Join(names, ", "))
	}
	for _, kv := range set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || value == "" {
			return change, usagef("--set %q: give KEY=VALUE, for example request_window=6h", kv)
		}
		if err := take("--set", key, value); err != nil {
			return change, err
		}
	}
	for _, key := range reset {
		if err := take("--reset", key, ""); err != nil {
			return change, err
		}
	}
	return change, nil
}

func drawSettings(w io.Writer, p painter, s *spexv1.GetSettingsResponse) {
	t := newTable("SETTING", "VALUE", "DEFAULT", "MEANING")
	for _, f := range clusterSettings {
		t.row(f.name, f.show(s.GetSettings()), f.show(s.GetDefaults()), f.meaning)
	}
	t.write(w, p)
}

// settingsJSON is the document of `spex cluster settings`.
type settingsJSON struct {
	Settings settingsValuesJSON `json:"settings"`
	Defaults settingsValuesJSON `json:"defaults"`
	Changed  bool               `json:"changed"`
}

type settingsValuesJSON struct {
	ReportRetention uint64 `json:"report_retention"`
	RequestWindow   string `json:"request_window"`
	Tombstones      uint64 `json:"tombstones"`
	SpecVersions    uint64 `json:"spec_versions"`
}

func settingsToJSON(s *spexv1.ClusterSettings) settingsValuesJSON {
	return settingsValuesJSON{
		ReportRetention: s.GetReportRetention(), RequestWindow: s.GetRequestWindow().AsDuration().String(),
		Tombstones: s.GetTombstones(), SpecVersions: s.GetSpecVersions(),
	}
}
