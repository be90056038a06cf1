package plan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/ring"
)

var rewrite = flag.Bool("rewrite", false, "write the actual outputs into testdata/*.txt")

// A scenario is a file of blocks, each of lines that set or do something, a line of
// four dashes, and what comes out, up to an empty line. The cluster lives on
// from block to block.
//
//	set replicas=3 dead-after=10m stabilise=10s max=2 paused=false
//	node n4 [draining|decommissioning|removed] [short] [unheard] [silent=30s]     its replicas cannot be reached while it is silent
//	gone n4                     the catalog does not know it
//	group 1: n1* n2! n3~ n4?    a configuration: * leads, ! cannot be reached, ~ is behind, ? has no vote, (5s) caught up for
//	  placed n1 n2              what the table says, where that differs; also: busy, commit=40, away (no leader, nothing known)
//	form nodes=3 shards=4       a fresh cluster where the ring puts it
//	next                        one plan
//	steps                       the whole way
//	run                         plan and carry out until nothing is left, a line for each round
//	show                        where everything is
func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, path, string(data))
			if *rewrite {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, data) {
				t.Errorf("%s: other output (write it with -rewrite and look at the difference):\n%s", path, got)
			}
		})
	}
}

func play(t *testing.T, path, text string) []byte {
	var out bytes.Buffer
	c := &stage{State: State{Settings: Settings{Replicas: 3, DeadAfter: 10 * time.Minute, Stabilise: 10 * time.Second, MaxConcurrent: 4}}}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" {
			out.WriteString("\n")
			continue
		}
		var result strings.Builder
		for ; i < len(lines) && lines[i] != "----"; i++ {
			out.WriteString(lines[i] + "\n")
			if line := strings.TrimSpace(lines[i]); !strings.HasPrefix(line, "#") {
				if err := c.do(strings.Fields(line), &result); err != nil {
					t.Fatalf("%s:%d: %v", path, i+1, err)
				}
			}
		}
		for ; i < len(lines) && lines[i] != ""; i++ {
		}
		i--
		out.WriteString("----\n" + result.String())
	}
	return out.Bytes()
}

// stage is the cluster of a scenario.
type stage struct {
	State
	last *Group
}

func (c *stage) do(words []string, out *strings.Builder) error {
	args := map[string]string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		}
	}
	switch words[0] {
	case "set":
		return c.set(args)
	case "node":
		return c.setNode(words[1:], args)
	case "gone":
		c.Nodes = slices.DeleteFunc(c.Nodes, func(n Node) bool { return n.ID == words[1] })
	case "group":
		return c.setGroup(strings.TrimSuffix(words[1], ":"), words[2:], args)
	case "placed":
		c.last.Placed = words[1:]
	case "form":
		return c.form(args)
	case "next":
		changes, waiting := Next(c.State)
		for _, ch := range changes {
			fmt.Fprintln(out, line(ch)+": "+ch.Why)
		}
		for _, w := range waiting {
			fmt.Fprintln(out, "waits: "+w.Why)
		}
		if len(changes)+len(waiting) == 0 {
			fmt.Fprintln(out, "nothing to do")
		}
	case "steps":
		for _, ch := range Steps(c.State) {
			fmt.Fprintln(out, line(ch)+": "+ch.Why)
		}
	case "run":
		c.run(out)
	case "show":
		c.show(out)
	default:
		return fmt.Errorf("unknown word %q", words[0])
	}
	return nil
}

func line(c Change) string {
	s := fmt.Sprintf("%s: %v %s", groupName(c.Group), c.Kind, c.Node)
	if c.From != "" {
		s += " from " + c.From
	}
	return s
}

