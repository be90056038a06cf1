//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// network joins the hosts of the nodes: a bridge with a space for each of them on
// it, and the test too; or the loopback with proxies.
type network struct {
	prefix string // of all addresses
	moved  int    // how many hosts have had another address

	mu      sync.Mutex // guards the fields below, which the proxies read
	hosts   []*host
	cuts    []cut
	delays  map[*host]time.Duration
	over    bool          // nothing is cut any more
	changed chan struct{} // closed when a rule is another one
}

// host is the place of a node in the network. It has a space or a proxy.
type host struct {
	*space
	proxy                *proxy
	net                  *network
	index                int
	address              string
	client, peer, gossip int // ports
}

// behind is how far above the ports that a proxy has those of its node are.
const behind = 1000

// begin starts a process on the host.
func (h *host) begin(cmd *exec.Cmd) error {
	if h.space != nil {
		return h.space.begin(cmd)
	}
	// Threads of this process end with it alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := h.proxy.begin(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// ended is called when the process of begin has.
func (h *host) ended() {
	if h.proxy != nil {
		h.proxy.end()
	}
}

func (h *host) at(port int) string { return net.JoinHostPort(h.address, fmt.Sprint(port)) }

// settle puts a node on the host: it gets the addresses, and the flags for them are returned.
func (h *host) settle(nd *node) []string {
	nd.begin, nd.ended = h.begin, h.ended
	nd.client, nd.peer, nd.gossip = h.at(h.client), h.at(h.peer), h.at(h.gossip)
	if h.proxy == nil {
		return []string{"--listen", nd.client, "--peer-listen", nd.peer, "--gossip", nd.gossip}
	}
	return []string{
		"--listen", nd.client, "--peer-listen", h.at(h.peer + behind), "--gossip", h.at(h.gossip + behind),
		"--peer-advertise", nd.peer, "--gossip-advertise", nd.gossip,
	}
}

// newNetwork makes the network. There is one at a time in a process.
func newNetwork() (*network, error) {
	w := &network{prefix: "10.77.0.", delays: map[*host]time.Duration{}, changed: make(chan struct{})}
	if !separate() {
		// Other processes do the same at the same time.
		w.prefix = fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
		return w, nil
	}
	return w, (*space)(nil).run(`link set lo up
link add spx type bridge
addr add `+w.prefix+`250/24 dev spx
link set spx up
`, "ip", "-batch", "-")
}

// add gives the network another host.
func (w *network) add() (*host, error) {
	n := len(w.hosts) + 1
	h := &host{net: w, index: n - 1, address: fmt.Sprintf("%s%d", w.prefix, n), client: 7301, peer: 7501, gossip: 7401}
	if !separate() {
		h.proxy = &proxy{w: w, host: h, conns: map[net.Conn]bool{}}
	} else {
		s, err := newSpace()
		if err != nil {
			return nil, err
		}
		h.space = s
	}
	w.change(func() { w.hosts = append(w.hosts, h) })
	if !separate() {
		return h, nil
	}
	err := (*space)(nil).run(fmt.Sprintf("link add spx%d type veth peer name eth0 netns %d\nlink set spx%d master spx up\n", n, h.tid, n), "ip", "-batch", "-")
	if err != nil {
		return nil, err
	}
	return h, h.run("link set lo up\naddr add "+h.address+"/24 dev eth0\nlink set eth0 up\n", "ip", "-batch", "-")
}

// move gives a host an address that no host ever had. No process runs on it.
func (h *host) move() error {
	old := h.address
	h.net.moved++
	h.net.change(func() { h.address = fmt.Sprintf("%s%d", h.net.prefix, 100+h.net.moved) })
	if h.space == nil {
		return nil
	}
	// In this order: the first address takes the others of its subnet with it.
	return h.run(fmt.Sprintf("addr del %s/24 dev eth0\naddr add %s/24 dev eth0\n", old, h.address), "ip", "-batch", "-")
}

// close removes the network.
func (w *network) close() error {
	w.change(func() { w.over = true })
	if !separate() {
		for _, h := range w.hosts {
			h.proxy.close()
		}
		return nil
	}
	// The hosts' ends go with the others at once; the spaces go later.
	script := "link del spx\n"
	for _, h := range w.hosts {
		script += fmt.Sprintf("link del spx%d\n", h.index+1)
	}
	err := (*space)(nil).run(script, "ip", "-batch", "-")
	for _, h := range w.hosts {
		h.space.close()
	}
	w.hosts = nil
	return err
}

// cut is traffic that one host does not get.
type cut struct {
	to, from *host
	// protocol is "tcp", "udp", or "" for all.
	protocol string
	// loss is how many packets of a hundred are lost; 0 means all.
	loss int
}

// rules replaces all cuts of the network. What is cut off is dropped without a
// word, also on connections that exist. The clients reach every node always.
func (w *network) rules(cuts ...cut) error {
	if !separate() {
		w.change(func() { w.cuts = cuts })
		return nil
	}
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
			if c.loss > 0 {
				fmt.Fprintf(&b, " numgen random mod 100 < %d", c.loss)
			}
			b.WriteString(" drop\n")
		}
		b.WriteString(" }\n}\n")
		errs = append(errs, h.run(b.String(), "nft", "-f", "-"))
	}
	return errors.Join(errs...)
}

// slow has everything that a host sends take about d longer, from half of it to
// half as much again; 0 ends that. In a network of its own the clients feel it too.
func (w *network) slow(h *host, d time.Duration) error {
	if !separate() {
		w.change(func() { w.delays[h] = d })
		return nil
	}
	if d == 0 {
		return h.run("", "tc", "qdisc", "del", "dev", "eth0", "root")
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
	return h.run("", "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", ms(d), ms(d/2))
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
				cuts = append(cuts, cut{to: t, from: f, protocol: protocol})
			}
		}
	}
	return cuts
}
