package api

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// cursorVersion is the first byte of every cursor of a watch. A release reads the
// versions up to its own.
const cursorVersion = 1

var cursorSums = crc32.MakeTable(crc32.Castagnoli)

// SealCursor gives the position of a watch the form in which clients keep it:
// text that carries a version and a checksum.
func SealCursor(position []byte) string {
	raw := append([]byte{cursorVersion}, position...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, cursorSums)))
}

// OpenCursor returns what was given to SealCursor, which has at least so many
// bytes, or a BadCursor.
func OpenCursor(cursor string, atLeast int) (position []byte, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 1+atLeast+crc32.Size {
		return nil, BadCursor("is not one that a watch gave out")
	}
	if raw[0] != cursorVersion {
		return nil, BadCursor("is of a version that this release does not know")
	}
	body, sum := raw[:len(raw)-crc32.Size], binary.BigEndian.Uint32(raw[len(raw)-crc32.Size:])
	if crc32.Checksum(body, cursorSums) != sum {
		return nil, BadCursor("is damaged")
	}
	return body[1:], nil
}

// BadCursor refuses a cursor and says what to do.
func BadCursor(what string) error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the cursor %s: give the whole cursor of an earlier response, or none and say where to begin", what)
}
