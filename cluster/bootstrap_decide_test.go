package cluster

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewriteBootstrap = flag.Bool("rewrite-bootstrap", false, "write the actual decisions into testdata/bootstrap")

// TestDecideScenarios reads testdata/bootstrap/*.txt: comment lines, a line that
// describes a situation, a line of four dashes, and the expected decision.
func TestDecideScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/bootstrap/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			for i, text := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
				head, want, ok := strings.Cut(text, "\n----")
				if !ok {
					t.Fatalf("%s: block %d has no ----", path, i+1)
				}
				lines := strings.Split(head, "\n")
				d := decide(parseSituation(t, lines[len(lines)-1]))
				got := fmt.Sprintf("%s %s%s%s\nbecause %s", d.action, d.clusterID, prefixed(" ask ", d.candidates), prefixed(" members ", d.members), d.reason)
				got = strings.ReplaceAll(got, " \n", "\n")
				if want = strings.TrimPrefix(want, "\n"); got != want && !*rewriteBootstrap {
					t.Errorf("%s: %s\ngot  %s\nwant %s", path, lines[len(lines)-1], got, want)
				}
				if i > 0 {
					out.WriteString("\n")
				}
				fmt.Fprintf(&out, "%s\n----\n%s\n", head, got)
			}
			if *rewriteBootstrap {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func prefixed(prefix string, ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return prefix + strings.Join(ids, ",")
}

// parseSituation reads `SELF expect=N [peers=b,c:CLUSTER] [pledge=CLUSTER:a,b]
// [cluster=CLUSTER] [seeds]`.
func parseSituation(t *testing.T, line string) situation {
	t.Helper()
	fields := strings.Fields(line)
	s := situation{self: fields[0], clusterName: "spex", shards: 16, replicas: 3}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "expect":
			s.expect, _ = strconv.Atoi(value)
		case "seeds":
			s.seeds = true
		case "cluster":
			s.clusterID = value
		case "peers":
			for _, p := range strings.Split(value, ",") {
				id, cluster, _ := strings.Cut(p, ":")
				s.peers = append(s.peers, Member{ID: id, ClusterID: cluster, Status: StatusAlive})
			}
		case "pledge":
			id, members, _ := strings.Cut(value, ":")
			s.pledge = &Proposal{ClusterName: "spex", ClusterID: id, Members: strings.Split(members, ","), Shards: 16, Replicas: 3}
		default:
			t.Fatalf("%q in %q", f, line)
		}
	}
	return s
}

// TestDecideNeverFormsBesideACluster: with any peer that has state in sight,
// with a cluster of its own, or with another number of servers in sight than
// expected, nobody proposes; and only a lowest id ever does.
func TestDecideNeverFormsBesideACluster(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := []string{"a", "b", "c", "d", "e"}
		s := situation{
			self:   rapid.SampledFrom(all).Draw(rt, "self"),
			expect: rapid.IntRange(0, 5).Draw(rt, "expect"),
			seeds:  rapid.Bool().Draw(rt, "seeds"),
		}
		clusterIDs := rapid.SampledFrom([]string{"", "", "", "X", "Y"})
		s.clusterID = clusterIDs.Draw(rt, "cluster")
		state, lowest := s.clusterID != "", true
		for _, id := range all {
			if id == s.self || !rapid.Bool().Draw(rt, "sees "+id) {
				continue
			}
			m := Member{ID: id, ClusterID: clusterIDs.Draw(rt, "cluster of "+id), Status: StatusAlive}
			s.peers = append(s.peers, m)
			state = state || m.ClusterID != ""
			lowest = lowest && s.self < id
		}
		if rapid.Bool().Draw(rt, "pledged") {
			from := rapid.IntRange(0, 4).Draw(rt, "from")
			s.pledge = &Proposal{ClusterID: "X", Members: all[from:]}
		}
		switch d := decide(s); d.action {
		case actPropose:
			if state || s.pledge != nil || !lowest || len(s.peers)+1 != s.expect || len(d.members) != s.expect {
				rt.Fatalf("proposes %v in %+v", d.members, s)
			}
		case actAsk:
			if state || s.pledge == nil || s.pledge.Proposer() != s.self {
				rt.Fatalf("asks in %+v", s)
			}
		case actJoin:
			if s.clusterID != "" || s.pledge != nil || len(d.candidates) == 0 {
				rt.Fatalf("joins in %+v", s)
			}
		case actPledged:
			if s.pledge == nil || d.clusterID != s.pledge.ClusterID {
				rt.Fatalf("pledged to %s in %+v", d.clusterID, s)
			}
		case actWait, actRestarted:
			if d.reason == "" {
				rt.Fatalf("no reason in %+v", s)
			}
		}
	})
}
