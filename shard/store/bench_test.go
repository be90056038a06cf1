package store

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// BenchmarkStoreLogs measures durable appends of one 256-byte entry each, by
// one group and by many at once; ns/op is per append over all groups. Appends
// of many Pebble groups share their fsyncs.
func BenchmarkStoreLogs(b *testing.B) {
	for _, groups := range []int{1, 16} {
		b.Run(fmt.Sprintf("pebble/groups=%d", groups), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), opts(b))
			benchmark(b, s, 1, groups)
		})
	}
	b.Run("bolt/groups=1", func(b *testing.B) {
		s := mustOpen(b, b.TempDir(), opts(b))
		benchmark(b, s, CatalogGroup, 1)
	})
}

func benchmark(b *testing.B, s *Store, first uint32, groups int) {
	var logs []raft.LogStore
	for i := range groups {
		logs = append(logs, mustGroup(b, s, first+uint32(i)).Logs())
	}
	data := make([]byte, 256)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for n, l := range logs {
		count := b.N / groups
		if n < b.N%groups {
			count++
		}
		wg.Go(func() {
			for i := range count {
				if err := l.StoreLog(&raft.Log{Index: uint64(i + 1), Term: 1, Data: data}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkGetLog reads entries back, as replication does.
func BenchmarkGetLog(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			g := mustGroup(b, mustOpen(b, b.TempDir(), opts(b)), k.id)
			must(b, g.Logs().StoreLogs(entries(1, 10_000, 1)))
			b.ReportAllocs()
			b.ResetTimer()
			var l raft.Log
			for i := range b.N {
				if err := g.Logs().GetLog(uint64(i%10_000+1), &l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
