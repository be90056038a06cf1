//go:build !linux

package main

import "os/exec"

// dieWithParent does nothing here: should this process be killed, its children stay.
func dieWithParent(*exec.Cmd) {}
