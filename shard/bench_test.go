package shard

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spexio/spex/fsm"
)

// countMachine answers every command of an entry and keeps nothing, so that the
// benchmark measures the group.
type countMachine struct {
	listMachine
	applied atomic.Uint64
}

func (m *countMachine) Apply(index uint64, data []byte) ([]fsm.Result, error) {
	m.applied.Store(index)
	return make([]fsm.Result, countCommands(data)), nil
}

func (m *countMachine) Applied() uint64 { return m.applied.Load() }

// countCommands counts the commands of an entry without decoding them.
func countCommands(data []byte) int {
	count := 0
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		data = data[n:]
		if number == entryCommands {
			count++
		}
		data = data[protowire.ConsumeFieldValue(number, kind, data):]
	}
	return count
}

// BenchmarkPropose measures acknowledged commands of 256 bytes on three nodes in
// memory, for numbers of callers that each wait for their answer.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			c := newFormed(b, func(cfg *Config) {
				cfg.Machine = &countMachine{}
				cfg.Timing = LAN()
				cfg.OnApply = nil
			}, "a", "b", "c")
			leader := c.leader()
			cmd := put(strings.Repeat("x", 240))
			first := leader.group.Status().Applied
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := leader.group.Propose(context.Background(), cmd); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			b.ReportMetric(float64(b.N)/float64(leader.group.Status().Applied-first), "commands/entry")
		})
	}
}

// BenchmarkReadIndex measures linearizable reads.
func BenchmarkReadIndex(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			c := newFormed(b, nil, "a", "b", "c")
			leader := c.leader()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := leader.group.ReadIndex(context.Background()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
