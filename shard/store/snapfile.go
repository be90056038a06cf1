package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
)

// A snapshot file is header, payload, trailer (integers big endian):
//
//	header:  "SPEXSNAP" | format u16 | length of the JSON u32 | JSON of snapshotHeader | crc32c u32
//	payload: what the FSM wrote
//	trailer: "SPEXSEND" | length of the payload u64 | xxhash64 of header and payload u64
//
// The frame stays on the node: a reader gets the payload alone, so that what a
// leader sends is framed anew, for its own node, by the follower's sink.
const (
	snapMagic     = "SPEXSNAP"
	snapEndMagic  = "SPEXSEND"
	snapFormat    = 1
	snapPrefixLen = len(snapMagic) + 2 + 4
	snapTrailer   = len(snapEndMagic) + 8 + 8
	// maxSnapHeader bounds what a damaged length makes us allocate.
	maxSnapHeader = 1 << 20
)

// snapshotHeader repeats what raft keeps in meta.json, which has no checksum,
// and says whose snapshot it is.
type snapshotHeader struct {
	Cluster            string             `json:"cluster"`
	Group              uint32             `json:"group"`
	Index              uint64             `json:"index"`
	Term               uint64             `json:"term"`
	Configuration      raft.Configuration `json:"configuration"`
	ConfigurationIndex uint64             `json:"configuration_index"`
}

// matches compares the header with raft's meta data.
func (h *snapshotHeader) matches(m *raft.SnapshotMeta) error {
	if h.Index != m.Index || h.Term != m.Term || h.ConfigurationIndex != m.ConfigurationIndex {
		return fmt.Errorf("header says index %d, term %d, configuration of %d; meta.json says %d, %d, %d",
			h.Index, h.Term, h.ConfigurationIndex, m.Index, m.Term, m.ConfigurationIndex)
	}
	if !bytes.Equal(raft.EncodeConfiguration(h.Configuration), raft.EncodeConfiguration(m.Configuration)) {
		return fmt.Errorf("header has configuration %v, meta.json %v", h.Configuration, m.Configuration)
	}
	return nil
}

func (h *snapshotHeader) encode() ([]byte, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(body) > maxSnapHeader {
		return nil, fmt.Errorf("snapshot header of %d bytes, at most %d", len(body), maxSnapHeader)
	}
	b := append([]byte{}, snapMagic...)
	b = binary.BigEndian.AppendUint16(b, snapFormat)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// readSnapshotHeader reads a header and returns it with its raw bytes.
func readSnapshotHeader(r io.Reader) (*snapshotHeader, []byte, error) {
	raw := make([]byte, snapPrefixLen)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if string(raw[:len(snapMagic)]) != snapMagic {
		return nil, nil, errors.New("no snapshot header")
	}
	// The format comes before the checksum: a newer one may check differently.
	if f := binary.BigEndian.Uint16(raw[len(snapMagic):]); f != snapFormat {
		return nil, nil, fmt.Errorf("%w: snapshot format %d, this release reads %d", ErrFormat, f, snapFormat)
	}
	n := binary.BigEndian.Uint32(raw[len(snapMagic)+2:])
	if n > maxSnapHeader {
		return nil, nil, fmt.Errorf("header of %d bytes", n)
	}
	raw = append(raw, make([]byte, n+4)...)
	if _, err := io.ReadFull(r, raw[snapPrefixLen:]); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	body := raw[:len(raw)-4]
	if binary.BigEndian.Uint32(raw[len(body):]) != crc32.Checksum(body, castagnoli) {
		return nil, nil, errors.New("header: checksum does not match")
	}
	var h snapshotHeader
	if err := json.Unmarshal(body[snapPrefixLen:], &h); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	return &h, raw, nil
}

// snapshotHash runs over header and payload.
type snapshotHash struct {
	sum     *xxhash.Digest
	payload uint64
}

func newSnapshotHash(header []byte) *snapshotHash {
	h := &snapshotHash{sum: xxhash.New()}
	h.sum.Write(header) //nolint:errcheck // a hash does not fail
	return h
}

func (h *snapshotHash) add(p []byte) {
	h.sum.Write(p) //nolint:errcheck // a hash does not fail
	h.payload += uint64(len(p))
}

func (h *snapshotHash) trailer() []byte {
	b := append([]byte{}, snapEndMagic...)
	b = binary.BigEndian.AppendUint64(b, h.payload)
	return binary.BigEndian.AppendUint64(b, h.sum.Sum64())
}

// snapshotReader gives the payload and checks it on the way. It holds the last
// bytes back until the trailer has proved them: nobody gets all of a damaged
// payload, whether he reads to the end of file or counts bytes.
type snapshotReader struct {
	src  io.ReadCloser
	hash *snapshotHash
	left int64 // bytes of payload not yet read from src
	err  error // sticky: io.EOF once the trailer has been checked
}

func newSnapshotReader(src io.ReadCloser, header []byte, payload int64) *snapshotReader {
	return &snapshotReader{src: src, hash: newSnapshotHash(header), left: payload}
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n := 0
	if len(p) > 0 {
		var err error
		n, err = r.src.Read(p)
		r.hash.add(p[:n])
		r.left -= int64(n)
		if err == io.EOF && r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			r.err = fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
			return 0, r.err
		}
	}
	if r.left > 0 {
		return n, nil
	}
	if err := r.checkTrailer(); err != nil {
		r.err = fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
		return 0, r.err
	}
	r.err = io.EOF
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *snapshotReader) checkTrailer() error {
	got := make([]byte, snapTrailer)
	if _, err := io.ReadFull(r.src, got); err != nil {
		return fmt.Errorf("trailer: %w", err)
	}
	if !bytes.Equal(got, r.hash.trailer()) {
		return errors.New("length or checksum does not match")
	}
	if n, err := r.src.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errors.New("bytes behind the trailer")
	}
	return nil
}

// Close closes the file; it says nothing about the payload.
func (r *snapshotReader) Close() error { return r.src.Close() }
