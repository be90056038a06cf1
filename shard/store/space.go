package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Usage is the room of the file system that holds a directory, for a process
// without privileges. TotalInodes is 0 where the file system does not count
// them, or where we cannot ask.
type Usage struct {
	FreeBytes, TotalBytes   uint64
	FreeInodes, TotalInodes uint64
}

// String gives the usage for people.
func (u Usage) String() string {
	s := fmt.Sprintf("%s of %s free (%.1f %%)", byteSize(u.FreeBytes), byteSize(u.TotalBytes), percent(u.FreeBytes, u.TotalBytes))
	if u.TotalInodes > 0 {
		s += fmt.Sprintf(", %d of %d inodes free (%.1f %%)", u.FreeInodes, u.TotalInodes, percent(u.FreeInodes, u.TotalInodes))
	}
	return s
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// byteSize writes a number of bytes with three digits or so.
func byteSize(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/(1<<10), 0
	for size >= 1<<10 {
		size, unit = size/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", size, units[unit])
}

// DiskUsage measures the file system that holds dir.
func DiskUsage(dir string) (Usage, error) {
	disk, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return Usage{}, fmt.Errorf("measure the free space of %s: %w", dir, err)
	}
	// As df counts: blocks that are kept from us are neither free nor ours to use.
	u := Usage{FreeBytes: disk.AvailBytes, TotalBytes: disk.UsedBytes + disk.AvailBytes}
	if u.FreeInodes, u.TotalInodes, err = inodes(dir); err != nil {
		return Usage{}, fmt.Errorf("measure the free inodes of %s: %w", dir, err)
	}
	return u, nil
}

// OpenRoom is how many bytes opening a Store may need at most, beside a little
// for each group: Pebble writes what its memtables held when the process ended
// into tables before it begins a new log.
const OpenRoom = memTableCount*memTableSize + 4<<20

// reserveFile holds the reserve in its directory.
const reserveFile = "reserve"

// HoldReserve makes a file of size bytes in dir, for ReleaseReserve to give up
// when a start has no room any more. One that is there stays as it is. The file
// is not needed for anything else: an operator may delete it too.
func HoldReserve(dir string, size int64) (err error) {
	path := filepath.Join(dir, reserveFile)
	if there, err := exists(path); there || err != nil {
		return err
	}
	// Under another name until it is whole: half a reserve is none.
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(allocate(f, size), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("reserve %s in %s: %w", byteSize(uint64(size)), dir, errors.Join(err, os.Remove(tmp)))
	}
	return nil
}

// ReleaseReserve deletes the reserve and reports whether there was one.
func ReleaseReserve(dir string) (released bool, err error) {
	// What is left of a reserve in the making goes too.
	if err := os.Remove(filepath.Join(dir, reserveFile+tmpSuffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	err = os.Remove(filepath.Join(dir, reserveFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// writeZeros fills a file, for systems that cannot allocate blocks otherwise: a
// file of holes would reserve nothing.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for size > 0 {
		n, err := f.Write(zeros[:min(size, int64(len(zeros)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
