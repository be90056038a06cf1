package inproc

import (
	"slices"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// BenchmarkLongInstance takes an instance through 10,000 steps, all of which are
// kept, and then steps it in turn with one that has just begun: the medians of
// 500 steps of each should be the same (B9). Run it with -benchtime 1x.
func BenchmarkLongInstance(b *testing.B) {
	const long, turns = 10_000, 500
	for _, tt := range []struct {
		name string
		open func(b *testing.B) client.Manager
	}{
		{"memory", func(b *testing.B) client.Manager { return openLocal(b, "") }},
		{"disk", func(b *testing.B) client.Manager { return openLocal(b, b.TempDir()) }},
		{"cluster of three", func(b *testing.B) client.Manager { return Start(b, Options{}).Client() }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			m := tt.open(b)
			ctx := b.Context()
			if _, err := m.ApplySpecification(ctx, &typesv1.Specification{Name: "point", Transitions: edges(b, "s -a-> s"), HistoryLimit: 100_000}); err != nil {
				b.Fatal(err)
			}
			// Both are of one shard of the four, and so have the same leader.
			ids := []string{inShard(b, 4, 1, "point", 0), inShard(b, 4, 1, "point", 1)}
			step := func(id string) time.Duration {
				began := time.Now()
				if _, err := m.Transition(ctx, id, "a", "s"); err != nil {
					b.Fatal(err)
				}
				return time.Since(began)
			}
			for b.Loop() {
				for _, id := range ids {
					if _, err := m.Delete(ctx, id); err != nil {
						b.Fatal(err)
					}
					if _, err := m.Init(ctx, "point", id); err != nil {
						b.Fatal(err)
					}
				}
				var first []time.Duration
				for n := range long {
					if took := step(ids[0]); n < turns {
						first = append(first, took)
					}
				}
				var old, young []time.Duration
				for range turns {
					old, young = append(old, step(ids[0])), append(young, step(ids[1]))
				}
				b.ReportMetric(micros(first), "µs/first")
				b.ReportMetric(micros(old), "µs/last")
				b.ReportMetric(micros(young), "µs/first-in-turn")
			}
		})
	}
}

func openLocal(b *testing.B, dir string) client.Manager {
	m, err := local.Open(testContext(b), local.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	return m
}

// micros is the median in microseconds.
func micros(list []time.Duration) float64 {
	slices.Sort(list)
	return float64(list[len(list)/2]) / float64(time.Microsecond)
}
