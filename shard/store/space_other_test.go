//go:build !linux

package store

import "io/fs"

func blocksOf(fs.FileInfo) int64 { return 0 }
