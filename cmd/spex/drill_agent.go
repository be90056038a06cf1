package main

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/drill"
)

const (
	defaultAgentAddr = "127.0.0.1:7390"
	drillTokenEnv    = "SPEX_DRILL_TOKEN"
	// minToken is the least length of a token.
	minToken = 16
	// commandTime bounds one command of an agent.
	commandTime = time.Minute
	// maxAgentBody bounds what an agent and a drill say to each other.
	maxAgentBody = 64 << 10
)

// agentFlags say how an agent breaks its node.
type agentFlags struct {
	listen, tokenFile string
	pid               int
	pidFile           string
	// commands are those of the flags, by what they do.
	commands map[string]*string
	limit    time.Duration
}

// agentVerbs are what an agent can be given a command for.
var agentVerbs = []struct{ name, usage string }{
	{"kill", "ends the node without a goodbye"},
	{"start", "starts it again"},
	{"pause", "stops it in the middle of what it does"},
	{"resume", "lets it go on"},
	{"isolate", "cuts it off from the other nodes"},
	{"connect", "undoes that"},
}

func newDrillAgentCommand(a *app) *cobra.Command {
	f := &agentFlags{commands: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "agent [flags] [-- COMMAND ARGUMENT...]",
		Short: "Break one node when a drill asks for it",
		Long: `Break one node when a drill asks for it.

The agent runs beside a node. It is given the node in one of three ways: as a
command after --, which it runs itself and starts again after a kill; as a
process, by --pid or --pid-file, which it kills and pauses with signals; or by
commands for a shell, which win over the other two:

  --kill-command 'systemctl kill -s KILL spex'   --start-command 'systemctl start spex'

Isolating needs --isolate-command and --connect-command, for example with a
firewall. The agent undoes what it did by itself when the drill has not asked for
it in time, and when it ends.

Whoever knows the token can do all that. The agent listens on loopback unless it
is told otherwise, and does not encrypt: reach it through SSH or a tunnel.`,
		Example: `  spex drill agent --token-file token -- spex server --config /etc/spex.yaml
  spex drill agent --token-file token --pid-file /run/spex.pid --start-command 'systemctl start spex'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef("write the command of the node after --")
			}
			return a.runAgent(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", defaultAgentAddr, "`host:port` for the drill")
	fl.StringVar(&f.tokenFile, "token-file", "", "`file` with the token, "+strconv.Itoa(minToken)+" characters or more (or env "+drillTokenEnv+")")
	fl.IntVar(&f.pid, "pid", 0, "process `id` of the node")
	fl.StringVar(&f.pidFile, "pid-file", "", "`file` with the process id of the node, read each time")
	for _, v := range agentVerbs {
		f.commands[v.name] = fl.String(v.name+"-command", "", "shell `command` that "+v.usage)
	}
	fl.DurationVar(&f.limit, "limit", 2*time.Minute, "undo a fault after this `time` when the drill has not")
	return cmd
}

// drillToken reads the token of the agents.
func (a *app) drillToken(file string) (string, error) {
	token := a.env(drillTokenEnv)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		token = string(data)
	}
	if token = strings.TrimSpace(token); len(token) < minToken {
		return "", usagef("the token has %d characters and needs %d: make one with 'openssl rand -hex 16', and give it with --token-file or %s", len(token), minToken, drillTokenEnv)
	}
	return token, nil
}

func (a *app) runAgent(ctx context.Context, f *agentFlags, command []string) error {
	token, err := a.drillToken(f.tokenFile)
	if err != nil {
		return err
	}
	if f.limit <= 0 {
		return usagef("--limit must be above zero")
	}
	g, err := newAgent(f, token, command)
	if err != nil {
		return err
	}
	g.say = func(format string, args ...any) { a.notef("agent: "+format, args...) }
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return errors.Join(err, g.close())
	}
	if host, _, _ := net.SplitHostPort(f.listen); !isLoopback(host) {
		a.warnf("the agent listens on %s without encryption: whoever hears the token can break the node", l.Addr())
	}
	fmt.Fprintf(a.stdout, "spex: drill agent is ready on http://%s for %s\n", l.Addr(), strings.Join(faultNames(g.kinds()), ", "))
	srv := &http.Server{Handler: g.handler(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.Background(), stopPatience)
		defer cancel()
		err = srv.Shutdown(stop)
		<-done
	}
	return errors.Join(err, g.close())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func faultNames(kinds []drill.FaultKind) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return names
}

// agent breaks one node.
type agent struct {
	flags   *agentFlags
	token   string
	command []string
	say     func(format string, args ...any)

	mu sync.Mutex // guards the fields below, and is held while something is done
	// child is the process of command.
	child *process
	// now is the fault under way, "" for none; limit undoes it.
	now   drill.FaultKind
	limit *time.Timer
}

func newAgent(f *agentFlags, token string, command []string) (*agent, error) {
	g := &agent{flags: f, token: token, command: command, say: func(string, ...any) {}}
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
	child, signals := len(g.command) > 0, g.flags.pid != 0 || g.flags.pidFile != "" || len(g.command) > 0
	var list []drill.FaultKind
	if (signals || has("kill")) && (child || has("start")) {
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
	// Faults are what the agent can do, Now is what it does.
	Faults []drill.FaultKind `json:"faults"`
	Now    drill.FaultKind   `json:"now,omitempty"`
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
	a := agentAnswer{Faults: g.kinds(), Now: g.now}
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
	g.now = kind
	g.limit = time.AfterFunc(g.flags.limit, func() {
		g.say("nobody has undone %s for %s", kind, g.flags.limit)
		if err := g.mend(kind); err != nil {
			g.say("%v", err)
		}
	})
	switch kind {
	case drill.Kill:
		return g.do("kill")
	case drill.Pause:
		return g.do("pause")
	default:
		return g.do("isolate")
	}
}

// mend undoes a fault; one that is not under way is no error.
func (g *agent) mend(kind drill.FaultKind) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now != kind || kind == "" {
		return nil
	}
	g.say("undo %s", kind)
	var err error
	switch kind {
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
	g.now = ""
	g.limit.Stop()
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
	kind := cmp.Or(g.now, "")
	g.mu.Unlock()
	var err error
	if kind != drill.Kill || g.child == nil {
		err = g.mend(kind)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit != nil {
		g.limit.Stop()
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
