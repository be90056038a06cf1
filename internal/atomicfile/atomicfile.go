// Package atomicfile replaces files whole: after a crash or a failed write a
// reader finds either the old content or the new one, never a part of it.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile replaces the content of the file at path with data; see Write.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write replaces the file at path with what fill writes. The content goes to a
// temporary file in the same directory, which is synced to disk and then
// renamed over path; the directory is synced last, so that the new name
// survives a crash once Write has returned nil.
//
// The file gets the permissions perm, also when it existed with others. A
// symbolic link at path is replaced by a regular file. The directory must
// exist. When fill or any step before the rename fails, the old file is
// untouched and the temporary file is removed. Concurrent calls for one path
// are safe: the last rename wins.
func Write(path string, perm os.FileMode, fill func(io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if base == "" || base == "." || base == ".." {
		return fmt.Errorf("write %q: the path names a directory: give a file name", path)
	}
	// The leading dot and the suffix keep directory scans for *.spex or *.yaml
	// from taking a half written file for a real one.
	tmp, err := os.CreateTemp(dir, "."+base+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			// Closing twice is harmless: its error would hide the first one.
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := fillAndSync(tmp, perm, fill); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("write %s: the content is in place, but syncing its directory failed: %w", path, err)
	}
	return nil
}

// fillAndSync brings the whole content of the temporary file to disk and closes it.
func fillAndSync(tmp *os.File, perm os.FileMode, fill func(io.Writer) error) error {
	if err := fill(tmp); err != nil {
		return err
	}
	if err := tmp.Chmod(perm); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return tmp.Close()
}

// syncDir makes a rename in dir durable. Windows has no way to sync a
// directory, and renames there are journalled by the file system.
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
