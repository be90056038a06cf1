//go:build e2e && linux

package e2e

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Environment of a test that runs again in a network of its own.
const (
	envNetwork   = "SPEX_E2E_NETWORK"    // set in the network, or to noNetwork
	envBinary    = "SPEX_E2E_BINARY"     // the spex that was built outside of it
	envFailpoint = "SPEX_E2E_FAILPOINTS" // the one with failpoints
)

// noNetwork is the value of envNetwork where there is none to be had.
const noNetwork = "none"

// separate reports whether the nodes have networks of their own.
func separate() bool { return os.Getenv(envNetwork) != noNetwork }

// namespaces are the attributes of a process that gets a network of its own.
// Without root it gets a user namespace, in which it is root.
func namespaces() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// canSeparate tries whether this machine lets us make networks.
func canSeparate() error {
	probe := exec.Command("ip", "link", "add", "spx", "type", "bridge")
	probe.SysProcAttr = namespaces()
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return nil
}

// outside is what a test needs that runs again, in a process with a network of
// its own.
type outside struct {
	env  []string
	attr *syscall.SysProcAttr
}

// prepare finds out what this machine gives, and builds what the processes in the
// network need. Where there are no networks to be had it says so.
func prepare(t *testing.T, build ...func() (string, error)) outside {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the chaos tests need %s: apt-get install iproute2 nftables", tool)
		}
	}
	o := outside{env: []string{envNetwork + "=1", envBinary + "=" + binary}, attr: namespaces()}
	if err := canSeparate(); err != nil {
		t.Logf("NO FAULTS OF THE NETWORK ARE TESTED: this machine gives no network namespaces: %v", err)
		o.env[0], o.attr = envNetwork+"="+noNetwork, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	for _, f := range build {
		path, err := f()
		if err != nil {
			t.Fatal(err)
		}
		o.env = append(o.env, envFailpoint+"="+path)
	}
	return o
}

// run runs a test again, in a process with a network of its own, to its end. The
// lines that it prints get the prefix.
func (o outside) run(t *testing.T, test, prefix string, flags ...string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append(append(passedFlags(), "-test.run=^"+test+"$", "-test.v"), flags...)...)
	cmd.Env = append(os.Environ(), o.env...)
	cmd.SysProcAttr = o.attr
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			// Not at the beginning, so that nobody takes its lines for results of this process.
			fmt.Println("    " + prefix + lines.Text())
		}
	}()
	// The signal at the death of the parent comes when its thread dies.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	_ = in.Close()
	<-printed
	if err != nil {
		t.Fatalf("%s%s in a network of its own: %v", prefix, test, err)
	}
}

// inside reports whether this process has the network that its test runs in.
func inside() bool { return os.Getenv(envNetwork) != "" }

// inNetwork runs the calling test again, in a process with a network of its own,
// and returns true in that process alone. In it nothing is shared with the
// machine: it may make bridges and rules, choose addresses and ports, and all of
// it is gone when the process is. Where the machine does not allow that, the
// nodes share the loopback: then only processes can fail. A binary that the
// test needs is built before.
func inNetwork(t *testing.T, build ...func() (string, error)) bool {
	t.Helper()
	if !inside() {
		prepare(t, build...).run(t, t.Name(), "")
		return false
	}
	return true
}

// passedFlags are the flags of this process that the one in the network gets.
func passedFlags() []string {
	var flags []string
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "test.run", "test.v", "test.testlogfile", "test.coverprofile", "test.gocoverdir":
		default:
			flags = append(flags, "-"+f.Name+"="+f.Value.String())
		}
	})
	return flags
}

// space is a network namespace. A thread keeps it, which ends with the space.
type space struct {
	tid  int
	jobs chan func()
}

func newSpace() (*space, error) {
	s := &space{jobs: make(chan func())}
	born := make(chan error)
	go func() {
		// Not unlocked: the thread is in the namespace and must not serve others.
		runtime.LockOSThread()
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			born <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		s.tid = syscall.Gettid()
		born <- nil
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-born; err != nil {
		return nil, err
	}
	return s, nil
}

// close ends the thread, and with it every process that was started in the space.
func (s *space) close() { close(s.jobs) }

// begin starts a process in the space.
func (s *space) begin(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error, 1)
	s.jobs <- func() { done <- cmd.Start() }
	return <-done
}

// run runs a command in the space, with text as its input, to its end. A nil
// space is that of the test.
func (s *space) run(text string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(text)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := cmd.Start
	if s != nil {
		start = func() error { return s.begin(cmd) }
	}
	err := start()
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out.String(), text)
	}
	return nil
}

