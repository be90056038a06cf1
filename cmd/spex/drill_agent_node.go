package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spexio/spex/drill"
)

// agent breaks one node.
type agent struct {
	flags   *agentFlags
	token   string
	command []string
	say     func(format string, args ...any)

	mu sync.Mutex // guards the fields below, and is held while something is done
	// child is the process of command.
	child *process
	// now is the fault under way, "" for none; limit undoes it, and is nil without one.
	now   drill.FaultKind
	limit *time.Timer
	// undone is the fault that limit has undone since, until somebody is told.
	undone drill.FaultKind
	// again is the time between two tries of limit.
	again time.Duration
}

func newAgent(f *agentFlags, token string, command []string) (*agent, error) {
	g := &agent{flags: f, token: token, command: command, say: func(string, ...any) {}, again: agentAgain}
	ways := 0
	for _, given := range []bool{len(command) > 0, f.pid != 0, f.pidFile != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return nil, usagef("--pid, --pid-file and a command after -- are different ways to name the node: use one")
	}
	if len(g.kinds()) == 0 {
		return nil, usagef("there is nothing that the agent can do: give the node's command after --, or --pid-file with --start-command, or other commands")
	}
	if len(command) > 0 {
		var err error
		if g.child, err = startProcess(command[0], command[1:], ""); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// kinds are the faults that the agent can make and undo.
func (g *agent) kinds() []drill.FaultKind {
	has := func(verb string) bool { return *g.flags.commands[verb] != "" }
	child := len(g.command) > 0
	// What is started again has another process id: --pid is of no use then.
	followed := child || g.flags.pidFile != ""
	kills := (followed || has("kill")) && (child || has("start"))
	signals := followed || g.flags.pid != 0 && !kills
	var list []drill.FaultKind
	if kills {
		list = append(list, drill.Kill)
	}
	if (signals || has("pause")) && (signals || has("resume")) {
		list = append(list, drill.Pause)
	}
	if has("isolate") && has("connect") {
		list = append(list, drill.Isolate)
	}
	return list
}

// agentRequest and agentAnswer are what a drill and an agent say to each other.
type agentRequest struct {
	Fault drill.FaultKind `json:"fault"`
}

type agentAnswer struct {
	// Faults are what the agent can do, Now is what it does, Limit is after what time
	// it undoes that by itself.
	Faults []drill.FaultKind `json:"faults"`
	Now    drill.FaultKind   `json:"now,omitempty"`
	Limit  time.Duration     `json:"limit_ns"`
	Error  string            `json:"error,omitempty"`
}

// handler serves GET /v1/agent, POST /v1/break and POST /v1/mend.
func (g *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/agent", func(w http.ResponseWriter, _ *http.Request) { g.answer(w, nil) })
	mux.HandleFunc("POST /v1/break", func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, g.begin) })
	mux.HandleFunc("POST /v1/mend", func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, g.mend) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) != 1 {
			http.Error(w, "the token is missing or wrong", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (g *agent) serve(w http.ResponseWriter, r *http.Request, do func(drill.FaultKind) error) {
	var req agentRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAgentBody)).Decode(&req); err != nil {
		http.Error(w, "not a request for an agent: "+err.Error(), http.StatusBadRequest)
		return
	}
	g.answer(w, do(req.Fault))
}

func (g *agent) answer(w http.ResponseWriter, err error) {
	g.mu.Lock()
	a := agentAnswer{Faults: g.kinds(), Now: g.now, Limit: g.flags.limit}
	g.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		a.Error = err.Error()
		w.WriteHeader(http.StatusConflict)
	}
	_ = json.NewEncoder(w).Encode(a)
}

