package store

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func drawLog(t *rapid.T) *raft.Log {
	l := &raft.Log{
		Index:      rapid.Uint64().Draw(t, "index"),
		Term:       rapid.Uint64().Draw(t, "term"),
		Type:       raft.LogType(rapid.Uint8().Draw(t, "type")),
		Data:       rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"),
		Extensions: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "extensions"),
	}
	if rapid.Bool().Draw(t, "has time") {
		l.AppendedAt = time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
	}
	return l
}

func sameLog(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt) && a.AppendedAt.IsZero() == b.AppendedAt.IsZero()
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, key := drawLog(t), rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		buf := make([]byte, entrySize(l))
		encodeEntry(buf, key, l)
		var got raft.Log
		if err := decodeEntry(key, buf, &got); err != nil {
			t.Fatal(err)
		}
		if !sameLog(l, &got) {
			t.Fatalf("got %+v, want %+v", got, *l)
		}
		clear(buf) // the entry must not alias what it was read from
		if !sameLog(l, &got) {
			t.Fatal("the decoded entry aliases the value")
		}
	})
}

func TestEveryFlippedBitOfAnEntryIsSeen(t *testing.T) {
	key := entryKey(nil, 3, 9)
	l := entry(9, 2)
	buf := make([]byte, entrySize(l))
	encodeEntry(buf, key, l)
	var got raft.Log
	for bit := range len(buf) * 8 {
		buf[bit/8] ^= 1 << (bit % 8)
		if err := decodeEntry(key, buf, &got); err == nil {
			t.Fatalf("bit %d: not seen", bit)
		}
		buf[bit/8] ^= 1 << (bit % 8)
	}
	if err := decodeEntry(entryKey(nil, 3, 10), buf, &got); !errors.Is(err, errEntryChecksum) {
		t.Fatalf("a value under another key: %v", err)
	}
	for n := range buf {
		if err := decodeEntry(key, buf[:n], &got); err == nil {
			t.Fatalf("cut to %d bytes: not seen", n)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	key := entryKey(nil, 1, 1)
	for _, l := range []*raft.Log{entry(1, 1), {Index: 1}} {
		buf := make([]byte, entrySize(l))
		encodeEntry(buf, key, l)
		f.Add(buf)
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		// Give the decoder a right checksum, or nothing behind it is reached.
		if n := len(v) - entrySum; n >= 0 {
			sum := entryChecksum(key, v[:n])
			v = append(v[:n:n], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		}
		var l raft.Log
		if decodeEntry(key, v, &l) != nil {
			return
		}
		again := make([]byte, entrySize(&l))
		encodeEntry(again, key, &l)
		var l2 raft.Log
		if err := decodeEntry(key, again, &l2); err != nil || !sameLog(&l, &l2) {
			t.Fatalf("not stable: %+v, %+v, %v", l, l2, err)
		}
	})
}

func TestSizeIndexAgainstExactSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sizeIndex
		s.reset(0)
		sizes := map[uint64]int{}
		var first, last uint64 = 1, 0
		exact := func(after uint64) (sum uint64) {
			for i := max(after+1, first); i <= last; i++ {
				sum += uint64(sizes[i])
			}
			return sum
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					last++
					sizes[last] = rapid.IntRange(50, 20_000).Draw(t, "size")
					s.add(last, sizes[last])
				}
			case 2:
				if last > first {
					last = rapid.Uint64Range(first, last-1).Draw(t, "cut tail")
					s.cutTail(last)
				}
			case 3:
				if last > first {
					cut := rapid.Uint64Range(first, last-1).Draw(t, "cut head")
					s.cutHead(cut)
					first = cut + 1
				}
			}
			if last < first {
				continue
			}
			at := rapid.Uint64Range(first-1, last).Draw(t, "at")
			got, want := s.since(at), exact(at)
			// A cut interpolates; each may leave an error of one step.
			if diff := int64(got) - int64(want); diff > 3*sizeStep || diff < -3*sizeStep {
				t.Fatalf("bytes after %d of %d..%d: got %d, want %d", at, first, last, got, want)
			}
			if maxMarks := int(s.total/sizeStep) + 2; len(s.marks) > maxMarks {
				t.Fatalf("%d marks", len(s.marks))
			}
		}
	})
}
