package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteUnits are the units of a byteSize, the largest first.
var byteUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// byteSize is a flag of a number of bytes, as 64MiB.
type byteSize int64

// String writes the size in the largest unit of which it is a multiple.
func (b *byteSize) String() string {
	for _, u := range byteUnits {
		if n := int64(*b); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set reads a whole number with a unit, or of bytes.
func (b *byteSize) Set(s string) error {
	number, unit := s, int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = rest, u.bytes
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(unit) {
		return fmt.Errorf("want a whole number with KiB, MiB or GiB, for example 64MiB")
	}
	*b = byteSize(int64(n) * unit)
	return nil
}

// Type names what the flag takes.
func (b *byteSize) Type() string { return "bytes" }
