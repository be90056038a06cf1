package cluster

import (
	"fmt"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard/store"
)

// SpaceConfig says how a node watches the room on its disk. Without limits it
// watches nothing.
type SpaceConfig struct {
	// Dir is the data directory; the reserve lies in it.
	Dir    string
	Limits SpaceLimits
	// Measure tells the room; the default asks the file system of Dir. For tests.
	Measure func() (store.Usage, error)
	// Period is the time between two measurements; the default is a second.
	Period time.Duration
}

// SpaceLimits are the shares of a disk, in percent, below which a node acts.
// They count for bytes and for inodes, whichever are scarcer.
type SpaceLimits struct {
	// Low: the node hands its leaderships away, and groups without a majority of
	// voters above it refuse writes. 0 turns the watch off.
	Low float64
	// Stop: the node stops its shards. It is below Low. Its replica of the catalog goes
	// on following, or the node would not hear which replicas it may delete.
	Stop float64
}

// DefaultSpaceLimits are the limits of a server.
func DefaultSpaceLimits() SpaceLimits { return SpaceLimits{Low: 15, Stop: 5} }

// Beyond these a share of a large disk or of its inodes is more than a node can
// need before somebody has reacted.
const (
	maxLowBytes, maxStopBytes   = 8 << 30, 2 << 30
	maxLowInodes, maxStopInodes = 100_000, 20_000
)

// spaceRelief is how much more than a limit must be free before the node leaves
// the level: without a gap it would go to and fro.
const spaceRelief = 1.2

// maxReserve bounds the reserve, which takes at most reserveShare percent of a disk.
const (
	maxReserve   = store.OpenRoom
	reserveShare = 2
)

func (c SpaceConfig) on() bool { return c.Limits.Low > 0 }

func (c SpaceConfig) measure() (store.Usage, error) {
	if c.Measure != nil {
		return c.Measure()
	}
	return store.DiskUsage(c.Dir)
}

func (c SpaceConfig) period() time.Duration {
	if c.Period == 0 {
		return time.Second
	}
	return c.Period
}

// Validate reports limits that make no sense.
func (l SpaceLimits) Validate() error {
	switch {
	case l.Low < 0 || l.Low > 90:
		return fmt.Errorf("the share of the disk that counts as low is %g %%: use 0 (off) to 90", l.Low)
	case l.Stop < 0 || l.Low > 0 && l.Stop >= l.Low:
		return fmt.Errorf("shards stop at %g %% of the disk: use 0 to less than the %g %% that count as low", l.Stop, l.Low)
	}
	return nil
}

// level is the level of a node that was at level was.
func (l SpaceLimits) level(u store.Usage, was typesv1.SpaceLevel) typesv1.SpaceLevel {
	short := func(limit float64, level typesv1.SpaceLevel, maxBytes, maxInodes uint64) bool {
		if was >= level {
			limit *= spaceRelief
			maxBytes, maxInodes = uint64(float64(maxBytes)*spaceRelief), uint64(float64(maxInodes)*spaceRelief)
		}
		return below(u.FreeBytes, u.TotalBytes, limit, maxBytes) || below(u.FreeInodes, u.TotalInodes, limit, maxInodes)
	}
	switch {
	case short(l.Stop, typesv1.SpaceLevel_SPACE_LEVEL_STOP, maxStopBytes, maxStopInodes):
		return typesv1.SpaceLevel_SPACE_LEVEL_STOP
	case short(l.Low, typesv1.SpaceLevel_SPACE_LEVEL_LOW, maxLowBytes, maxLowInodes):
		return typesv1.SpaceLevel_SPACE_LEVEL_LOW
	}
	return typesv1.SpaceLevel_SPACE_LEVEL_OK
}

// below tells whether free is less than both the share of total and the most
// that the share may be. A total of 0 is not known.
func below(free, total uint64, percent float64, most uint64) bool {
	return total > 0 && float64(free) < min(float64(total)*percent/100, float64(most))
}

// reserve is how large the reserve on a disk is; 0 when there is no room for
// one above the limits.
func (l SpaceLimits) reserve(u store.Usage) uint64 {
	size := min(u.TotalBytes*reserveShare/100, maxReserve)
	left := u
	left.FreeBytes -= min(size, left.FreeBytes)
	if l.level(left, typesv1.SpaceLevel_SPACE_LEVEL_LOW) != typesv1.SpaceLevel_SPACE_LEVEL_OK {
		return 0
	}
	return size
}

// canOpen tells whether there is room to open the storage.
func (l SpaceLimits) canOpen(u store.Usage) bool {
	return l.level(u, typesv1.SpaceLevel_SPACE_LEVEL_OK) != typesv1.SpaceLevel_SPACE_LEVEL_STOP || u.FreeBytes >= store.OpenRoom
}

// voterRoom is what a leader knows about a voter's disk.
type voterRoom struct {
	id    string
	level typesv1.SpaceLevel // the last known
	fresh bool               // known from an answer to the last question
}

func (v voterRoom) roomy() bool { return v.level <= typesv1.SpaceLevel_SPACE_LEVEL_OK }

// relieve decides what the leader of a group does, which is the first of the
// voters: hand the leadership to another one, or refuse writes.
//
// A leader without room gives the leadership to a voter that has some, the one that
// leads the fewest groups, and goes on serving until that has it. Only when no majority of the voters is known to
// have room are writes refused: they would take what is left on a disk that has
// none. As long as nobody is known to be short, voters that do not answer are no
// reason to refuse.
func relieve(voters []voterRoom, led map[string]int) (target string, refuse bool) {
	roomy, short := 0, 0
	for i, v := range voters {
		if !v.roomy() {
			short++
			continue
		}
		if i > 0 && !v.fresh {
			continue
		}
		roomy++
		if target == "" || led[v.id] < led[target] {
			target = v.id
		}
	}
	if len(voters) == 0 || voters[0].roomy() {
		target = ""
	}
	return target, short > 0 && roomy <= len(voters)/2
}

func spaceMessage(u store.Usage) *typesv1.Space {
	return &typesv1.Space{FreeBytes: u.FreeBytes, TotalBytes: u.TotalBytes, FreeInodes: u.FreeInodes, TotalInodes: u.TotalInodes}
}
