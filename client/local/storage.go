package local

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/spexio/spex/fsm"
)

// target says which of the two machines an entry or a snapshot belongs to.
type target byte

const (
	toCatalog target = 'c'
	toShard   target = 's'
)

// storage keeps the log of commands and snapshots of what they lead to.
type storage interface {
	// append adds the next entry; with sync it is on disk when append returns, and
	// so is everything before it.
	append(index uint64, to target, entry []byte, sync bool) error
	// load hands the newest snapshot to restore, if there is one, and the entries
	// after it to replay, in order. It returns the index of the last entry.
	load(restore func(to target, r io.Reader) error, replay func(index uint64, to target, entry []byte) error) (last uint64, err error)
	// snapshot replaces the log up to index by the views; it may run beside append.
	snapshot(index uint64, views map[target]fsm.Snapshot) error
	// identity names what is stored here, for as long as it is there.
	identity() (identity, error)
	close() error
}

// identity is random: two directories do not have the same one, unless one is a
// copy of the other.
type identity [8]byte

func newIdentity() (id identity) {
	_, _ = rand.Read(id[:]) // it does not fail
	return id
}

// memory is the storage of a manager without a directory.
type memory struct{}

func (memory) append(uint64, target, []byte, bool) error { return nil }
func (memory) load(func(target, io.Reader) error, func(uint64, target, []byte) error) (uint64, error) {
	return 0, nil
}
func (memory) snapshot(uint64, map[target]fsm.Snapshot) error { return nil }
func (memory) identity() (identity, error)                    { return newIdentity(), nil }
func (memory) close() error                                   { return nil }

// Keys: 'v' the format; 'i' the identity, which directories of earlier builds get
// when they are opened; 'l' index the log; 'm' the index of the newest snapshot;
// 's' index target chunk the snapshots. Pebble frames and checksums what it stores.
const (
	formatVersion = 1
	snapshotChunk = 1 << 20
	// marker is a file that is in every directory before the store is.
	marker = "SPEX-LOCAL"
)

var errForeign = errors.New("it is neither empty nor a directory of a Spex manager in process: give an empty one")

// disk keeps everything in one Pebble store.
type disk struct {
	db   *pebble.DB
	lock *pebble.Lock
	// broken is set once Pebble has given up: its locks are in an unknown state, and
	// closing it could wait for ever.
	broken atomic.Bool
}

func openDisk(dir string, log *slog.Logger) (_ *disk, err error) {
	d := &disk{}
	defer d.recover(&err)
	marked, err := claim(dir)
	if err != nil {
		return nil, err
	}
	// Taken here, since Pebble leaves a goroutine behind when it does not get it.
	if d.lock, err = pebble.LockDirectory(dir, vfs.Default); err != nil {
		return nil, fmt.Errorf("another process may have it open: %w", err)
	}
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	opts := pebble.Options{Cache: cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 8 << 20, Logger: logger{log}, Lock: d.lock}
	if !marked {
		err = adopt(dir, opts)
	}
	if err == nil {
		d.db, err = pebble.Open(dir, &opts)
	}
	if err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	v, err := d.get([]byte{'v'})
	switch {
	case err == nil && v == nil:
		err = d.db.Set([]byte{'v'}, []byte{formatVersion}, pebble.Sync)
	case err == nil && (len(v) != 1 || v[0] != formatVersion):
		err = fmt.Errorf("the directory is of format %v, this build reads %d: use the release that wrote it", v, formatVersion)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// claim makes sure that a directory is there and may be ours, and leaves a foreign
// one as it is. One without a marker that has a store may be of an earlier build.
func claim(dir string) (marked bool, err error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return false, errors.New("it is a file: give a directory")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(names, func(f os.DirEntry) bool { return f.Name() == marker }) {
		return true, nil
	}
	if len(names) == 0 {
		return true, mark(dir)
	}
	if store, err := pebble.Peek(dir, vfs.Default); err != nil || !store.Exists {
		return false, errForeign
	}
	return false, nil
}

func mark(dir string) error {
	return os.WriteFile(filepath.Join(dir, marker), []byte("This is the state of a Spex manager in process, for it alone.\n"), 0o644)
}

// adopt marks a directory that an earlier build made, which the store in it tells.
func adopt(dir string, opts pebble.Options) error {
	opts.ReadOnly = true
	db, err := pebble.Open(dir, &opts)
	if err != nil {
		return err
	}
	v, err := (&disk{db: db}).get([]byte{'v'})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if len(v) != 1 {
		return errForeign
	}
	return mark(dir)
}

// recover makes an error of Pebble giving up in the middle of a call; deferred.
func (d *disk) recover(err *error) {
	if r := recover(); r != nil {
		f, ok := r.(fatal)
		if !ok {
			panic(r)
		}
		d.broken.Store(true)
		*err = f.err
	}
}

func (d *disk) get(key []byte) ([]byte, error) {
	v, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, v...), closer.Close()
}

func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'l'}, index) }

