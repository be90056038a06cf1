//go:build !linux

package store

import "os"

func inodes(string) (free, total uint64, err error) { return 0, 0, nil }

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }
