package local

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// What a page token is for. A token that another call or another manager gave out
// would be taken for a place to go on at, and what is before it left out.
const (
	historyToken  = 'h'
	listToken     = 'l'
	deletionToken = 'd'
)

var tokenSums = crc32.MakeTable(crc32.Castagnoli)

// sealToken makes the page token of a call that goes on at a place.
func sealToken(kind byte, place []byte) string {
	raw := append([]byte{kind}, place...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, tokenSums)))
}

// openToken returns what was given to sealToken, which is nothing for no token.
func openToken(kind byte, token string) (place []byte, err error) {
	if token == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	end := len(raw) - crc32.Size
	if err != nil || end < 1 || raw[0] != kind || binary.BigEndian.Uint32(raw[end:]) != crc32.Checksum(raw[:end], tokenSums) {
		return nil, badToken()
	}
	return raw[1:end], nil
}

func badToken() error {
	return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the page_token is not one that this call gave out: leave it empty to begin")
}
