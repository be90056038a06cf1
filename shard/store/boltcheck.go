package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// Layout of a bolt file, in the byte order of the machine: pages of one size,
// each with a header of id u64, flags u16, count u16 and overflow u32, the
// number of pages that it goes on for. A branch has elements of pos u32, ksize
// u32, page u64; a leaf has elements of flags u32, pos u32, ksize u32, vsize
// u32; pos is relative to its element. Pages 0 and 1 hold the root in turn:
// magic u32, version u32, page size u32, flags u32, page of the tree u64,
// sequence u64, freelist u64, number of pages u64, transaction u64, FNV-1a of
// these u64.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltElement    = 16
	boltMetaSize   = 64
	maxBoltPage    = 64 << 10

	boltBranchPage = 0x01
	boltLeafPage   = 0x02
	boltBucketFlag = 0x01
)

// boltConf is raft-boltdb's bucket for all that is not the log.
const boltConf = "conf"

// boltWalk checks a bolt file that nobody has open.
//
// bbolt checks nothing but its roots, and of them it takes the other one when
// the newest is damaged, which has forgotten the last commit. Where another page
// is damaged it panics or faults, on a goroutine of its own while it opens. So
// we look first. A crash leaves both roots whole: their fields lie in one sector.
type boltWalk struct {
	file     io.ReaderAt
	pageSize uint64
	pages    uint64 // in use
	seen     map[uint64]bool
	conf     map[string][]byte // what the bucket of settings holds
}

// readBolt checks a file and returns what its bucket of settings holds.
func readBolt(path string) (conf map[string][]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := &boltWalk{file: f, seen: map[uint64]bool{}, conf: map[string][]byte{}}
	root, err := w.readRoots()
	if err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if w.pages > uint64(st.Size())/w.pageSize {
		return nil, fmt.Errorf("damaged: %d bytes are left of %d pages of %d bytes", st.Size(), w.pages, w.pageSize)
	}
	if err := w.tree(root, nil, nil, w.bucket); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	return w.conf, nil
}

// readRoots reads both roots and returns the page of the newer one's tree.
func (w *boltWalk) readRoots() (tree uint64, err error) {
	first, err := w.root(0)
	if err != nil {
		return 0, fmt.Errorf("root 0: %w", err)
	}
	w.pageSize = uint64(first.pageSize)
	second, err := w.root(int64(w.pageSize))
	if err != nil {
		return 0, fmt.Errorf("root 1: %w", err)
	}
	if second.pageSize != first.pageSize {
		return 0, fmt.Errorf("the roots have pages of %d and %d bytes", first.pageSize, second.pageSize)
	}
	if second.txid > first.txid {
		first = second
	}
	w.pages = first.pages
	return first.tree, nil
}

type boltRoot struct {
	pageSize          uint32
	tree, pages, txid uint64
}

func (w *boltWalk) root(offset int64) (boltRoot, error) {
	var b [boltPageHeader + boltMetaSize]byte
	if _, err := w.file.ReadAt(b[:], offset); err != nil {
		return boltRoot{}, err
	}
	meta, ne := b[boltPageHeader:], binary.NativeEndian
	if ne.Uint32(meta) != boltMagic || ne.Uint32(meta[4:]) != boltVersion {
		return boltRoot{}, errors.New("not the root of a bolt file")
	}
	h := fnv.New64a()
	h.Write(meta[:boltMetaSize-8]) //nolint:errcheck // a hash does not fail
	if ne.Uint64(meta[boltMetaSize-8:]) != h.Sum64() {
		return boltRoot{}, errors.New("checksum does not match")
	}
	r := boltRoot{pageSize: ne.Uint32(meta[8:]), tree: ne.Uint64(meta[16:]), pages: ne.Uint64(meta[40:]), txid: ne.Uint64(meta[48:])}
	if r.pageSize < 512 || r.pageSize > maxBoltPage {
		return boltRoot{}, fmt.Errorf("pages of %d bytes", r.pageSize)
	}
	return r, nil
}

