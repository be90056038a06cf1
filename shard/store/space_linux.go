package store

import (
	"errors"
	"os"
	"syscall"
)

func inodes(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	for {
		err = syscall.Statfs(dir, &st)
		if !errors.Is(err, syscall.EINTR) {
			return st.Ffree, st.Files, err
		}
	}
}

// allocate makes the file take its blocks without writing them.
func allocate(f *os.File, size int64) error {
	if size <= 0 {
		return nil
	}
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return writeZeros(f, size)
	}
	return err
}
