package failpoint

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// table is what a process was told to do at its failpoints. It is safe for
// concurrent use and does not change but for the counts.
type table struct {
	dir    string
	points map[string]*armed
	// kill ends the process. It does not return, but in tests.
	kill  func()
	sleep func(time.Duration)
	// complain is where a marker that could not be written is told.
	complain io.Writer
}

type armed struct {
	action
	hits   atomic.Uint64
	marked sync.Once
}

// newTable reads the two variables. With nothing to do the table is nil.
func newTable(env func(string) string) (*table, error) {
	actions, err := parse(env(EnvPoints))
	if err != nil || len(actions) == 0 {
		return nil, err
	}
	dir := env(EnvDir)
	if info, err := os.Stat(dir); dir == "" || err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s %q: want an existing directory, for the markers of the failpoints in %s", EnvDir, dir, EnvPoints)
	}
	t := &table{dir: dir, points: map[string]*armed{}, kill: killSelf, sleep: time.Sleep, complain: os.Stderr}
	for name, a := range actions {
		t.points[name] = &armed{action: a}
	}
	return t, nil
}

// String lists the entries, sorted.
func (t *table) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(t.points)) {
		list = append(list, name+"="+t.points[name].String())
	}
	return strings.Join(list, ";")
}

// hit counts a hit and takes the action that is due.
func (t *table) hit(name string) error {
	p := t.points[name]
	if p == nil {
		return nil
	}
	n := p.hits.Add(1)
	if p.nth != 0 && n != p.nth {
		return nil
	}
	p.marked.Do(func() {
		if err := t.mark(name, n); err != nil {
			fmt.Fprintf(t.complain, "failpoint %s: no marker: %v\n", name, err)
		}
	})
	switch p.kind {
	case actKill:
		t.kill()
	case actSleep:
		t.sleep(p.delay)
	case actError:
		return fmt.Errorf("%s: %w", name, ErrInjected)
	}
	return nil
}

// mark leaves the marker of a name, durably.
func (t *table) mark(name string, hit uint64) (err error) {
	f, err := os.Create(filepath.Join(t.dir, MarkerFile(name)))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s hit %d pid %d\n", name, hit, os.Getpid())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	dir, err := os.Open(t.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// killSelf ends this process as a power failure would, without a last word.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(fmt.Sprintf("failpoint: kill of this process: %v", err))
	}
	select {} // the signal is on its way; the caller must not go on
}
