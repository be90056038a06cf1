package fsm

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	kindDeviation   = typesv1.ReportKind_REPORT_KIND_DEVIATION
	kindTimeout     = typesv1.ReportKind_REPORT_KIND_TIMEOUT
	kindInitialised = typesv1.ReportKind_REPORT_KIND_INITIALISED
	kindDeleted     = typesv1.ReportKind_REPORT_KIND_DELETED
)

// reporting is a shard with reports of the kinds, in order.
func reporting(retention uint64, kinds ...typesv1.ReportKind) *Shard {
	s := NewShard()
	s.reports.retention = retention
	for i, k := range kinds {
		s.now = int64(i + 1)
		s.report(&statev1.ReportRecord{Kind: k, Spec: &statev1.SpecKey{Namespace: fmt.Sprint("ns", i%2), Name: fmt.Sprint("spec", i%3)}})
	}
	return s
}

func idsOf(p ReportPage) (ids []uint64) {
	for _, r := range p.Reports {
		ids = append(ids, r.GetId())
	}
	return ids
}

func repeatKind(n int, k typesv1.ReportKind) []typesv1.ReportKind {
	return slices.Repeat([]typesv1.ReportKind{k}, n)
}

// Lives do not push out what asks for attention, and what a class has lost is told.
func TestReportsRetentionByClass(t *testing.T) {
	kinds := append([]typesv1.ReportKind{kindDeviation, kindTimeout}, repeatKind(500, kindInitialised)...)
	s := reporting(100, append(kinds, kindDeviation)...)
	p := s.Reports(0, ReportFilter{Kinds: []typesv1.ReportKind{kindDeviation, kindTimeout}}, 1000)
	if got, want := idsOf(p), []uint64{1, 2, 503}; !slices.Equal(got, want) {
		t.Errorf("reports that ask for attention %v, want %v", got, want)
	}
	if len(p.Gaps) > 0 || p.Through != 503 || p.More {
		t.Errorf("nothing of these kinds is gone, but: %+v", p)
	}
	p = s.Reports(1, ReportFilter{}, 1000)
	if len(p.Reports) != 102 || p.Reports[1].GetId() != 403 {
		t.Errorf("got %d reports", len(p.Reports))
	}
	if len(p.Gaps) != 1 || p.Gaps[0].After != 1 || p.Gaps[0].Through != 402 || !slices.Contains(p.Gaps[0].Kinds, kindInitialised) || slices.Contains(p.Gaps[0].Kinds, kindDeviation) {
		t.Errorf("gaps %+v, want the lives up to 402", p.Gaps)
	}
	// Whoever is past what was dropped has lost nothing.
	if p := s.Reports(402, ReportFilter{}, 1000); len(p.Gaps) > 0 {
		t.Errorf("gaps %+v", p.Gaps)
	}
	// What was dropped is from before the time that is asked for.
	if p := s.Reports(0, ReportFilter{Since: 450}, 1000); len(p.Gaps) > 0 || p.Reports[0].GetId() != 450 {
		t.Errorf("since 450: %v, gaps %+v", idsOf(p), p.Gaps)
	}
	if p := s.Reports(0, ReportFilter{Since: 10}, 1000); len(p.Gaps) != 1 {
		t.Errorf("since 10: gaps %+v, want one", p.Gaps)
	}
}

// A page that ends early says how far it is; an id from further than this
// replica finds nothing and does not go back.
func TestReportsPages(t *testing.T) {
	s := reporting(0, kindInitialised, kindDeviation, kindInitialised, kindDeviation, kindDeviation, kindDeleted)
	for _, c := range []struct {
		after   uint64
		filter  ReportFilter
		limit   int
		ids     []uint64
		through uint64
		more    bool
	}{
		{0, ReportFilter{}, 10, []uint64{1, 2, 3, 4, 5, 6}, 6, false},
		{0, ReportFilter{}, 4, []uint64{1, 2, 3, 4}, 4, true},
		{2, ReportFilter{}, 1, []uint64{3}, 3, true},
		{5, ReportFilter{}, 1, []uint64{6}, 6, false},
		{6, ReportFilter{}, 1, nil, 6, false},
		{9, ReportFilter{}, 1, nil, 9, false},
		{math.MaxUint64, ReportFilter{}, 1, nil, math.MaxUint64, false},
		{0, ReportFilter{Namespace: "ns1"}, 10, []uint64{2, 4, 6}, 6, false},
		{0, ReportFilter{Specs: []string{"spec0"}}, 10, []uint64{1, 4}, 6, false},
		{0, ReportFilter{Specs: []string{"spec9"}}, 10, nil, 6, false},
		{0, ReportFilter{Kinds: []typesv1.ReportKind{kindDeleted}}, 1, []uint64{6}, 6, false},
	} {
		p := s.Reports(c.after, c.filter, c.limit)
		if !slices.Equal(idsOf(p), c.ids) || p.Through != c.through || p.More != c.more {
			t.Errorf("after %d, %+v, limit %d: %v through %d more %t, want %v through %d more %t",
				c.after, c.filter, c.limit, idsOf(p), p.Through, p.More, c.ids, c.through, c.more)
		}
	}
}

