//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/drill"
)

// binary is the spex that TestMain built.
var binary string

func TestMain(m *testing.M) {
	// How full the disk of this machine is must not matter: the test of full disks
	// makes its own, and sets the limits by flags.
	for _, limit := range []string{"SPEX_SPACE_LOW", "SPEX_SPACE_STOP"} {
		if err := os.Setenv(limit, "0"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	// Where those who are not root do not have ip, nft and tc in their path.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if binary = os.Getenv("SPEX_E2E_BINARY"); binary != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "spex-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "spex")
	build := exec.Command("go", "build", "-o", binary, "github.com/spexio/spex/cmd/spex")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build spex: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// long leaves a test out of the selection of -short, and says what runs it.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skipf("NOT RUN with -short: go test -tags e2e ./test/e2e/ -timeout 1h -v -run '%s'", exactly(t.Name()))
	}
}

// exactly is the pattern of -run for one test or subtest.
func exactly(test string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(test), "/", "$/^") + "$"
}

// node is one server process and what it needs to be started again.
type node struct {
	name, dir            string
	client, peer, gossip string
	args                 []string
	// binary is the program if it is not the usual one, and env what its
	// environment has beside ours.
	binary string
	env    []string
	// begin starts the process, if not with its Start, and ended hears that it ended.
	begin func(*exec.Cmd) error
	ended func()

	cmd   *exec.Cmd
	ready chan string   // gets the line that says so
	done  chan struct{} // closed when the process has ended
	err   error         // of Wait, after done
}

// servers are the nodes of one cluster.
type servers struct {
	t     *testing.T
	dir   string
	nodes []*node
	extra []string
}

// startServers starts n servers that form a cluster and waits until all serve.
func startServers(t *testing.T, n int, extra ...string) *servers {
	t.Helper()
	s := newServers(t, n, extra...)
	for _, nd := range s.nodes {
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, 60*time.Second)
	}
	return s
}

// newServers prepares n servers that will form a cluster.
func newServers(t *testing.T, n int, extra ...string) *servers {
	t.Helper()
	dir, err := os.MkdirTemp("", "spex-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{t: t, dir: dir, extra: extra}
	ports := freePorts(t, 3*n)
	var join []string
	for i := range n {
		join = append(join, ports[3*i+2])
	}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		nd := &node{name: name, dir: filepath.Join(dir, name), client: ports[3*i], peer: ports[3*i+1], gossip: ports[3*i+2]}
		nd.args = append([]string{
			"server", "--name", name, "--data-dir", nd.dir, "--listen", nd.client, "--peer-listen", nd.peer, "--gossip", nd.gossip,
			"--expect", fmt.Sprint(n),
		}, extra...)
		if n > 1 {
			nd.args = append(nd.args, "--join", strings.Join(join, ","))
		}
		s.nodes = append(s.nodes, nd)
	}
	t.Cleanup(s.cleanup)
	return s
}

// freePorts asks the system for ports. Somebody else may take one before the
// server does; nothing else on the machine hands out so many.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func (s *servers) cleanup() {
	for _, nd := range s.nodes {
		if nd.running() {
			_ = nd.cmd.Process.Kill()
			<-nd.done
		}
	}
	if s.t.Failed() {
		s.t.Logf("the logs of the servers are in %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir)
}

func (nd *node) running() bool {
	if nd.cmd == nil {
		return false
	}
	select {
	case <-nd.done:
		return false
	default:
		return true
	}
}

// start runs the node's process; its log is appended to NAME.log.
func (s *servers) start(nd *node) {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, nd.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(cmp.Or(nd.binary, binary), nd.args...)
	cmd.Env = append(os.Environ(), nd.env...)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	begin := cmd.Start
	if nd.begin != nil {
		begin = func() error { return nd.begin(cmd) }
	}
	if err := begin(); err != nil {
		s.t.Fatal(err)
	}
	nd.cmd, nd.ready, nd.done = cmd, make(chan string, 1), make(chan struct{})
	go func() {
		defer close(nd.done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			select {
			case nd.ready <- lines.Text():
			default:
			}
		}
		nd.err = cmd.Wait()
		if nd.ended != nil {
			nd.ended()
		}
	}()
}

func (s *servers) awaitReady(nd *node, patience time.Duration) {
	s.t.Helper()
	select {
	case line := <-nd.ready:
		if !strings.Contains(line, "ready") || !strings.Contains(line, nd.client) {
			s.t.Fatalf("%s printed %q", nd.name, line)
		}
	case <-nd.done:
		s.t.Fatalf("%s ended before it was ready: %v", nd.name, nd.err)
	case <-time.After(patience):
		s.t.Fatalf("%s is not ready after %s", nd.name, patience)
	}
}

// kill ends the process as a power failure would: it gets no chance to say goodbye.
func (s *servers) kill(nd *node) {
	s.t.Helper()
	if err := nd.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	<-nd.done
}

// terminate asks the process to stop, and returns its exit status.
func (s *servers) terminate(nd *node, patience time.Duration) int {
	s.t.Helper()
	if err := nd.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-nd.done:
	case <-time.After(patience):
		s.t.Fatalf("%s has not stopped %s after SIGTERM", nd.name, patience)
	}
	return nd.cmd.ProcessState.ExitCode()
}

