package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const tmpSuffix = ".tmp"

// openBolt opens an existing file. A file that another process holds is
// ErrInUse after a second.
func openBolt(path string) (*raftboltdb.BoltStore, error) {
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:      time.Second,
			FreelistType: bbolt.FreelistMapType,
			// The free list is rebuilt on open; writing it with each commit
			// would cost as much as the entry.
			NoFreelistSync: true,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// A process that was killed may have written its last commit and not synced it.
	// What we read we rely on, so it has to be on disk.
	if err := db.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("sync %s: %w", path, err), db.Close())
	}
	return db, nil
}

// createBolt makes a file with one key in it. It appears under its name whole
// and durable, or not at all: a torn file is never mistaken for a lost one.
func createBolt(path string, key, val []byte) (*raftboltdb.BoltStore, error) {
	tmp := path + tmpSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	db, err := openBolt(tmp)
	if err != nil {
		return nil, err
	}
	if err := db.Set(key, val); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return openBolt(path)
}

// boltGet returns nil without an error if there is no such key.
func boltGet(db *raftboltdb.BoltStore, key []byte) ([]byte, error) {
	val, err := db.Get(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, nil
	}
	return val, err
}

// syncDir makes the names in a directory durable. Windows cannot sync a
// directory and does not need to.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir creates dir durably if it is not there. Its parent exists.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
