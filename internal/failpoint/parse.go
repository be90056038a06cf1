package failpoint

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

type actionKind int

const (
	actKill actionKind = iota + 1
	actSleep
	actError
)

// action is what an entry asks for.
type action struct {
	kind  actionKind
	delay time.Duration // of actSleep
	// nth is the hit that it is for, counted from 1; 0 means every one.
	nth uint64
}

// String gives the form that parse reads.
func (a action) String() string {
	var s string
	switch a.kind {
	case actKill:
		s = "kill"
	case actSleep:
		s = "sleep:" + a.delay.String()
	case actError:
		s = "error"
	}
	if a.nth > 0 {
		s += "@" + strconv.FormatUint(a.nth, 10)
	}
	return s
}

// parse reads the entries of EnvPoints. Empty entries are left out, so that
// "" and a trailing semicolon are fine.
func parse(text string) (map[string]action, error) {
	actions := map[string]action{}
	for i, entry := range strings.Split(text, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, what, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, entryError(i, entry, "want NAME=ACTION, for example %s=kill@3", points[0].Name)
		}
		point, known := find(name)
		if !known {
			return nil, entryError(i, entry, "there is no failpoint %q; there are %s", name, strings.Join(names(), ", "))
		}
		if _, twice := actions[name]; twice {
			return nil, entryError(i, entry, "%s is there twice", name)
		}
		a, err := parseAction(what)
		if err != nil {
			return nil, entryError(i, entry, "%v", err)
		}
		if a.kind == actError && !point.Fallible {
			return nil, entryError(i, entry, "%s cannot take an error: use kill or sleep", name)
		}
		actions[name] = a
	}
	return actions, nil
}

func entryError(i int, entry, format string, args ...any) error {
	return fmt.Errorf("%s: entry %d, %q: %s", EnvPoints, i+1, entry, fmt.Sprintf(format, args...))
}

func parseAction(text string) (action, error) {
	var a action
	what, nth, counted := strings.Cut(text, "@")
	if counted {
		n, err := strconv.ParseUint(nth, 10, 64)
		if err != nil || n == 0 {
			return a, fmt.Errorf("the hit %q is not a number from 1", nth)
		}
		a.nth = n
	}
	what, arg, has := strings.Cut(what, ":")
	switch what {
	case "kill":
		a.kind = actKill
	case "error":
		a.kind = actError
	case "sleep":
		a.kind = actSleep
		d, err := time.ParseDuration(arg)
		if err != nil || d <= 0 {
			return a, fmt.Errorf("sleep for %q: want a positive duration, for example sleep:500ms", arg)
		}
		a.delay = d
		return a, nil
	default:
		return a, fmt.Errorf("unknown action %q: use kill, sleep:DURATION or error", what)
	}
	if has {
		return a, fmt.Errorf("%s takes no argument", what)
	}
	return a, nil
}
