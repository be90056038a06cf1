package store

import (
	"io/fs"
	"syscall"
)

func blocksOf(st fs.FileInfo) int64 { return st.Sys().(*syscall.Stat_t).Blocks }
