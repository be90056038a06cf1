package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/transport"
)

// defaultHTTPAddr is where the first node of spex dev answers over HTTP.
const defaultHTTPAddr = "127.0.0.1:7380"

// devOptions are the settings of a cluster in one process.
type devOptions struct {
	nodes, shards int
	dataDir       string
	listen        string
	httpListen    string
	httpGiven     bool
	// httpHost and httpFirst are httpListen in parts; httpFirst is -1 without HTTP.
	httpHost  string
	httpFirst int
	demo      bool
	demoFor   time.Duration
	log       logOptions
}

func newDevCommand(a *app) *cobra.Command {
	o := &devOptions{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster in this process, to try Spex out",
		Long: `Run a whole cluster in this process, on loopback, until it is interrupted.

Nothing is simplified: the nodes gossip, elect leaders, replicate, and store on
disk. Without --data-dir the data is in a temporary directory that is removed
at the end. --demo also runs a small order workflow that now and then leaves
its specification.`,
		Example: "  spex dev --demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.httpGiven = cmd.Flags().Changed("http-listen")
			return a.runDev(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 3, "`number` of nodes")
	f.IntVar(&o.shards, "shards", 4, "`number` of shards of a new cluster")
	f.StringVar(&o.dataDir, "data-dir", "", "`directory` that keeps the data; use the same --nodes each time")
	f.StringVar(&o.listen, "listen", defaultAddr, "`host:port` of the first node for clients; the other nodes get the next ports")
	f.StringVar(&o.httpListen, "http-listen", defaultHTTPAddr, "`host:port` of the first node for HTTP with JSON, like --listen; empty: none")
	f.BoolVar(&o.demo, "demo", false, "run an order workflow with occasional deviations")
	f.DurationVar(&o.demoFor, "demo-for", 0, "stop after this `time`; 0: run until interrupted")
	o.log.flags(cmd)
	// Several nodes share this terminal with the demo; forming a cluster is full
	// of warnings that mean nothing here.
	o.log.level = "error"
	cmd.Flags().Lookup("log-level").DefValue = "error"
	return cmd
}

func (a *app) runDev(ctx context.Context, o *devOptions) (err error) {
	if o.nodes < 1 || o.nodes > 9 {
		return usagef("--nodes %d: use 1 to 9", o.nodes)
	}
	host, first, err := splitPort(o.listen)
	if err != nil {
		return usagef("--listen %q: %v", o.listen, err)
	}
	if err := o.httpPorts(first); err != nil {
		return err
	}
	logger, err := o.log.logger(a.stderr)
	if err != nil {
		return err
	}
	if err := failpoint.Load(logger); err != nil {
		return usagef("%v", err)
	}
	dir := o.dataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "spex-dev-"); err != nil {
			return fmt.Errorf("make a directory for the data: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if o.demoFor > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.demoFor)
		defer cancel()
	}
	nodes, err := startDevNodes(o, host, first, dir, logger)
	defer func() { err = errors.Join(err, closeAll(nodes)) }()
	if err != nil {
		return err
	}
	for _, s := range nodes {
		if err := s.Ready(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	a.sayDev(nodes, o, dir)
	if o.demo {
		if err := a.runDemo(ctx, nodes); err != nil && ctx.Err() == nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// httpPorts takes --http-listen apart. Whoever lets the system choose the ports
// runs more than one cluster here: the default would be taken.
func (o *devOptions) httpPorts(first int) (err error) {
	if o.httpListen == "" {
		o.httpFirst = -1
		return nil
	}
	if o.httpHost, o.httpFirst, err = splitPort(o.httpListen); err != nil {
		return usagef("--http-listen %q: %v", o.httpListen, err)
	}
	if first == 0 && !o.httpGiven {
		o.httpFirst = 0
	}
	return nil
}

// httpAddress is where node i, from 0, listens for HTTP.
func (o *devOptions) httpAddress(i int) string {
	switch {
	case o.httpFirst < 0:
		return ""
	case o.httpFirst == 0:
		i = 0
	}
	return net.JoinHostPort(o.httpHost, strconv.Itoa(o.httpFirst+i))
}

func splitPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("give host:port, for example " + defaultAddr)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, port, nil
}

// startDevNodes starts the nodes; what it returns must be closed, also with an error.
func startDevNodes(o *devOptions, host string, first int, dir string, logger *slog.Logger) ([]*transport.Server, error) {
	raftTiming, gossipTimings, err := timings("lan")
	if err != nil {
		return nil, err
	}
	gossipTimings.FirstContact = 100 * time.Millisecond
	var nodes []*transport.Server
	var join []string
	for i := range o.nodes {
		port := 0
		if first > 0 {
			port = first + i
		}
		name := fmt.Sprintf("n%d", i+1)
		s, err := transport.StartServer(transport.ServerConfig{
			Name: name, ClusterName: "dev", DataDir: filepath.Join(dir, name),
			Listen: net.JoinHostPort(host, strconv.Itoa(port)), HTTPListen: o.httpAddress(i), PeerListen: net.JoinHostPort(host, "0"), Gossip: net.JoinHostPort(host, "0"),
			Join: join, Expect: o.nodes, Shards: o.shards, Replicas: 3, Timing: raftTiming, GossipTimings: gossipTimings,
			Version: buildVersion().Version, Logger: logger, OnFatal: fatal(logger),
		})
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, s)
		join = append(join, s.GossipAddr())
	}
	return nodes, nil
}

// closeAll stops the nodes together: nobody is left to hand leaderships to.
func closeAll(nodes []*transport.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	errs := make([]error, len(nodes))
	done := make(chan int)
	for i, s := range nodes {
		go func() {
			errs[i] = s.Close(ctx)
			done <- i
		}()
	}
	for range nodes {
		<-done
	}
	return errors.Join(errs...)
}

func (a *app) sayDev(nodes []*transport.Server, o *devOptions, dir string) {
	fmt.Fprintf(a.stdout, "spex: a cluster of %d nodes with %d shards is ready\n", len(nodes), o.shards)
	for _, s := range nodes {
		http := ""
		if s.HTTPAddr() != "" {
			http = "  http://" + s.HTTPAddr()
		}
		fmt.Fprintf(a.stdout, "  %-12s %s%s\n", s.NodeID(), s.Addr(), http)
	}
	if o.dataDir == "" {
		fmt.Fprintf(a.stdout, "  data         %s (removed at the end)\n", dir)
	} else {
		fmt.Fprintf(a.stdout, "  data         %s\n", dir)
	}
}
