package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// stopPatience is how long a node takes to stop before it is cut off, with timing
// for distant nodes 19 s; whoever runs it should wait two seconds more before it kills.
const stopPatience = 8 * time.Second

// serverOptions are the settings of a node, in the order of the reference.
type serverOptions struct {
	config     string
	name       string
	cluster    string
	dataDir    string
	listen     string
	httpListen string
	peerListen string
	gossip     string
	// How the other nodes reach the last two, if not by what they listen on.
	peerAdvertise, gossipAdvertise string

	join      []string
	expect    int
	shards    int
	replicas  int
	settings  transport.Settings
	timing    string
	space     cluster.SpaceLimits
	deadAfter time.Duration
	stabilise time.Duration
	moves     int
	copyRate  byteSize
	log       logOptions
}

// logOptions say what a node logs to stderr.
type logOptions struct {
	level, format string
}

func newServerCommand(a *app) *cobra.Command {
	o := &serverOptions{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one node of a cluster",
		Long: `Run one node of a cluster until SIGTERM or SIGINT.

The same command line serves for the first start, for every restart, and for a
node that joins later. Exactly --expect servers that see each other and have no
state form a new cluster; a server that sees a cluster joins it.

Every setting can also come from the environment (--peer-listen as
SPEX_PEER_LISTEN) and from the YAML file of --config (peer_listen). A flag wins
over the environment, which wins over the file.

When the node serves, one line goes to stdout. On SIGTERM it hands its
leaderships to other nodes and stops within 10 seconds. The exit status is 3
when the storage has failed: the node then has to be looked at.`,
		Example: `  spex server --name n1 --data-dir /var/lib/spex --listen 10.0.0.1:7301 \
      --peer-listen 10.0.0.1:7501 --gossip 10.0.0.1:7401 \
      --join 10.0.0.2:7401,10.0.0.3:7401 --expect 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.loadSettings(cmd, o.config); err != nil {
				return err
			}
			return a.runServer(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "YAML `file` with settings")
	f.StringVar(&o.name, "name", "", "`name` of this node, for people; it stays with the data directory")
	f.StringVar(&o.cluster, "cluster", "spex", "`name` of the cluster; nodes of another name are not heard")
	f.StringVar(&o.dataDir, "data-dir", "", "`directory` of this node alone")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7300", "`host:port` for clients")
	f.StringVar(&o.httpListen, "http-listen", "", "`host:port` for clients that speak HTTP with JSON; empty: none")
	f.StringVar(&o.peerListen, "peer-listen", "127.0.0.1:7500", "`host:port` for the other nodes")
	f.StringVar(&o.peerAdvertise, "peer-advertise", "", "`host:port` by which other nodes reach --peer-listen, if it is another one")
	f.StringVar(&o.gossipAdvertise, "gossip-advertise", "", "`host:port` by which other nodes reach --gossip, if it is another one")
	f.StringVar(&o.gossip, "gossip", "127.0.0.1:7400", "`host:port` for gossip, over TCP and UDP")
	f.StringSliceVar(&o.join, "join", nil, "gossip `host:port` of other nodes, comma separated; this node's own is fine too")
	f.IntVar(&o.expect, "expect", 0, "`number` of servers that form a new cluster together; 0: only join")
	f.IntVar(&o.shards, "shards", 16, "`number` of shards of a new cluster, for its whole life")
	f.IntVar(&o.replicas, "replicas", 3, "`number` of replicas of each shard of a new cluster")
	settingsFlags(f, &o.settings)
	f.StringVar(&o.timing, "timing", "lan", "`preset` of Raft's and gossip's timings: lan, wan or test")
	space := cluster.DefaultSpaceLimits()
	f.Float64Var(&o.space.Low, "space-low", space.Low, "`percent` of the disk: with less free, the node hands its leaderships away and writes may be refused; 0: never")
	f.Float64Var(&o.space.Stop, "space-stop", space.Stop, "`percent` of the disk: with less free, the node stops its shards")
	f.DurationVar(&o.deadAfter, "dead-after", cluster.DefaultDeadAfter, "`time` of silence after which a new cluster replaces the replicas of a node; with less than a restart takes, each restart copies data")
	f.DurationVar(&o.stabilise, "stabilise", cluster.DefaultStabilise, "`time` for which a new replica has to keep up before it gets a vote")
	f.IntVar(&o.moves, "moves", cluster.DefaultPlaceConcurrent, "`number` of shards of which replicas are moved at the same time")
	o.copyRate = transport.DefaultCopyRate
	f.Var(&o.copyRate, "copy-rate", "`bytes` a second of snapshots that this node sends to others, of all shards together; 0: no limit")
	o.log.flags(cmd)
	return cmd
}

func (l *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.level, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	cmd.Flags().StringVar(&l.format, "log-format", "text", "`format` of the log: text or json")
}

// logger writes to stderr.
func (l *logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usagef("--log-level %q: use debug, info, warn or error", l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %q: use text or json", l.format)
}

// timings are the presets of --timing.
func timings(preset string) (shard.Timing, cluster.GossipTimings, error) {
	switch preset {
	case "lan":
		return shard.LAN(), cluster.LANTimings(), nil
	case "wan":
		return shard.WAN(), cluster.WANTimings(), nil
	case "test":
		return shard.Test(), cluster.TestTimings(), nil
	}
	return shard.Timing{}, cluster.GossipTimings{}, usagef("--timing %q: use lan, wan or test", preset)
}

func (o *serverOptions) validate() error {
	switch {
	case o.name == "":
		return usagef("--name is missing: every node has a name of its own, for example n1")
	case o.dataDir == "":
		return usagef("--data-dir is missing: name an empty directory for the first start, and the same one ever after")
	case o.expect < 0 || o.expect > ring.MaxMembers:
		return usagef("--expect %d: use 0 to %d", o.expect, ring.MaxMembers)
	case o.shards < 1 || o.shards > ring.MaxShards:
		return usagef("--shards %d: use 1 to %d", o.shards, ring.MaxShards)
	case o.deadAfter < cluster.MinDeadAfter || o.deadAfter > cluster.MaxDeadAfter:
		return usagef("--dead-after %s: use %s to %s", o.deadAfter, cluster.MinDeadAfter, cluster.MaxDeadAfter)
	case o.stabilise < time.Millisecond || o.stabilise > time.Hour:
		return usagef("--stabilise %s: use 1ms to 1h", o.stabilise)
	case o.moves < 1 || o.moves > ring.MaxShards:
		return usagef("--moves %d: use 1 to %d", o.moves, ring.MaxShards)
	case o.copyRate != 0 && o.copyRate < transport.MinCopyRate:
		least := byteSize(transport.MinCopyRate)
		return usagef("--copy-rate %s: use at least %s, or 0 for no limit", &o.copyRate, &least)
	case o.replicas < 1 || o.replicas > ring.MaxMembers:
		return usagef("--replicas %d: use 1 to %d; 3 survives the loss of one node", o.replicas, ring.MaxMembers)
	}
	if err := o.settings.Check(); err != nil {
		return usagef("%v", err)
	}
	if err := o.space.Validate(); err != nil {
		return usagef("--space-low and --space-stop: %v", err)
	}
	if err := cluster.CheckName("--name", o.name); err != nil {
		return usagef("%v", err)
	}
	if err := cluster.CheckName("--cluster", o.cluster); err != nil {
		return usagef("%v", err)
	}
	for flag, addr := range map[string]string{"--listen": o.listen, "--http-listen": o.httpListen, "--peer-listen": o.peerListen, "--gossip": o.gossip,
		"--peer-advertise": o.peerAdvertise, "--gossip-advertise": o.gossipAdvertise} {
		if addr == "" && (flag == "--http-listen" || strings.HasSuffix(flag, "-advertise")) {
			continue
		}
		if err := checkAddress(addr); err != nil {
			return usagef("%s %q: %v: give host:port", flag, addr, err)
		}
	}
	for _, addr := range o.join {
		if err := checkAddress(addr); err != nil {
			return usagef("--join %q: %v: give host:port", addr, err)
		}
	}
	return nil
}

func (a *app) runServer(ctx context.Context, o *serverOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	raftTiming, gossipTimings, err := timings(o.timing)
	if err != nil {
		return err
	}
	logger, err := o.log.logger(a.stderr)
	if err != nil {
		return err
	}
	if err := failpoint.Load(logger); err != nil {
		return usagef("%v", err)
	}
	s, err := transport.StartServer(transport.ServerConfig{
		Name: o.name, ClusterName: o.cluster, DataDir: o.dataDir, Listen: o.listen, HTTPListen: o.httpListen, PeerListen: o.peerListen, Gossip: o.gossip, Join: o.join,
		PeerAdvertise: o.peerAdvertise, GossipAdvertise: o.gossipAdvertise,
		Expect: o.expect, Shards: o.shards, Replicas: o.replicas, Settings: o.settings, Timing: raftTiming, GossipTimings: gossipTimings, Space: o.space,
		DeadAfter: o.deadAfter, Placement: cluster.PlacementTiming{Stabilise: o.stabilise, Concurrent: o.moves}, CopyRate: int64(o.copyRate),
		Version: buildVersion().Version, Logger: logger, OnFatal: fatal(logger),
		Hooks: transport.ServerHooks{Now: failpoint.Clock()},
	})
	if err != nil {
		return err
	}
	err = s.Ready(ctx)
	if err == nil {
		a.sayReady(s)
		select {
		case <-ctx.Done():
		case <-s.Failed():
			err = s.Err()
		}
	}
	if ctx.Err() != nil {
		logger.Info("stopping")
		err = nil
	}
	// An attempt of gossip to reach a node ends by its own timeout only.
	stopCtx, cancel := context.WithTimeout(context.Background(), max(stopPatience, gossipTimings.Stream+stopPatience/2))
	defer cancel()
	return errors.Join(err, s.Close(stopCtx))
}

// fatal ends the process when its storage has failed: a node that cannot write
// must not take part in anything, and only a new start reads what is on disk.
func fatal(logger *slog.Logger) func(error) {
	return func(err error) {
		logger.Error("the storage has failed; the process ends", "error", err)
		os.Exit(exitFailed)
	}
}

// sayReady prints the one line that scripts wait for.
func (a *app) sayReady(s *transport.Server) {
	if a.opts.output == outputJSON {
		line := map[string]string{
			"node_id": s.NodeID(), "listen": s.Addr(), "peer_listen": s.PeerAddr(), "gossip": s.GossipAddr(),
		}
		if s.HTTPAddr() != "" {
			line["http_listen"] = s.HTTPAddr()
		}
		_ = json.NewEncoder(a.stdout).Encode(line)
		return
	}
	http := ""
	if s.HTTPAddr() != "" {
		http = ", and over HTTP on " + s.HTTPAddr()
	}
	fmt.Fprintf(a.stdout, "spex: node %s is ready for clients on %s%s\n", s.NodeID(), s.Addr(), http)
}

// settingName is the environment variable of a flag.
func settingName(flag string) string {
	return "SPEX_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
