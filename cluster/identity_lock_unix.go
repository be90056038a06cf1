//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package cluster

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lockDirectory takes an advisory lock that the kernel gives back when the
// process ends in whatever way, so that a kill leaves nothing to clean up. The
// file itself stays: removing it would let two processes lock two files of
// one name.
func lockDirectory(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		cerr := f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrDirectoryInUse
		}
		return nil, errors.Join(err, cerr)
	}
	return f, nil
}
