package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Pebble's memory on a node: the block cache (Options.CacheBytes) plus at most
// memTableCount memtables. That bounds what the logs of all groups hold in
// memory, whatever the number of groups; raft's own LogCache, which counts
// entries per group and not bytes, is not used.
const (
	defaultCacheBytes = 64 << 20
	memTableSize      = 16 << 20
	memTableCount     = 4
)

// pebbleDB is the Pebble store that all groups of a node share.
type pebbleDB struct {
	*pebble.DB
	dir string
	log *pebbleLogger
}

func openPebble(dir string, o Options, l *latch) (*pebbleDB, error) {
	logger := &pebbleLogger{dir: dir, log: o.Logger, latch: l}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          o.FS, // nil is the disk, watched for slow operations
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTableCount,
		Logger:                      logger,
		EventListener:               logger.events(),
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open the log store %s: %w", dir, err)
	}
	return &pebbleDB{DB: db, dir: dir, log: logger}, nil
}

// commit fills a batch, commits it and returns when it is on disk. When Pebble
// gives up in the middle the panic of its logger ends here as an error.
func (db *pebbleDB) commit(fill func(b *pebble.Batch) error) (err error) {
	defer db.recoverFatal(&err)
	b := db.NewBatch()
	if err := fill(b); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	return b.Close()
}

// recoverFatal makes the panic of Pebble's logger an error; it is deferred.
func (*pebbleDB) recoverFatal(err *error) {
	if r := recover(); r != nil {
		fatal, ok := r.(pebbleFatal)
		if !ok {
			panic(r)
		}
		*err = fatal.err
	}
}

func (db *pebbleDB) set(key, val []byte) error {
	return db.commit(func(b *pebble.Batch) error { return b.Set(key, val, nil) })
}

// note stores a value that may be lost with the machine.
func (db *pebbleDB) note(key, val []byte) (err error) {
	defer db.recoverFatal(&err)
	return db.Set(key, val, pebble.NoSync)
}

// getCopy returns nil without an error if there is no such key.
func (db *pebbleDB) getCopy(key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, db.named(err)
	}
	return append([]byte{}, v...), closer.Close()
}

// named says where an error of Pebble comes from: Pebble names a file by its number.
func (db *pebbleDB) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("log store %s: %w", db.dir, err)
}

// close closes Pebble, unless it has given up: then its locks are in an
// unknown state, closing could wait for ever, and the process is ending.
func (db *pebbleDB) close() error {
	if db.log.broken.Load() {
		return nil
	}
	return db.Close()
}

// pebbleLogger takes Pebble's log lines. Flushes and compactions are Debug:
// they are Pebble's daily work, not news.
type pebbleLogger struct {
	dir    string
	log    *slog.Logger
	latch  *latch
	broken atomic.Bool
}

// pebbleFatal is what Fatalf panics with.
type pebbleFatal struct{ err error }

func (f pebbleFatal) Error() string { return f.err.Error() }

func (p *pebbleLogger) Infof(format string, args ...any) {
	p.log.Debug(fmt.Sprintf(format, args...))
}

func (p *pebbleLogger) Errorf(format string, args ...any) {
	p.log.Error(fmt.Sprintf(format, args...))
}

// Fatalf tells the owner, who ends the process, and never returns into Pebble:
// Pebble calls it where it cannot go on, and its invariants do not hold behind
// it. Should the owner not have ended the process, the panic does, except on
// the path of our own commits, where it becomes the error of that write.
func (p *pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("log store "+p.dir+": "+format, args...)
	p.broken.Store(true)
	p.latch.fail(err)
	panic(pebbleFatal{err})
}

// events reports what Pebble meets in the background. A flush or compaction
// that fails is a write error like any other; Pebble alone would try for ever.
func (p *pebbleLogger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			p.latch.fail(fmt.Errorf("log store %s, in the background: %w", p.dir, err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			// The read that found it gets the error; whoever reads decides.
			p.log.Error("pebble found damage", "info", info.String())
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			p.log.Warn("disk is slow", "info", info.String())
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			p.log.Warn("log writes wait for flushes", "reason", info.Reason)
		},
	}
}
