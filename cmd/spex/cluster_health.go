package main

import (
	"fmt"
	"strings"
)

// statusProblems lists what keeps the cluster from being healthy, for people. What
// is so with many groups is said once: a cluster has up to 1,024.
func statusProblems(s statusJSON) []string {
	var problems []string
	for _, n := range s.Nodes {
		if !n.Reachable {
			problems = append(problems, fmt.Sprintf("node %s does not answer", nodeLabel(n.ID, n.Name)))
		}
		for _, alarm := range n.Alarms {
			problems = append(problems, fmt.Sprintf("node %s: %s", nodeLabel(n.ID, n.Name), alarm))
		}
		if problem := spaceProblem(n); problem != "" {
			problems = append(problems, problem)
		}
	}
	groups := append([]shardJSON{s.Catalog}, s.Shards...)
	problems = append(problems, wanting(s, groups)...)
	for _, g := range groups {
		for _, r := range g.Replicas {
			if r.State == "halted" || r.State == "refused" {
				problems = append(problems, fmt.Sprintf("%s is %s on %s: %s", groupLabel(g.ID), r.State, nodeLabel(r.NodeID, r.NodeName), r.Error))
			}
		}
		if a, b, differ := hashConflict(g); differ {
			problems = append(problems, fmt.Sprintf("%s has different states on %s and %s at index %d",
				groupLabel(g.ID), nodeLabel(a.NodeID, a.NodeName), nodeLabel(b.NodeID, b.NodeName), a.StateHashIndex))
		}
	}
	return problems
}

// wanting says which groups are not formed, have no leader, or have fewer replicas
// or survive fewer failures than they should.
func wanting(s statusJSON, groups []shardJSON) []string {
	designed := (int32(s.ReplicasAsked) - 1) / 2
	var unformed, leaderless, fragile []uint32
	few := make([][]uint32, s.ReplicasAsked) // by the number of replicas
	for _, g := range groups {
		switch {
		case !g.Formed && g.ID != 0:
			unformed = append(unformed, g.ID)
			continue
		case g.Leader == "":
			leaderless = append(leaderless, g.ID)
			continue
		case g.ID != 0 && uint32(len(g.Replicas)) < s.ReplicasAsked:
			few[len(g.Replicas)] = append(few[len(g.Replicas)], g.ID)
		}
		if g.FailureTolerance != nil && *g.FailureTolerance < designed {
			fragile = append(fragile, g.ID)
		}
	}
	var problems []string
	say := func(ids []uint32, one, many string) {
		switch {
		case len(ids) == 1:
			problems = append(problems, groupLabel(ids[0])+" "+one)
		case len(ids) > 1:
			problems = append(problems, groupLabels(ids)+" "+many)
		}
	}
	if behind := catalogLag(s); behind > 0 && len(unformed) > 0 {
		// It knows no better yet: a node that has just started, or was removed.
		problems = append(problems, fmt.Sprintf("%s, which gave this answer, lacks the last %d entries of the catalog, and may be wrong about nodes and shards: ask again, or another node",
			labelOfNode(s, s.NodeID), behind))
	} else {
		say(unformed, "is not formed yet", "are not formed yet")
	}
	say(leaderless, "has no leader", "have no leader")
	than := fmt.Sprintf("fewer failures than the %d that %d replicas are for", designed, s.ReplicasAsked)
	say(fragile, "survives "+than, "survive "+than)
	for n, ids := range few {
		text := fmt.Sprintf("%s of the %d asked for", plural(n, "replica"), s.ReplicasAsked)
		say(ids, "has "+text, "have "+text+" each")
	}
	return problems
}

// catalogLag is how far the catalog of the node that answered is behind its leader's.
func catalogLag(s statusJSON) uint64 {
	for _, r := range s.Catalog.Replicas {
		if r.NodeID == s.NodeID {
			return r.Lag
		}
	}
	return 0
}

func labelOfNode(s statusJSON, id string) string {
	for _, n := range s.Nodes {
		if n.ID == id {
			return nodeLabel(n.ID, n.Name)
		}
	}
	return id
}

// groupLabels names groups together: "catalog and shards 1, 2".
func groupLabels(ids []uint32) string {
	if ids[0] == 0 {
		if len(ids) == 2 {
			return "catalog and " + groupLabel(ids[1])
		}
		return "catalog and " + groupLabels(ids[1:])
	}
	numbers := make([]string, len(ids))
	for i, id := range ids {
		numbers[i] = fmt.Sprint(id)
	}
	return "shards " + some(numbers)
}

// firstProblem is what a wait for a healthy cluster says.
func firstProblem(problems []string) string {
	if len(problems) < 2 {
		return strings.Join(problems, "")
	}
	return fmt.Sprintf("%s, and %d more", problems[0], len(problems)-1)
}