// checkRemoved wants a node to have ended because it was told that the cluster has
// removed it, and by nothing else.
func (s *servers) checkRemoved(nd *node) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, nd.name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	if code := nd.cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(text), "was removed from the cluster") {
		s.t.Fatalf("%s ended with %v, want exit status 3 and that it says that it was removed", nd.name, nd.err)
	}
}

func (s *servers) addresses() []string {
	var addrs []string
	for _, nd := range s.nodes {
		addrs = append(addrs, nd.client)
	}
	return addrs
}

func (s *servers) byID(id string) *node {
	for _, nd := range s.nodes {
		if strings.HasPrefix(id, nd.name+"-") {
			return nd
		}
	}
	s.t.Fatalf("no node has the id %q", id)
	return nil
}

func (s *servers) dial() *client.Client {
	s.t.Helper()
	c, err := client.Dial(context.Background(), client.Options{Addresses: s.addresses(), Timeout: 30 * time.Second, Spread: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// result is what a finished command left.
type result struct {
	stdout, stderr string
	code           int
}

// command is a client command that is under way.
type command struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func (s *servers) begin(args ...string) *command {
	s.t.Helper()
	return begin(s.t, append([]string{"SPEX_ADDR=" + strings.Join(s.addresses(), ",")}, os.Environ()...), args...)
}

func begin(t *testing.T, env []string, args ...string) *command {
	t.Helper()
	c := &command{cmd: exec.Command(binary, args...)}
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = env, &c.stdout, &c.stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *command) wait() result {
	err := c.cmd.Wait()
	code := c.cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		code = -1
	}
	return result{c.stdout.String(), c.stderr.String(), code}
}

// spex runs a client command to its end and wants it to succeed.
func (s *servers) spex(args ...string) string {
	s.t.Helper()
	r := s.begin(args...).wait()
	if r.code != 0 {
		s.t.Fatalf("spex %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not the JSON that was expected: %v\n%s", err, text)
	}
	return v
}

// status is the part of `spex cluster status -o json` that the tests look at.
type status struct {
	Nodes   []struct{ ID, Name string } `json:"nodes"`
	Catalog shardStatus                 `json:"catalog"`
	Shards  []shardStatus               `json:"shards"`
}

type shardStatus struct {
	ID       int    `json:"id"`
	Leader   string `json:"leader"`
	Term     uint64 `json:"term"`
	Replicas []struct {
		NodeID string `json:"node_id"`
		State  string `json:"state"`
	} `json:"replicas"`
}

func (s *servers) status(args ...string) status {
	s.t.Helper()
	return decode[status](s.t, s.spex(append([]string{"cluster", "status", "-o", "json"}, args...)...))
}

// busiest is the node that leads most shards.
func (s *servers) busiest() *node {
	count := map[string]int{}
	best := ""
	for _, sh := range s.status().Shards {
		if count[sh.Leader]++; sh.Leader != "" && count[sh.Leader] > count[best] {
			best = sh.Leader
		}
	}
	return s.byID(best)
}

// awaitAgreement waits until every replica of every group has applied the same
// index and has the same state hash.
func (s *servers) awaitAgreement(patience time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := s.dial()
	for {
		st, err := c.Status(ctx, true)
		odd := drill.Disagreement(st)
		if err == nil && odd == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("the replicas do not agree after %s: %v %s", patience, err, strings.Join(odd, "; "))
		}
		wait(100 * time.Millisecond)
	}
}

// wait paces polling of other processes, whose clocks no test can drive.
func wait(d time.Duration) { <-time.After(d) }
