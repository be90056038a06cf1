//go:build !unix

package main

import (
	"errors"
	"os/exec"
)

// ownGroup does nothing here: an interrupt of the terminal may reach the child too.
func ownGroup(*exec.Cmd) {}

var errNoPause = errors.New("this system cannot pause a process: use --faults kill")

func (p *process) pause() error { return errNoPause }

func (p *process) resume() error { return errNoPause }