// page reads a page with all that it goes on for.
func (w *boltWalk) page(id uint64) ([]byte, error) {
	if id < 2 || id >= w.pages || w.seen[id] {
		return nil, fmt.Errorf("page %d is out of its place", id)
	}
	w.seen[id] = true
	var head [boltPageHeader]byte
	if _, err := w.file.ReadAt(head[:], int64(id*w.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	ne := binary.NativeEndian
	if got := ne.Uint64(head[:]); got != id {
		return nil, fmt.Errorf("page %d says that it is %d", id, got)
	}
	more := uint64(ne.Uint32(head[12:]))
	if more >= w.pages-id {
		return nil, fmt.Errorf("page %d goes on behind the end", id)
	}
	b := make([]byte, (1+more)*w.pageSize)
	if _, err := w.file.ReadAt(b, int64(id*w.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, nil
}

// tree walks the pages of a bucket whose keys are from low on and below high,
// and calls leaf for each element of a leaf.
func (w *boltWalk) tree(id uint64, low, high []byte, leaf func(flags uint32, key, val []byte) error) error {
	b, err := w.page(id)
	if err != nil {
		return err
	}
	err = w.elements(b, low, high, leaf)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements walks one page, which may lie inline in another.
func (w *boltWalk) elements(b, low, high []byte, leaf func(flags uint32, key, val []byte) error) error {
	if len(b) < boltPageHeader {
		return errors.New("too short")
	}
	ne := binary.NativeEndian
	flags, count := ne.Uint16(b[8:]), int(ne.Uint16(b[10:]))
	if flags != boltBranchPage && flags != boltLeafPage || boltPageHeader+count*boltElement > len(b) || flags == boltBranchPage && count == 0 {
		return fmt.Errorf("not a page of a tree: flags %#x, %d elements", flags, count)
	}
	type child struct {
		key  []byte
		page uint64
	}
	var children []child
	last := low
	for i := range count {
		at := boltPageHeader + i*boltElement
		e := b[at : at+boltElement]
		pos, ksize, vsize := uint64(ne.Uint32(e)), uint64(ne.Uint32(e[4:])), uint64(0)
		if flags == boltLeafPage {
			pos, ksize, vsize = uint64(ne.Uint32(e[4:])), uint64(ne.Uint32(e[8:])), uint64(ne.Uint32(e[12:]))
		}
		from := uint64(at) + pos
		if from+ksize+vsize > uint64(len(b)) || ksize == 0 {
			return fmt.Errorf("element %d lies outside", i)
		}
		key := b[from : from+ksize]
		if order := bytes.Compare(last, key); order > 0 || order == 0 && i > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = key
		if flags == boltBranchPage {
			children = append(children, child{key, ne.Uint64(e[8:])})
		} else if err := leaf(ne.Uint32(e), key, b[from+ksize:from+ksize+vsize]); err != nil {
			return err
		}
	}
	for i, c := range children {
		end := high
		if i+1 < len(children) {
			end = children[i+1].key
		}
		if err := w.tree(c.page, c.key, end, leaf); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks a bucket, which is an element of the tree of buckets.
func (w *boltWalk) bucket(flags uint32, name, val []byte) error {
	if flags != boltBucketFlag || len(val) < 16 {
		return fmt.Errorf("%q is not a bucket", name)
	}
	leaf := func(flags uint32, key, val []byte) error {
		if flags != 0 {
			return fmt.Errorf("the key %q of %q has flags %#x", key, name, flags)
		}
		if string(name) == boltConf {
			w.conf[string(key)] = append([]byte{}, val...)
		}
		return nil
	}
	if tree := binary.NativeEndian.Uint64(val); tree != 0 {
		return w.tree(tree, nil, nil, leaf)
	}
	return w.elements(val[16:], nil, nil, leaf)
}
