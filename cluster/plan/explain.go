package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// count writes a number with its noun, in the plural where it belongs.
func count(n int, noun string) string {
	if noun == "" {
		return strconv.Itoa(n)
	}
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// groupName is what people call a group.
func groupName(id uint32) string {
	if id == 0 {
		return "the catalog"
	}
	return fmt.Sprintf("shard %d", id)
}

// groupNames names several groups, at most eight of them by number; the catalog
// comes first.
func groupNames(ids []uint32) string {
	var parts []string
	if ids[0] == 0 {
		parts, ids = append(parts, groupName(0)), ids[1:]
	}
	const most = 8
	numbers := make([]string, 0, most)
	for _, id := range ids[:min(len(ids), most)] {
		numbers = append(numbers, strconv.FormatUint(uint64(id), 10))
	}
	shards := "shard"
	if len(ids) > 1 {
		shards += "s"
	}
	shards += " " + strings.Join(numbers, ", ")
	if more := len(ids) - most; more > 0 {
		shards += " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(append(parts, shards), " and ")
}

// list writes the names of nodes one after another.
func (p *planner) list(ids []string) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = p.label(id)
	}
	return strings.Join(names, ", ")
}

// condition says what is the matter with a node, and "" when nothing is.
func (p *planner) condition(id string) string {
	n := p.nodes[id]
	switch {
	case n == nil:
		return "is not known to the catalog"
	case n.State == Removed:
		return "is removed"
	case n.State == Decommissioning:
		return "is decommissioned"
	case p.dead(n):
		return "has been silent for " + length(n.SilentFor) + ", longer than dead-after " + length(p.s.Settings.DeadAfter)
	case n.State == Draining && n.Short:
		return "has too little room on its disk"
	case n.State == Draining:
		return "is draining"
	case !n.Alive:
		return "has been silent for " + length(n.SilentFor)
	case n.Unheard:
		return "has not said yet how much room it has"
	}
	return ""
}

// reason says why a replica moves away from a node.
func (p *planner) reason(from string) string {
	if p.isEligible[from] {
		return "the shards are spread evenly over the nodes"
	}
	return p.label(from) + " " + p.condition(from)
}

// length writes a duration without what does not matter to anybody.
func length(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
