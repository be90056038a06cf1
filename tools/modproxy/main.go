// Command modproxy writes the commit of a git repository as a module proxy in a
// directory, so that `go install` and `go get` of a version that nobody has
// published can be tried with GOPROXY=file://DIR.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	repo := flag.String("repo", ".", "`directory` of the repository, with go.mod at its root")
	revision := flag.String("revision", "HEAD", "git `revision` to take")
	version := flag.String("version", "v0.0.0-ci", "module `version` to give it")
	out := flag.String("out", "", "`directory` to write to")
	flag.Parse()
	if err := run(*repo, *revision, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "modproxy:", err)
		os.Exit(1)
	}
}

// run writes the four files by which the go command knows a version. The zip
// holds what is committed at the revision, and nothing else of the directory.
func run(repo, revision, version, out string) error {
	if out == "" {
		return fmt.Errorf("-out is missing: name a directory")
	}
	mod, err := exec.Command("git", "-C", repo, "show", revision+":go.mod").Output()
	if err != nil {
		return fmt.Errorf("read go.mod at %s: %w", revision, err)
	}
	m := module.Version{Path: modfile.ModulePath(mod), Version: version}
	if err := module.Check(m.Path, m.Version); err != nil {
		return err
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(out, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"list": []byte(version + "\n"), version + ".info": info, version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		return err
	}
	if err := zip.CreateFromVCS(f, m, repo, revision, ""); err != nil {
		_ = f.Close()
		return fmt.Errorf("zip %s: %w", m, err)
	}
	return f.Close()
}
