package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
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
	// agentAgain is the time between two tries of an agent to undo by itself what
	// cannot be undone.
	agentAgain = 5 * time.Second
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
process, by --pid-file, which it kills and pauses with signals, or by --pid, which
it only pauses, as a process that is started again has another id; or by commands
for a shell, which win over the others:

  --kill-command 'systemctl kill -s KILL spex'   --start-command 'systemctl start spex'

Isolating needs --isolate-command and --connect-command, for example with a
firewall. The agent undoes what it did by itself when the drill has not asked for
it within --limit, trying again until that works, and when it ends.

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
	fl.IntVar(&f.pid, "pid", 0, "process `id` of the node, for pauses")
	fl.StringVar(&f.pidFile, "pid-file", "", "`file` with the process id of the node, read each time")
	for _, v := range agentVerbs {
		f.commands[v.name] = fl.String(v.name+"-command", "", "shell `command` that "+v.usage)
	}
	fl.DurationVar(&f.limit, "limit", 2*time.Minute, "undo a fault after this `time` when the drill has not; longer than its --hold")
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