// network is a bridge with a space for each node on it. The test is on it too.
type network struct {
	hosts []*host
}

// host is the place of a node in the network. On the loopback it has no space,
// and ports of its own.
type host struct {
	*space
	index                int
	address              string
	client, peer, gossip int // ports
}

// begin starts a process on the host.
func (h *host) begin(cmd *exec.Cmd) error {
	if h.space == nil {
		return cmd.Start()
	}
	return h.space.begin(cmd)
}

func (h *host) at(port int) string { return net.JoinHostPort(h.address, fmt.Sprint(port)) }

// takePorts gives a host on the loopback other ports.
func (h *host) takePorts() error {
	for _, p := range []*int{&h.client, &h.peer, &h.gossip} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*p = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

const clientAddress = "10.77.0.250"

// newNetwork makes the bridge. There is one at a time in a process.
func newNetwork() (*network, error) {
	if !separate() {
		return &network{}, nil
	}
	return &network{}, (*space)(nil).run(`link set lo up
link add spx type bridge
addr add `+clientAddress+`/24 dev spx
link set spx up
`, "ip", "-batch", "-")
}

// add gives the network another host.
func (w *network) add() (*host, error) {
	if !separate() {
		h := &host{index: len(w.hosts), address: "127.0.0.1"}
		w.hosts = append(w.hosts, h)
		return h, h.takePorts()
	}
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	n := len(w.hosts) + 1
	h := &host{space: s, index: n - 1, address: fmt.Sprintf("10.77.0.%d", n), client: 7301, peer: 7501, gossip: 7401}
	w.hosts = append(w.hosts, h)
	err = (*space)(nil).run(fmt.Sprintf("link add spx%d type veth peer name eth0 netns %d\nlink set spx%d master spx up\n", n, s.tid, n), "ip", "-batch", "-")
	if err != nil {
		return nil, err
	}
	return h, s.run("link set lo up\naddr add "+h.address+"/24 dev eth0\nlink set eth0 up\n", "ip", "-batch", "-")
}

// move gives a host an address that no host ever had.
func (h *host) move(address string) error {
	if h.space == nil {
		return h.takePorts()
	}
	old := h.address
	h.address = address
	// In this order: the first address takes the others of its subnet with it.
	return h.run(fmt.Sprintf("addr del %s/24 dev eth0\naddr add %s/24 dev eth0\n", old, address), "ip", "-batch", "-")
}

// close removes the network.
func (w *network) close() error {
	if !separate() {
		return nil
	}
	// The hosts' ends go with the others at once; the spaces go later.
	script := "link del spx\n"
	for _, h := range w.hosts {
		script += fmt.Sprintf("link del spx%d\n", h.index+1)
	}
	err := (*space)(nil).run(script, "ip", "-batch", "-")
	for _, h := range w.hosts {
		h.close()
	}
	w.hosts = nil
	return err
}

// cut is traffic that one host does not get.
type cut struct {
	to, from *host
	// protocol is "tcp", "udp", or "" for all.
	protocol string
}

// rules replaces all cuts of the network. What is cut off is dropped without a
// word, also on connections that exist. The clients reach every node always.
func (w *network) rules(cuts ...cut) error {
	var errs []error
	for _, h := range w.hosts {
		var b strings.Builder
		b.WriteString("add table inet chaos\nflush table inet chaos\ntable inet chaos {\n chain in {\n  type filter hook input priority 0;\n")
		for _, c := range cuts {
			if c.to != h {
				continue
			}
			fmt.Fprintf(&b, "  ip saddr %s", c.from.address)
			if c.protocol != "" {
				fmt.Fprintf(&b, " meta l4proto %s", c.protocol)
			}
			b.WriteString(" drop\n")
		}
		b.WriteString(" }\n}\n")
		errs = append(errs, h.run(b.String(), "nft", "-f", "-"))
	}
	return errors.Join(errs...)
}

// between cuts off two groups of hosts from each other.
func between(a, b []*host, protocol string) []cut {
	return append(into(a, b, protocol), into(b, a, protocol)...)
}

// into keeps what from sends away from to.
func into(to, from []*host, protocol string) []cut {
	var cuts []cut
	for _, t := range to {
		for _, f := range from {
			if t != f {
				cuts = append(cuts, cut{t, f, protocol})
			}
		}
	}
	return cuts
}
