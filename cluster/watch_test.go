package cluster

import (
	"testing"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// The cursor of a report goes on after it and skips nothing of another shard. The
// first report of a response has one, and each among few shards; among many they
// stay a bounded part of the response.
func TestReportsHaveCursors(t *testing.T) {
	const perShard, first = 4, 1_000_000
	for shards, want := range map[uint32]struct{ atMost, oneOf int }{1: {32, 1}, 16: {128, 1}, 64: {400, 1}, 1024: {8 << 10, 12}} {
		w := &watch{at: newCursor("id", shards), every: 1, failures: map[uint32]error{}}
		for shard := range w.at.at {
			w.at.at[shard] = first
		}
		w.response() // which begins every watch
		resp := &spexv1.WatchResponse{}
		for shard := uint32(1); shard <= shards; shard++ {
			n := watchNews{shard: shard, through: first + 2*perShard}
			for i := range uint64(perShard) {
				n.reports = append(n.reports, &spexv1.Report{Shard: shard, Id: first + 2*i + 1})
			}
			w.take(n, resp)
		}
		own, longest, total := 0, 0, 0
		for i, r := range resp.GetReports() {
			if r.GetCursor() == "" {
				if i == 0 {
					t.Errorf("%d shards: the first report has no cursor", shards)
				}
				continue
			}
			own, longest, total = own+1, max(longest, len(r.GetCursor())), total+len(r.GetCursor())
			at, err := parseCursor(r.GetCursor(), "id", shards)
			if err != nil {
				t.Fatal(err)
			}
			for shard := uint32(1); shard <= shards; shard++ {
				through := uint64(first)
				switch {
				case shard == r.GetShard():
					through = r.GetId()
				case shard < r.GetShard():
					through = first + 2*perShard
				}
				if at.at[shard] != through {
					t.Fatalf("%d shards: the cursor of report %d/%d goes on after %d of shard %d, want %d", shards, r.GetShard(), r.GetId(), at.at[shard], shard, through)
				}
			}
		}
		t.Logf("%d shards: a cursor has up to %d bytes, %d of %d reports have one, %d bytes for each report", shards, longest, own, len(resp.Reports), total/len(resp.Reports))
		if longest > want.atMost || own*want.oneOf < len(resp.Reports) || total > len(resp.Reports)*watchCursorBytes+longest {
			t.Errorf("%d shards: want up to %d bytes, in one of %d reports, and up to %d bytes for each report", shards, want.atMost, want.oneOf, watchCursorBytes)
		}
	}
}