// Reading page by page brings every report that is kept once and in order, and
// with the gaps accounts for every id that the filter lets through.
func TestReportsPagesAccountForEveryReport(t *testing.T) {
	all := []typesv1.ReportKind{kindDeviation, kindTimeout, kindInitialised, kindDeleted}
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom(all), 0, 120).Draw(t, "kinds")
		s := reporting(uint64(rapid.IntRange(1, 40).Draw(t, "retention")), kinds...)
		filter := ReportFilter{Kinds: rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID).Draw(t, "filter")}
		after := rapid.Uint64Range(0, uint64(len(kinds))).Draw(t, "after")
		accounted := map[uint64]bool{}
		begin := after
		for last := after; ; {
			p := s.Reports(after, filter, rapid.IntRange(1, 7).Draw(t, "limit"))
			for _, r := range p.Reports {
				if r.GetId() <= last || r.GetId() > p.Through || !filter.matches(r) {
					t.Fatalf("report %d (%s) after %d, through %d", r.GetId(), r.GetKind(), last, p.Through)
				}
				last = r.GetId()
				accounted[r.GetId()] = true
			}
			for _, g := range p.Gaps {
				for id := g.After + 1; id <= g.Through; id++ {
					if slices.Contains(g.Kinds, kinds[id-1]) {
						accounted[id] = true
					}
				}
			}
			if p.Through < after || p.More && p.Through == after {
				t.Fatalf("from %d to %d with more %t", after, p.Through, p.More)
			}
			after = p.Through
			if !p.More {
				break
			}
		}
		if after != uint64(len(kinds)) {
			t.Fatalf("ended at %d of %d", after, len(kinds))
		}
		for i, k := range kinds {
			id := uint64(i + 1)
			if wanted := id > begin && (len(filter.Kinds) == 0 || slices.Contains(filter.Kinds, k)); wanted && !accounted[id] {
				t.Fatalf("report %d (%s) is neither brought nor told to be gone", id, k)
			}
		}
	})
}

// The cluster's setting reaches a shard through its log, drops at once what is
// too much, and survives a snapshot together with what was dropped.
func TestReportRetentionIsReplicated(t *testing.T) {
	l, s := newShardLog(t)
	for range 300 {
		s.report(&statev1.ReportRecord{Kind: kindDeviation})
	}
	set := func(n uint64) *statev1.Command {
		return &statev1.Command{Kind: &statev1.Command_SetRetention{SetRetention: &statev1.SetRetention{Reports: n}}}
	}
	l.do(set(200))
	l.refused(typesv1.Reason_REASON_INVALID_ARGUMENT, set(MinReportRetention-1))
	l.refused(typesv1.Reason_REASON_INVALID_ARGUMENT, set(MaxReportRetention+1))
	restored := NewShard()
	if err := restored.Restore(bytes.NewReader(dump(t, s))); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*Shard{"applied": s, "restored": restored} {
		p := m.Reports(0, ReportFilter{}, 1000)
		if len(p.Reports) != 200 || p.Reports[0].GetId() != 101 || len(p.Gaps) != 1 || p.Gaps[0].Through != 100 || m.Retention().ReportRetention != 200 || m.LastReport() != 300 {
			t.Errorf("%s: %d reports from %v, gaps %+v, retention %d, last %d", name, len(p.Reports), p.Reports[0].GetId(), p.Gaps, m.Retention().ReportRetention, m.LastReport())
		}
	}
	if hash(t, s) != hash(t, restored) {
		t.Error("the restored state has another hash")
	}
}
