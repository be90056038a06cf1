package cluster

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// sharingViolation is the error of opening a file that is open without sharing.
const sharingViolation = syscall.Errno(32)

// lockDirectory opens the lock file without sharing, which Windows undoes when
// the process ends in whatever way.
func lockDirectory(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, sharingViolation) {
		return nil, ErrDirectoryInUse
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), path), nil
}
