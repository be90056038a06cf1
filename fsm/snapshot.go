package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// A snapshot is the magic, then records, each with its length before it as a
// varint, then a zero length, the number of records and the XXH64 of
// everything between the magic and the zero, both as 8 bytes big endian.
const (
	snapshotMagic = "spexfsm\x01"
	// maxRecordBytes bounds what a damaged length can make a reader allocate.
	maxRecordBytes = 64 << 20
)

// ErrSnapshot is wrapped by every error about the content of a snapshot.
var ErrSnapshot = errors.New("damaged or foreign snapshot")

var errHeader = errors.New("a snapshot begins with its header and has no other")

// view is a pinned state that can write its records in a fixed order.
type view struct {
	index   uint64
	records func(emit func(*statev1.Record) error) error
}

func (v *view) Index() uint64 { return v.index }

// Release lets the pinned trees go.
func (v *view) Release() { v.records = nil }

// WriteTo streams the view. It may be called any number of times before Release.
func (v *view) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	out := bufio.NewWriterSize(counted, 256<<10)
	sum := xxhash.New()
	if _, err := out.WriteString(snapshotMagic); err != nil {
		return counted.n, fmt.Errorf("write snapshot: %w", err)
	}
	var records uint64
	var buf []byte
	err := v.records(func(r *statev1.Record) (err error) {
		buf = buf[:0]
		if buf, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(buf, r); err != nil {
			return err
		}
		var length [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(length[:], uint64(len(buf)))
		records++
		for _, part := range [][]byte{length[:n], buf} {
			_, _ = sum.Write(part)
			if _, err := out.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return counted.n, fmt.Errorf("write snapshot: %w", err)
	}
	trailer := binary.BigEndian.AppendUint64([]byte{0}, records)
	trailer = binary.BigEndian.AppendUint64(trailer, sum.Sum64())
	if _, err := out.Write(trailer); err != nil {
		return counted.n, fmt.Errorf("write snapshot: %w", err)
	}
	if err := out.Flush(); err != nil {
		return counted.n, fmt.Errorf("write snapshot: %w", err)
	}
	return counted.n, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// decodeRecord reads a record and hands it to apply.
func decodeRecord(raw []byte, apply func(*statev1.Record) error) error {
	rec := &statev1.Record{}
	if err := proto.Unmarshal(raw, rec); err != nil {
		return err
	}
	if rec.GetKind() == nil {
		return errors.New("it is of a kind that this build does not know")
	}
	return apply(rec)
}

// readSnapshot hands the encoded records of a snapshot to apply, which must not
// keep them, and then checks that nothing is missing, changed, or left over.
func readSnapshot(r io.Reader, apply func(raw []byte) error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return fmt.Errorf("%w: its beginning cannot be read: %w", ErrSnapshot, err)
	}
	if string(magic) != snapshotMagic {
		return fmt.Errorf("%w: it begins with %q, this build reads %q", ErrSnapshot, magic, snapshotMagic)
	}
	sum := xxhash.New()
	var records uint64
	var buf bytes.Buffer
	var length [binary.MaxVarintLen64]byte
	for {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return fmt.Errorf("%w: truncated after record %d: %w", ErrSnapshot, records, err)
		}
		if n == 0 {
			break
		}
		if n > maxRecordBytes {
			return fmt.Errorf("%w: record %d claims %d bytes", ErrSnapshot, records, n)
		}
		// The buffer grows with what is there, whatever the length claims.
		buf.Reset()
		if _, err := io.CopyN(&buf, in, int64(n)); err != nil {
			return fmt.Errorf("%w: truncated in record %d: %w", ErrSnapshot, records, err)
		}
		_, _ = sum.Write(binary.AppendUvarint(length[:0], n))
		_, _ = sum.Write(buf.Bytes())
		if err := apply(buf.Bytes()); err != nil {
			return fmt.Errorf("%w: record %d: %w", ErrSnapshot, records, err)
		}
		records++
	}
	var trailer [16]byte
	if _, err := io.ReadFull(in, trailer[:]); err != nil {
		return fmt.Errorf("%w: truncated in the trailer: %w", ErrSnapshot, err)
	}
	if n := binary.BigEndian.Uint64(trailer[:8]); n != records {
		return fmt.Errorf("%w: %d records instead of %d", ErrSnapshot, records, n)
	}
	if want, got := binary.BigEndian.Uint64(trailer[8:]), sum.Sum64(); want != got {
		return fmt.Errorf("%w: checksum %016x instead of %016x", ErrSnapshot, got, want)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes after the trailer", ErrSnapshot)
	}
	return nil
}

// hashOf is the SHA-256 of a view's stream: equal states at one index have
// equal hashes, which is how replicas are compared.
func hashOf(s Snapshot) (index uint64, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := s.WriteTo(h); err != nil {
		return 0, sum, err
	}
	return s.Index(), [sha256.Size]byte(h.Sum(nil)), nil
}
