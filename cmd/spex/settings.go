package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const maxSettingsBytes = 1 << 20

// loadSettings fills the flags of cmd that were not given from the environment,
// and then from the YAML file. The same names and rules hold for all three.
func (a *app) loadSettings(cmd *cobra.Command, file string) error {
	if file == "" {
		file = a.env(settingName("config"))
	}
	given := map[string]bool{}
	var err error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		given[f.Name] = f.Changed
		if f.Changed || f.Name == "config" || f.Name == "help" {
			return
		}
		name := settingName(f.Name)
		value := a.env(name)
		if value == "" {
			return
		}
		if e := cmd.Flags().Set(f.Name, value); e != nil {
			err = errors.Join(err, usagef("%s=%q: %v", name, value, e))
		}
		given[f.Name] = true
	})
	if err != nil || file == "" {
		return err
	}
	return settingsFromFile(cmd, file, given)
}

func settingsFromFile(cmd *cobra.Command, file string, given map[string]bool) error {
	r, err := os.Open(file)
	if err != nil {
		return usagef("--config: %v", err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSettingsBytes+1))
	if err != nil {
		return usagef("--config %s: %v", file, err)
	}
	if len(data) > maxSettingsBytes {
		return usagef("--config %s: larger than %d bytes", file, maxSettingsBytes)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return usagef("--config %s: %v", file, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return usagef("--config %s:%d: want a mapping of settings, for example `name: n1`", file, top.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := fmt.Sprintf("--config %s:%d", file, key.Line)
		name := strings.ReplaceAll(key.Value, "_", "-")
		f := cmd.LocalNonPersistentFlags().Lookup(name)
		switch {
		case f == nil || name == "config" || name == "help":
			return usagef("%s: there is no setting %q: see '%s --help'", at, key.Value, cmd.CommandPath())
		case seen[name]:
			return usagef("%s: %q is set twice", at, key.Value)
		}
		seen[name] = true
		text, err := settingText(value)
		if err != nil {
			return usagef("%s: %s: %v", at, key.Value, err)
		}
		if given[name] {
			continue
		}
		if err := cmd.Flags().Set(name, text); err != nil {
			return usagef("%s: %s: %v", at, key.Value, err)
		}
	}
	return nil
}

// settingText is the value as a flag would have it: a scalar, or a list with commas.
func settingText(v *yaml.Node) (string, error) {
	switch v.Kind {
	case yaml.ScalarNode:
		return v.Value, nil
	case yaml.SequenceNode:
		var items []string
		for _, item := range v.Content {
			if item.Kind != yaml.ScalarNode {
				return "", fmt.Errorf("want plain values in the list (line %d)", item.Line)
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	}
	return "", fmt.Errorf("want a value or a list")
}
