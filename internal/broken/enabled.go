//go:build spexbroken

package broken

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Enabled tells whether this build can break promises.
const Enabled = true

// active is not changed after the package is initialised.
var active = parse(os.Getenv(Env))

// Is tells whether this process breaks the promise.
func Is(b Break) bool { return slices.Contains(active, b) }

// parse reads the names. A wrong one ends the process: a test that breaks nothing
// would show nothing.
func parse(text string) (list []Break) {
	for name := range strings.SplitSeq(text, ",") {
		if name == "" {
			continue
		}
		if !slices.Contains(Breaks(), Break(name)) {
			fmt.Fprintf(os.Stderr, "%s: there is no break %q; there are %q\n", Env, name, Breaks())
			os.Exit(2)
		}
		list = append(list, Break(name))
	}
	fmt.Fprintf(os.Stderr, "THIS BUILD CAN BREAK ITS PROMISES, for tests of tests alone: it breaks %q\n", list)
	return list
}
