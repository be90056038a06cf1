package main

import (
	"time"

	"github.com/spexio/spex/drill"
)

// drillJSON is the report of a drill.
type drillJSON struct {
	OK         bool                 `json:"ok"`
	Incomplete *string              `json:"incomplete"`
	Seed       uint64               `json:"seed"`
	Started    string               `json:"started"`
	DurationMS float64              `json:"duration_ms"`
	Counts     drillCountsJSON      `json:"counts"`
	P50Millis  float64              `json:"p50_ms"`
	P99Millis  float64              `json:"p99_ms"`
	MaxMillis  float64              `json:"max_ms"`
	Faults     []drillFaultJSON     `json:"faults"`
	Outages    []drillOutageJSON    `json:"outages"`
	Checks     []string             `json:"checks"`
	Linearized int                  `json:"linearized"`
	Undecided  int                  `json:"undecided"`
	Violations []drillViolationJSON `json:"violations"`
}

type drillCountsJSON struct {
	Operations   int `json:"operations"`
	Instances    int `json:"instances"`
	Acknowledged int `json:"acknowledged"`
	Refused      int `json:"refused"`
	Unknown      int `json:"unknown"`
	Unresolved   int `json:"unresolved"`
	Retries      int `json:"retries"`
}

type drillFaultJSON struct {
	Kind         string   `json:"kind"`
	Node         string   `json:"node"`
	Leaderships  int      `json:"leaderships"`
	BeginMillis  float64  `json:"begin_ms"`
	EndMillis    float64  `json:"end_ms"`
	WholeMillis  *float64 `json:"whole_ms"`
	OutageMillis float64  `json:"outage_ms"`
	Shard        uint32   `json:"shard"`
	MedianMillis float64  `json:"median_ms"`
	Open         bool     `json:"open"`
	Error        *string  `json:"error"`
}

type drillOutageJSON struct {
	Kind         string  `json:"kind"`
	Rounds       int     `json:"rounds"`
	MedianMillis float64 `json:"median_ms"`
	P90Millis    float64 `json:"p90_ms"`
	P99Millis    float64 `json:"p99_ms"`
	MaxMillis    float64 `json:"max_ms"`
}

type drillViolationJSON struct {
	Check    string  `json:"check"`
	Instance *string `json:"instance"`
	Detail   string  `json:"detail"`
}

// inMillis keeps microseconds.
func inMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func drillReport(r *drill.Report) drillJSON {
	c := r.Counts
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out := drillJSON{
		OK: r.OK, Incomplete: optional(r.Incomplete), Seed: r.Seed, Started: r.Started.UTC().Format(time.RFC3339Nano), DurationMS: inMillis(r.Duration),
		Counts:    drillCountsJSON{c.Operations, c.Instances, c.Acknowledged, c.Refused, c.Unknown, c.Unresolved, c.Retries},
		P50Millis: inMillis(r.Latency.P50), P99Millis: inMillis(r.Latency.P99), MaxMillis: inMillis(r.Latency.Worst),
		Faults: []drillFaultJSON{}, Outages: []drillOutageJSON{}, Violations: []drillViolationJSON{},
		Checks: r.Checks, Linearized: r.Linearized, Undecided: r.Undecided,
	}
	for _, o := range r.Outages {
		f := drillFaultJSON{
			Kind: string(o.Fault.Kind), Node: o.Fault.Node, Leaderships: o.Fault.Leaderships, BeginMillis: inMillis(o.Fault.Begin), EndMillis: inMillis(o.Fault.End),
			OutageMillis: inMillis(o.Worst), Shard: o.Shard, MedianMillis: inMillis(o.Median), Open: o.Open, Error: optional(o.Fault.Error),
		}
		if o.Fault.Whole > 0 {
			whole := inMillis(o.Fault.Whole)
			f.WholeMillis = &whole
		}
		out.Faults = append(out.Faults, f)
	}
	for _, u := range r.Unavailability {
		out.Outages = append(out.Outages, drillOutageJSON{string(u.Kind), u.Rounds, inMillis(u.Median), inMillis(u.P90), inMillis(u.P99), inMillis(u.Worst)})
	}
	for _, v := range r.Violations {
		out.Violations = append(out.Violations, drillViolationJSON{v.Check, optional(v.Instance), v.Detail})
	}
	return out
}
