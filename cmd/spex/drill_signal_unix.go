//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps the signals of the terminal from the child: an interrupt is for the
// drill, which ends its processes itself.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// pause stops the process where it is.
func (p *process) pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// resume lets it go on.
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
