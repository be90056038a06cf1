package drill

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// FaultKind is what is done to a node.
type FaultKind string

// The kinds of faults.
const (
	// Kill ends the process as a power failure would, and starts it again.
	Kill FaultKind = "kill"
	// Pause stops the process for a while, in the middle of what it does.
	Pause FaultKind = "pause"
	// Isolate cuts the node off from the other nodes.
	Isolate FaultKind = "isolate"
)

// FaultKinds are all kinds.
func FaultKinds() []FaultKind { return []FaultKind{Kill, Pause, Isolate} }

// Fault is something that was done to a node. Times count from the beginning of
// the workload, as in History.
type Fault struct {
	Kind FaultKind
	Node string
	// Leaderships is how many shards the node led just before.
	Leaderships int
	Begin       time.Duration
	// End is when it was undone; the node may need some more time to be whole.
	End time.Duration
	// Whole is when the cluster had all replicas of all shards up to date again, 0
	// if that was not seen before the next fault.
	Whole time.Duration
	// Error says why it could not be done, or not be undone.
	Error string
}

// Outage is for how long writes were not acknowledged because of a fault.
type Outage struct {
	Fault Fault
	// Worst is the longest time without an acknowledged write of any one shard, from
	// the last write before the fault to the beginning of the next fault. Without
	// any fault it is about the time between two writes of a probe.
	Worst time.Duration
	Shard uint32
	// Median is that of all shards.
	Median time.Duration
	// Open is set when no write to some shard was acknowledged any more.
	Open bool
}

// Outages measures each fault, up to the next one. A shard without any
// acknowledged write is not measured; with probes there is none.
func Outages(h *History, faults []Fault) []Outage {
	acks := map[uint32][]time.Duration{}
	for _, ops := range [][]Operation{h.Probes, h.Operations} {
		for i := range ops {
			if o := &ops[i]; o.Outcome == OK && o.Kind.writes() && o.Answer.Shard != 0 {
				acks[o.Answer.Shard] = append(acks[o.Answer.Shard], o.Return)
			}
		}
	}
	for _, list := range acks {
		slices.Sort(list)
	}
	faults = slices.Clone(faults)
	slices.SortFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Begin, b.Begin) })
	var out []Outage
	for i, f := range faults {
		until := h.Duration
		if i+1 < len(faults) {
			until = faults[i+1].Begin
		}
		o := Outage{Fault: f}
		var all []time.Duration
		for shard, list := range acks {
			gap, open := LongestGap(list, f.Begin, until, h.Duration)
			all = append(all, gap)
			o.Open = o.Open || open
			if gap > o.Worst || gap == o.Worst && shard < o.Shard {
				o.Worst, o.Shard = gap, shard
			}
		}
		o.Median = Quantile(all, 0.5)
		out = append(out, o)
	}
	return out
}

// openTail is how long a shard has to be silent at the end to count as gone.
const openTail = time.Second

// LongestGap is how long a shard acknowledged nothing: the longest time between two
// neighbours of its acknowledgements, which are sorted, from the last one before the
// window until its end. The end of everything counts as a last neighbour; open is set
// when the gap reaches it, and is more than a second.
func LongestGap(acks []time.Duration, from, until, end time.Duration) (gap time.Duration, open bool) {
	for i, at := range acks {
		next, last := end, i == len(acks)-1
		if !last {
			next = acks[i+1]
		}
		if next <= from || at >= until {
			continue
		}
		if g := min(next, until) - at; g > gap {
			gap, open = g, last && end-at > openTail
		}
	}
	return gap, open
}

// Quantile gives the q-th quantile (0 to 1) of the durations by the nearest rank,
// 0 for none. It leaves the list as it is.
func Quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Unavailability sums up the outages of one kind of fault, and with Kind "" of all.
type Unavailability struct {
	Kind   FaultKind
	Rounds int
	Median time.Duration
	P90    time.Duration
	P99    time.Duration
	Worst  time.Duration
}

// Unavailabilities sums up outages by kind, in the order of FaultKinds. Faults
// that could not be made are left out.
func Unavailabilities(outages []Outage) []Unavailability {
	by := map[FaultKind][]time.Duration{}
	for _, o := range outages {
		if o.Fault.Error == "" {
			by[o.Fault.Kind] = append(by[o.Fault.Kind], o.Worst)
		}
	}
	var out []Unavailability
	for _, kind := range FaultKinds() {
		if list := by[kind]; len(list) > 0 {
			out = append(out, Unavailability{
				Kind: kind, Rounds: len(list), Median: Quantile(list, 0.5), P90: Quantile(list, 0.9), P99: Quantile(list, 0.99), Worst: Quantile(list, 1),
			})
		}
	}
	return out
}
