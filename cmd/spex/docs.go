package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/spexio/spex/internal/atomicfile"
)

func newDocsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the reference of all commands as Markdown",
		Hidden: true,
		Args:   exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			return writeReference(a, args[0])
		},
	}
}

// writeReference writes one page per command into dir, and removes pages of
// commands that are gone. The result depends on the commands alone.
func writeReference(a *app, dir string) error {
	pages, err := referencePages()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "spex*.md"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, keep := pages[filepath.Base(path)]; !keep {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, page := range pages {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
			return err
		}
	}
	a.notef("wrote %s to %s", plural(len(pages), "page"), dir)
	return nil
}

// referencePages renders the page of every visible command by file name.
func referencePages() (map[string][]byte, error) {
	pages := map[string][]byte{}
	// A fresh app: the pages must not depend on the flags of this run.
	root := newRootCommand(&app{env: func(string) string { return "" }})
	// The version differs from build to build, and cobra adds its own
	// completion command only when it executes.
	root.Version = ""
	root.InitDefaultCompletionCmd()
	var visit func(cmd *cobra.Command) error
	visit = func(cmd *cobra.Command) error {
		cmd.DisableAutoGenTag = true
		var page bytes.Buffer
		if err := doc.GenMarkdown(cmd, &page); err != nil {
			return fmt.Errorf("render %s: %w", cmd.CommandPath(), err)
		}
		pages[strings.ReplaceAll(cmd.CommandPath(), " ", "_")+".md"] = page.Bytes()
		for _, sub := range cmd.Commands() {
			if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
				continue
			}
			if err := visit(sub); err != nil {
				return err
			}
		}
		return nil
	}
	return pages, visit(root)
}
