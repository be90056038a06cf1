package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the child should this process be killed. Linux watches the
// thread that started it; Go ends none that nobody has locked.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL }
