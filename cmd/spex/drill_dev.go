package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spexio/spex/drill"
)

// drillCluster is a cluster of processes of this program, on loopback.
type drillCluster struct {
	a     *app
	dir   string
	nodes []*drillProcess
}

// drillProcess is one of them.
type drillProcess struct {
	name, client string
	args         []string
	log          string
	proc         *process
}

// process is one that is broken, mostly a child of this program. Its methods are called by one goroutine.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	// foreign is set for a process that is not a child: nobody can wait for it, and
	// done says nothing.
	foreign bool
}

// startProcess runs a command in the background; its output goes to a file, or
// to ours without one.
func startProcess(name string, args []string, log string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if log != "" {
		out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	ownGroup(cmd)
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	return p, nil
}

func (p *process) running() bool {
	if p.foreign {
		return true
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends it at once, also when it is paused.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && (p.foreign || !errors.Is(err, os.ErrProcessDone)) {
		return err
	}
	<-p.done
	return nil
}

// startDrillCluster starts the processes and waits until clients are served.
func (a *app) startDrillCluster(ctx context.Context, f *drillFlags) (_ *drillCluster, err error) {
	for _, k := range f.faults {
		if drill.FaultKind(k) == drill.Isolate {
			return nil, usagef("--dev cannot isolate nodes that share one loopback: use --faults kill,pause, or agents with --isolate-command")
		}
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "spex-drill-")
	if err != nil {
		return nil, err
	}
	d := &drillCluster{a: a, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(true))
		}
	}()
	ports, err := freePorts(3 * f.dev)
	if err != nil {
		return nil, err
	}
	var join []string
	for i := range f.dev {
		join = append(join, ports[3*i+2])
	}
	for i := range f.dev {
		name := fmt.Sprintf("n%d", i+1)
		p := &drillProcess{name: name, client: ports[3*i], log: filepath.Join(dir, name+".log")}
		p.args = []string{
			"server", "--name", name, "--cluster", "drill", "--data-dir", filepath.Join(dir, name), "--listen", p.client,
			"--peer-listen", ports[3*i+1], "--gossip", ports[3*i+2], "--join", strings.Join(join, ","),
			"--expect", fmt.Sprint(f.dev), "--shards", fmt.Sprint(f.shards),
		}
		d.nodes = append(d.nodes, p)
		if p.proc, err = startProcess(program, p.args, p.log); err != nil {
			return nil, err
		}
	}
	a.notef("drill: %d nodes with %d shards; their data and logs are in %s", f.dev, f.shards, dir)
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	for _, p := range d.nodes {
		if err := p.awaitReady(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// awaitReady waits for the line that a server prints when it serves.
func (p *drillProcess) awaitReady(ctx context.Context) error {
	for {
		if logHas(p.log, "is ready for clients") {
			return nil
		}
		select {
		case <-p.proc.done:
			return fmt.Errorf("node %s has ended: see %s", p.name, p.log)
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready in time: see %s", p.name, p.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func logHas(path, text string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.Contains(s.Text(), text) {
			return true
		}
	}
	return false
}

// freePorts asks the system for addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func (d *drillCluster) addresses() []string {
	var list []string
	for _, p := range d.nodes {
		list = append(list, p.client)
	}
	return list
}

// Nodes implements drill.Breaker.
func (d *drillCluster) Nodes() []string {
	var list []string
	for _, p := range d.nodes {
		list = append(list, p.name)
	}
	return list
}

func (d *drillCluster) node(name string) *drillProcess {
	for _, p := range d.nodes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Break implements drill.Breaker.
func (d *drillCluster) Break(_ context.Context, node string, kind drill.FaultKind) error {
	p := d.node(node)
	if kind == drill.Kill {
		return p.proc.kill()
	}
	return p.proc.pause()
}

// Mend implements drill.Breaker.
func (d *drillCluster) Mend(_ context.Context, node string, kind drill.FaultKind) error {
	p := d.node(node)
	if kind == drill.Pause {
		return p.proc.resume()
	}
	if p.proc.running() {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	p.proc, err = startProcess(program, p.args, p.log)
	return err
}

// close ends the processes. Their data and logs go away, unless the drill has failed.
func (d *drillCluster) close(failed bool) error {
	var errs []error
	for _, p := range d.nodes {
		if p.proc != nil {
			errs = append(errs, p.proc.kill())
		}
	}
	if failed {
		d.a.notef("drill: the cluster is stopped; its data and logs are left in %s", d.dir)
	} else {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