func (c *stage) set(args map[string]string) (err error) {
	for k, v := range args {
		switch k {
		case "replicas":
			c.Settings.Replicas, err = strconv.Atoi(v)
		case "max":
			c.Settings.MaxConcurrent, err = strconv.Atoi(v)
		case "dead-after":
			c.Settings.DeadAfter, err = time.ParseDuration(v)
		case "stabilise":
			c.Settings.Stabilise, err = time.ParseDuration(v)
		case "paused":
			c.Settings.Paused, err = strconv.ParseBool(v)
		default:
			return fmt.Errorf("no setting %q", k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *stage) setNode(words []string, args map[string]string) (err error) {
	n := Node{ID: words[0], Name: words[0], Alive: true, Short: slices.Contains(words, "short"), Unheard: slices.Contains(words, "unheard")}
	for _, w := range words[1:] {
		for _, s := range []NodeState{Active, Draining, Decommissioning, Removed} {
			if w == s.String() {
				n.State = s
			}
		}
	}
	if v, ok := args["silent"]; ok {
		n.Alive = false
		n.SilentFor, err = time.ParseDuration(v)
	}
	for i := range c.Groups {
		if r := c.Groups[i].replica(n.ID); r != nil {
			r.Reachable, r.CaughtUpFor = n.Alive, 0
			if n.Alive {
				r.CaughtUpFor = time.Hour
			}
		}
	}
	if i := slices.IndexFunc(c.Nodes, func(o Node) bool { return o.ID == n.ID }); i >= 0 {
		c.Nodes[i] = n
	} else {
		c.Nodes = append(c.Nodes, n)
	}
	return err
}

func (c *stage) setGroup(id string, words []string, args map[string]string) error {
	num, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return err
	}
	g := Group{ID: uint32(num), Commit: 100}
	if v, ok := args["commit"]; ok {
		if g.Commit, err = strconv.ParseUint(v, 10, 64); err != nil {
			return err
		}
	}
	for _, w := range words {
		switch {
		case w == "busy":
			g.Busy = true
			continue
		case strings.Contains(w, "="):
			continue
		}
		r := Replica{Voter: true, Reachable: true, CaughtUpFor: time.Hour, Applied: g.Commit}
		if at := strings.Index(w, "("); at > 0 {
			if r.CaughtUpFor, err = time.ParseDuration(strings.TrimSuffix(w[at+1:], ")")); err != nil {
				return err
			}
			w = w[:at]
		}
		r.Node = strings.TrimRight(w, "*!~?")
		for _, flag := range w[len(r.Node):] {
			switch flag {
			case '*':
				g.Leader = r.Node
			case '!':
				r.Reachable, r.CaughtUpFor = false, 0
			case '~':
				r.CaughtUpFor, r.Applied = 0, g.Commit/2
			case '?':
				r.Voter = false
			}
		}
		g.Replicas = append(g.Replicas, r)
		g.Placed = append(g.Placed, r.Node)
	}
	if i := slices.IndexFunc(c.Groups, func(o Group) bool { return o.ID == g.ID }); i >= 0 {
		c.Groups[i], c.last = g, &c.Groups[i]
	} else {
		c.Groups = append(c.Groups, g)
		c.last = &c.Groups[len(c.Groups)-1]
	}
	return nil
}

// form makes a cluster as it is after its first start.
func (c *stage) form(args map[string]string) error {
	nodes, err := strconv.Atoi(args["nodes"])
	if err != nil {
		return err
	}
	shards, err := strconv.Atoi(args["shards"])
	if err != nil {
		return err
	}
	var ids []string
	var catalog []string
	for i := range nodes {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
		if err := c.setNode(ids[i:i+1], nil); err != nil {
			return err
		}
		suffix := ""
		if i == 0 {
			suffix = "*"
		} else if i >= 5 || nodes == 4 && i == 3 {
			suffix = "?"
		}
		catalog = append(catalog, ids[i]+suffix)
	}
	placement, err := ring.Place(ids, shards, c.Settings.Replicas)
	if err != nil {
		return err
	}
	if err := c.setGroup("0", catalog, nil); err != nil {
		return err
	}
	for id := range shards {
		set := slices.Clone(placement.Replicas(uint32(id + 1)))
		set[0] += "*"
		if err := c.setGroup(strconv.Itoa(id+1), set, nil); err != nil {
			return err
		}
	}
	return nil
}

// run carries everything out, at the pace that Next allows.
func (c *stage) run(out *strings.Builder) {
	sim := newSimulation(c.State)
	sim.state.Settings = c.Settings
	for round := 1; round < 500; round++ {
		changes, waiting := Next(sim.state)
		if len(changes) == 0 {
			for _, w := range waiting {
				fmt.Fprintln(out, "waits: "+w.Why)
			}
			break
		}
		var words []string
		for _, ch := range changes {
			words = append(words, line(ch))
			sim.apply(ch)
		}
		fmt.Fprintf(out, "%2d. %s\n", round, strings.Join(words, "; "))
	}
	c.State = sim.state
}

func (c *stage) show(out *strings.Builder) {
	p := newPlanner(c.State)
	load, led := map[string]int{}, map[string]int{}
	groups := p.shards
	if p.catalog != nil {
		groups = append([]*Group{p.catalog}, groups...)
	}
	for _, g := range groups {
		var words []string
		for _, r := range g.Replicas {
			w := r.Node
			if r.Node == g.Leader {
				w += "*"
			}
			if !r.Voter {
				w += "?"
			}
			words = append(words, w)
			if g.ID != 0 {
				load[r.Node]++
			}
		}
		if g.ID != 0 {
			led[g.Leader]++
		}
		slices.Sort(words)
		fmt.Fprintf(out, "%s: %s\n", groupName(g.ID), strings.Join(words, " "))
	}
	for _, n := range c.Nodes {
		if n.State == Removed {
			continue
		}
		fmt.Fprintf(out, "%s holds %d leads %d\n", n.ID, load[n.ID], led[n.ID])
	}
}
