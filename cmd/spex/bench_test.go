package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A quantile is at most 1/64 above the exact one and never below it.
func TestHistogramQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "values")
		q := rapid.SampledFrom([]float64{0, 0.5, 0.9, 0.99, 1}).Draw(t, "q")
		var h histogram
		for _, v := range values {
			h.add(time.Duration(v), 1)
		}
		slices.Sort(values)
		exact := values[min(int(q*float64(len(values))), len(values)-1)]
		got := int64(h.quantile(q))
		if got < exact || got > exact+exact/64+1 {
			t.Fatalf("quantile %v is %d, exact is %d", q, got, exact)
		}
	})
	var empty histogram
	if empty.quantile(0.5) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	empty.add(time.Second, 0)
	if empty.quantile(0.5) != 0 {
		t.Error("zero things were counted")
	}
}

// Buckets follow each other without a gap up to the longest duration.
func TestHistogramBuckets(t *testing.T) {
	var next uint64
	for b := range len(histogram{}.counts) {
		if got := bucketOf(next); got != b {
			t.Fatalf("%d is in bucket %d, want %d", next, got, b)
		}
		top := bucketTop(b)
		if got := bucketOf(top); got != b {
			t.Fatalf("the top %d of bucket %d is in bucket %d", top, b, got)
		}
		next = top + 1
	}
	if next != 0 {
		t.Errorf("the buckets end at %d", next-1)
	}
}

func TestBench(t *testing.T) {
	fake := startFake(t)
	sh := newShell(fake)
	for _, batch := range []string{"1", "7"} {
		// The clock of the shell moves by half a second with each look.
		out := sh.mustRun(t, exitOK, "bench", "--concurrency", "4", "--instances", "5", "--duration", "30s", "--batch", batch, "-o", "json")
		var b benchJSON
		if err := json.Unmarshal([]byte(out), &b); err != nil {
			t.Fatal(err)
		}
		if b.Transitions < 10 || b.Errors != 0 || b.TransitionsPerSecond <= 0 || b.P50Millis <= 0 || b.P99Millis < b.P50Millis || b.MaxMillis < b.P99Millis || b.Instances != 5 {
			t.Errorf("result %+v", b)
		}
		if len(fake.instances) != 0 {
			t.Errorf("%d instances are left", len(fake.instances))
		}
	}
	sh.mustRun(t, exitOK, "bench", "--concurrency", "2", "--instances", "3", "--duration", "5s", "--keep")
	if len(fake.instances) != 3 {
		t.Errorf("%d instances are kept, want 3", len(fake.instances))
	}
	if !strings.Contains(sh.stdout.String(), "per second") {
		t.Errorf("table:\n%s", sh.stdout.String())
	}
}

// A user's own specification of that name is left alone.
func TestBenchRefusesAForeignSpecification(t *testing.T) {
	sh := newShell(startFake(t))
	sh.stdin = "name: spex-bench\ntransitions: [[a, b, c]]\n"
	sh.mustRun(t, exitOK, "spec", "apply", "-")
	sh.mustRun(t, exitFailed, "bench", "--duration", "1s")
	if !strings.Contains(sh.stderr.String(), "another specification") {
		t.Errorf("stderr: %s", sh.stderr.String())
	}
}
