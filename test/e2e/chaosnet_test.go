//go:build e2e && linux

package e2e

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Environment of a test that runs again in a network of its own.
const (
	envNetwork   = "SPEX_E2E_NETWORK"    // ownNetwork or proxyNetwork, in that process
	envLacks     = "SPEX_E2E_LACKS"      // set where there is no netem
	envBinary    = "SPEX_E2E_BINARY"     // the spex that was built outside of it
	envFailpoint = "SPEX_E2E_FAILPOINTS" // the one with failpoints
)

// Values of envNetwork.
const (
	ownNetwork   = "own"   // each node has a network namespace
	proxyNetwork = "proxy" // the nodes share the loopback, and proxies stand between them
)

var chaosProxy = flag.Bool("chaos.proxy", false, "proxies between nodes on the loopback also where there are network namespaces")

// separate reports whether the nodes have networks of their own.
func separate() bool { return os.Getenv(envNetwork) == ownNetwork }

// canDelay reports whether what a node sends can be delayed.
func canDelay() bool { return os.Getenv(envLacks) == "" }

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
	for _, tool := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w (apt-get install iproute2 nftables)", err)
		}
	}
	return tryInNetwork("ip", "link", "add", "spx", "type", "bridge")
}

// tryInNetwork runs a command in a network that is gone afterwards.
func tryInNetwork(args ...string) error {
	probe := exec.Command(args[0], args[1:]...)
	probe.SysProcAttr = namespaces()
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// outside is what a test needs that runs again, in a process with a network of
// its own.
type outside struct {
	env  []string
	attr *syscall.SysProcAttr
}

// byProxy is for processes whose nodes share the loopback.
func byProxy() outside {
	return outside{env: []string{envNetwork + "=" + proxyNetwork, envBinary + "=" + binary}, attr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
}

// prepare finds out what this machine gives, and builds what the processes in the
// network need.
func prepare(t *testing.T, build ...func() (string, error)) outside {
	t.Helper()
	o := byProxy()
	err := canSeparate()
	if *chaosProxy {
		err = errors.New("-chaos.proxy")
	}
	if err != nil {
		t.Logf("the nodes share the loopback, with proxies between them: %v", err)
	} else {
		o.env[0], o.attr = envNetwork+"="+ownNetwork, namespaces()
		if err := tryInNetwork("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"); err != nil {
			t.Logf("NOT TESTED: delays between the nodes, this kernel has no netem (-chaos.proxy does without): %v", err)
			o.env = append(o.env, envLacks+"=netem")
		}
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
	cmd := exec.Command("/proc/self/exe", append(append(passedFlags(), "-test.run="+exactly(test), "-test.v"), flags...)...)
	cmd.Env = append(os.Environ(), o.env...)
	cmd.SysProcAttr = o.attr
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			// Not at the beginning, so that nobody takes its lines for results of this process.
			fmt.Println("    | " + prefix + lines.Text())
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
// it is gone when the process is. Where the machine does not allow that, the nodes
// share the loopback, and proxies stand between them. A binary that the test needs
// is built before.
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