// begin makes a fault, of which there is one at a time.
func (g *agent) begin(kind drill.FaultKind) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now != "" {
		return fmt.Errorf("%s is under way: undo it first", g.now)
	}
	if !slices.Contains(g.kinds(), kind) {
		return fmt.Errorf("this agent cannot %s its node; it can: %s", kind, strings.Join(faultNames(g.kinds()), ", "))
	}
	g.say("%s", kind)
	// Also what failed half way is undone.
	g.now, g.undone = kind, ""
	defer g.limitLocked()
	switch kind {
	case drill.Kill:
		return g.do("kill")
	case drill.Pause:
		return g.do("pause")
	default:
		return g.do("isolate")
	}
}

// limitLocked has the fault that is under way undone after the limit, with as many
// tries as that takes.
func (g *agent) limitLocked() {
	var t *time.Timer
	t = time.AfterFunc(g.flags.limit, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.limit != t {
			return // it was undone while this waited for the lock
		}
		kind := g.now
		g.say("nobody has undone %s for %s", kind, g.flags.limit)
		if err := g.mendLocked(); err != nil {
			g.say("%v; next try in %s", err, g.again)
			t.Reset(g.again)
			return
		}
		g.undone = kind
	})
	g.limit = t
}

// mend undoes a fault; one that is not under way is no error, unless it was but
// ended too soon.
func (g *agent) mend(kind drill.FaultKind) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case kind == "":
		return nil
	case g.undone == kind:
		g.undone = ""
		return fmt.Errorf("it was undone already, after the --limit of %s", g.flags.limit)
	case g.now != kind:
		return nil
	}
	return g.mendLocked()
}

// mendLocked undoes what is under way.
func (g *agent) mendLocked() error {
	g.say("undo %s", g.now)
	var err error
	switch g.now {
	case drill.Kill:
		err = g.do("start")
	case drill.Pause:
		err = g.do("resume")
	default:
		err = g.do("connect")
	}
	if err != nil {
		return err // it is under way still, and may be undone by another try
	}
	g.limit.Stop()
	g.now, g.limit = "", nil
	return nil
}

// do does one thing to the node: by the command for it, else by itself.
func (g *agent) do(verb string) error {
	if command := *g.flags.commands[verb]; command != "" {
		ctx, cancel := context.WithTimeout(context.Background(), commandTime)
		defer cancel()
		out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	p, err := g.process()
	if err != nil {
		return err
	}
	switch verb {
	case "kill":
		return p.kill()
	case "pause":
		return p.pause()
	case "resume":
		return p.resume()
	default: // start; a process that is not our child has a command for it
		if g.child.running() {
			return nil
		}
		g.child, err = startProcess(g.command[0], g.command[1:], "")
		return err
	}
}

// process is the node's.
func (g *agent) process() (*process, error) {
	if g.child != nil {
		return g.child, nil
	}
	pid := g.flags.pid
	if g.flags.pidFile != "" {
		data, err := os.ReadFile(g.flags.pidFile)
		if err != nil {
			return nil, err
		}
		if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
			return nil, fmt.Errorf("%s does not hold a process id: %w", g.flags.pidFile, err)
		}
	}
	if pid <= 1 {
		return nil, fmt.Errorf("%d is not the process id of a node", pid)
	}
	found, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	close(ended)
	return &process{cmd: &exec.Cmd{Process: found}, done: ended, foreign: true}, nil
}

// close undoes what is under way, and ends the child.
func (g *agent) close() error {
	g.mu.Lock()
	kind := g.now
	g.mu.Unlock()
	var err error
	if kind != drill.Kill || g.child == nil {
		err = g.mend(kind)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit != nil {
		g.limit.Stop()
		g.limit = nil
	}
	if g.child == nil || !g.child.running() {
		return err
	}
	// The node is asked as a service manager would ask it.
	if e := g.child.cmd.Process.Signal(os.Interrupt); e != nil {
		return errors.Join(err, g.child.kill())
	}
	select {
	case <-g.child.done:
		return err
	case <-time.After(stopPatience):
		return errors.Join(err, g.child.kill())
	}
}