func snapshotKey(index uint64, to target, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(append(binary.BigEndian.AppendUint64([]byte{'s'}, index), byte(to)), chunk)
}

func (d *disk) append(index uint64, to target, entry []byte, sync bool) (err error) {
	defer d.recover(&err)
	return d.db.Set(logKey(index), append([]byte{byte(to)}, entry...), &pebble.WriteOptions{Sync: sync})
}

func (d *disk) load(restore func(target, io.Reader) error, replay func(uint64, target, []byte) error) (last uint64, err error) {
	defer d.recover(&err)
	m, err := d.get([]byte{'m'})
	if err != nil {
		return 0, err
	}
	var from uint64
	if m != nil {
		if len(m) != 8 {
			return 0, errors.New("the manifest is damaged")
		}
		from = binary.BigEndian.Uint64(m)
		for _, to := range []target{toCatalog, toShard} {
			if err := restore(to, &snapshotReader{d: d, index: from, to: to}); err != nil {
				return 0, err
			}
		}
	}
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: logKey(from + 1), UpperBound: []byte{'l' + 1}})
	if err != nil {
		return 0, err
	}
	want := from + 1
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		index, value := binary.BigEndian.Uint64(it.Key()[1:]), it.Value()
		if index != want || len(value) == 0 {
			err = fmt.Errorf("the log goes on with entry %d where %d was expected", index, want)
			break
		}
		err = replay(index, target(value[0]), append([]byte{}, value[1:]...))
		want++
	}
	return want - 1, errors.Join(err, it.Error(), it.Close())
}

// snapshotReader reads the chunks of one view.
type snapshotReader struct {
	d     *disk
	index uint64
	to    target
	next  uint32
	buf   []byte
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	if len(r.buf) == 0 {
		chunk, err := r.d.get(snapshotKey(r.index, r.to, r.next))
		if err != nil {
			return 0, err
		}
		if chunk == nil {
			return 0, io.EOF // a snapshot has a trailer that tells when something is missing
		}
		r.next++
		r.buf = chunk
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// snapshotWriter stores chunks of one view, not yet synced.
type snapshotWriter struct {
	d     *disk
	index uint64
	to    target
	next  uint32
	buf   []byte
}

func (w *snapshotWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	for len(w.buf) >= snapshotChunk {
		if err := w.store(w.buf[:snapshotChunk]); err != nil {
			return 0, err
		}
		w.buf = append([]byte{}, w.buf[snapshotChunk:]...)
	}
	return len(p), nil
}

func (w *snapshotWriter) store(chunk []byte) error {
	w.next++
	return w.d.db.Set(snapshotKey(w.index, w.to, w.next-1), chunk, pebble.NoSync)
}

func (d *disk) snapshot(index uint64, views map[target]fsm.Snapshot) (err error) {
	defer d.recover(&err)
	for _, to := range []target{toCatalog, toShard} {
		w := &snapshotWriter{d: d, index: index, to: to}
		if _, err := views[to].WriteTo(w); err != nil {
			return err
		}
		if err := w.store(w.buf); err != nil {
			return err
		}
	}
	// The log of Pebble is in order: with the manifest all chunks are on disk.
	b := d.db.NewBatch()
	err = errors.Join(
		b.Set([]byte{'m'}, binary.BigEndian.AppendUint64(nil, index), nil),
		b.DeleteRange(logKey(0), logKey(index+1), nil),
		b.DeleteRange(snapshotKey(0, 0, 0), snapshotKey(index, 0, 0), nil),
	)
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	return errors.Join(err, b.Close())
}

func (d *disk) identity() (id identity, err error) {
	defer d.recover(&err)
	v, err := d.get([]byte{'i'})
	if err != nil {
		return id, err
	}
	if v == nil {
		id = newIdentity()
		return id, d.db.Set([]byte{'i'}, id[:], pebble.Sync)
	}
	if len(v) != len(id) {
		return id, errors.New("the identity of the directory is damaged")
	}
	return identity(v), nil
}

func (d *disk) close() (err error) {
	defer d.recover(&err)
	if d.broken.Load() {
		return nil
	}
	return errors.Join(d.db.Close(), d.lock.Close())
}

// logger takes Pebble's log lines, of which only errors are news.
type logger struct{ log *slog.Logger }

type fatal struct{ err error }

func (l logger) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf must not return into Pebble, which cannot go on; the panic becomes the
// error of the write that met it.
func (l logger) Fatalf(format string, args ...any) {
	panic(fatal{fmt.Errorf("pebble: "+format, args...)})
}
