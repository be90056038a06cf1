// Package broken breaks promises of the service on purpose, so that tests can show
// that their checks see it.
//
// Without the build tag spexbroken it is empty, and what asks it is compiled away.
// With the tag, a process breaks what the environment names:
//
//	SPEX_BROKEN=ack-before-commit,reads-unconfirmed
//
// Such a build must never hold data that matters, and says so when it starts.
package broken

// Env is the environment variable that names the breaks, separated by commas.
const Env = "SPEX_BROKEN"

// Break is one promise that is not kept.
type Break string

// The breaks.
const (
	// AckBeforeCommit lets a leader count a follower's disk before it was written to,
	// and before the follower has heard of the entry: a majority of one.
	AckBeforeCommit Break = "ack-before-commit"
	// DedupeOff applies a request each time it comes.
	DedupeOff Break = "dedupe-off"
	// MinIndexIgnored answers reads at once, without waiting for the index that they ask for.
	MinIndexIgnored Break = "min-index-ignored"
	// ReadsUnconfirmed answers linearizable reads without asking the voters whether
	// there is a newer leader, by a leadership of up to ten seconds ago.
	ReadsUnconfirmed Break = "reads-unconfirmed"
	// TailLost forgets the last entries of the logs at each start.
	TailLost Break = "tail-lost"
	// VerdictTwice records a second verdict, another one, a moment after the first.
	VerdictTwice Break = "verdict-twice"
)

// Breaks are all of them.
func Breaks() []Break {
	return []Break{AckBeforeCommit, DedupeOff, MinIndexIgnored, ReadsUnconfirmed, TailLost, VerdictTwice}
}
