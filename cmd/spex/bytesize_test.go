package main

import "testing"

func TestByteSize(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64 // -1: refused
		out  string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"1024", 1024, "1KiB"},
		{"64MiB", 64 << 20, "64MiB"},
		{"1536KiB", 1536 << 10, "1536KiB"},
		{"2048KiB", 2 << 20, "2MiB"},
		{"1GiB", 1 << 30, "1GiB"},
		{"8589934591GiB", 8589934591 << 30, "8589934591GiB"},
		{"8589934592GiB", -1, ""},
		{"9223372036854775808", -1, ""},
		{"-1", -1, ""}, {"-1MiB", -1, ""}, {"1.5MiB", -1, ""}, {"64MB", -1, ""}, {"64 MiB", -1, ""}, {"MiB", -1, ""}, {"", -1, ""}, {"1KiBMiB", -1, ""},
	} {
		var b byteSize
		switch err := b.Set(tt.in); {
		case tt.want < 0 && err == nil:
			t.Errorf("%q is taken for %d", tt.in, b)
		case tt.want >= 0 && (err != nil || int64(b) != tt.want || b.String() != tt.out):
			t.Errorf("%q is %d, %s (%v), want %d, %s", tt.in, b, &b, err, tt.want, tt.out)
		}
	}
}
