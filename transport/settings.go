package transport

import "github.com/spexio/spex/fsm"

// Settings say how much a cluster keeps of what has been. Zeros stand for the
// defaults, and Settings.Check tells what is out of bounds.
type Settings = fsm.Settings
