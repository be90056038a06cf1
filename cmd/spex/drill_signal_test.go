//go:build unix

package main

import (
	"syscall"
	"testing"
)

// TestStartProcessInItsOwnGroup: an interrupt of the terminal, which goes to the
// group of this process, does not reach the nodes that it runs.
func TestStartProcessInItsOwnGroup(t *testing.T) {
	p, err := startProcess("sleep", []string{"1000"}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	pid := p.cmd.Process.Pid
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process %d is in group %d: %v", pid, group, err)
	}
}
