package fsm

import (
	"cmp"
	"slices"

	"github.com/tidwall/btree"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// DefaultReportRetention is how many reports of each class a shard keeps
	// unless the cluster says otherwise.
	DefaultReportRetention = 10_000
	// MinReportRetention and MaxReportRetention bound what the cluster may say.
	MinReportRetention, MaxReportRetention = 100, 100_000
	// maxReportsLooked bounds what one call of Reports looks at, so that it holds
	// up Apply only briefly.
	maxReportsLooked = 4096
)

// reportClass separates reports by how much they matter: each class has the
// retention to itself, so that busy instances do not push out deviations.
type reportClass int

const (
	attention reportClass = iota
	life
	reportClasses
)

func classOf(kind typesv1.ReportKind) reportClass {
	switch kind {
	case typesv1.ReportKind_REPORT_KIND_INITIALISED, typesv1.ReportKind_REPORT_KIND_DELETED,
		typesv1.ReportKind_REPORT_KIND_PRUNED, typesv1.ReportKind_REPORT_KIND_MODEL_MODE:
		return life
	}
	return attention
}

// reportLog holds the reports of a machine, by class, numbered in one sequence.
type reportLog struct {
	kept [reportClasses]*btree.BTreeG[*statev1.ReportRecord]
	// lost has the newest id of each class that was dropped, 0 if none was.
	lost [reportClasses]uint64
	next uint64
	// retention is how many of each class are kept; 0 means the default.
	retention uint64
}

func newReportLog() reportLog {
	l := reportLog{next: 1}
	for c := range l.kept {
		l.kept[c] = newTree(func(a, b *statev1.ReportRecord) bool { return a.GetId() < b.GetId() })
	}
	return l
}

// clone pins the log as it is.
func (l *reportLog) clone() reportLog {
	c := *l
	for i, tree := range l.kept {
		c.kept[i] = tree.Copy()
	}
	return c
}

// report adds a report, which it numbers and dates, to the log of the shard.
func (s *Shard) report(r *statev1.ReportRecord) {
	s.reports.add(r, s.now)
}

// add numbers and dates a report, and lets the oldest of its class go if there
// are too many.
func (l *reportLog) add(r *statev1.ReportRecord, now int64) {
	r.Id, r.Time = l.next, now
	l.next++
	c := classOf(r.GetKind())
	l.kept[c].Set(r)
	l.trim(c)
}

// ref names the last step of an instance.
func (in *instance) ref(key Key) StepRef {
	return StepRef{Key: key, Incarnation: in.incarnation, Seq: in.seq}
}

// trim drops what is beyond the retention, the oldest first.
func (l *reportLog) trim(c reportClass) {
	limit := l.limit()
	for l.kept[c].Len() > limit {
		old, _ := l.kept[c].PopMin()
		l.lost[c] = old.GetId()
	}
}

// retain changes how many reports are kept; 0 is the default.
func (l *reportLog) retain(n uint64) {
	l.retention = n
	for c := range reportClasses {
		l.trim(c)
	}
}

func (l *reportLog) limit() int {
	if l.retention == 0 {
		return DefaultReportRetention
	}
	return int(l.retention)
}

// header and restoreHeader carry what a snapshot holds beside the reports.
func (l *reportLog) header(h *statev1.ShardHeader) {
	h.NextReport, h.ReportRetention = l.next, l.retention
	h.LostReports, h.LostLifeReports = l.lost[attention], l.lost[life]
}

func (l *reportLog) restoreHeader(h *statev1.ShardHeader) {
	l.next, l.retention = h.GetNextReport(), h.GetReportRetention()
	l.lost[attention], l.lost[life] = h.GetLostReports(), h.GetLostLifeReports()
}

// restore takes a report of a snapshot.
func (l *reportLog) restore(r *statev1.ReportRecord) {
	if r.GetKind() == typesv1.ReportKind_REPORT_KIND_UNSPECIFIED {
		r.Kind = typesv1.ReportKind_REPORT_KIND_DEVIATION
	}
	l.kept[classOf(r.GetKind())].Set(r)
}

// ahead reports whether a report has an id that was not given out yet.
func (l *reportLog) ahead() bool {
	for _, tree := range l.kept {
		if last, ok := tree.Max(); ok && last.GetId() >= l.next {
			return true
		}
	}
	return false
}

// each visits all reports, class by class, in order.
func (l *reportLog) each(f func(*statev1.ReportRecord) error) error {
	for _, tree := range l.kept {
		if err := each(tree, f); err != nil {
			return err
		}
	}
	return nil
}

// ReportFilter selects reports. The zero value selects all.
type ReportFilter struct {
	// Namespace is empty for all namespaces.
	Namespace string
	// Specs and Kinds are empty for all.
	Specs []string
	Kinds []typesv1.ReportKind
	// Since leaves out what was reported before, in Unix nanoseconds.
	Since int64
}

func (f *ReportFilter) matches(r *statev1.ReportRecord) bool {
	return (f.Namespace == "" || r.GetSpec().GetNamespace() == f.Namespace) &&
		(len(f.Specs) == 0 || slices.Contains(f.Specs, r.GetSpec().GetName())) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, r.GetKind())) &&
		r.GetTime() >= f.Since
}

// wants reports whether the filter lets any kind of a class through.
func (f *ReportFilter) wants(c reportClass) bool {
	return len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, func(k typesv1.ReportKind) bool { return classOf(k) == c })
}

// ReportGap says that the reports with ids above After and up to Through are
// gone, as far as they are of the kinds.
type ReportGap struct {
	After, Through uint64
	Kinds          []typesv1.ReportKind
}

// ReportPage is what Reports found.
type ReportPage struct {
	// Reports are in the order of their ids. They must not be changed.
	Reports []*statev1.ReportRecord
	// Through is the id up to which everything was looked at: go on after it.
	Through uint64
	// More is set when there is more to look at beyond Through.
	More bool
	// Gaps tell what was dropped after the id that was asked for.
	Gaps []ReportGap
}

// Reports lists up to limit reports after an id. It looks at a bounded number
// of them, so that it may find fewer, or none, with More set. An id that is
// ahead of the shard, as one from a replica that is further can be, finds nothing.
func (s *Shard) Reports(after uint64, filter ReportFilter, limit int) ReportPage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.reports.page(after, filter, limit)
}

// page is what Reports finds.
func (l *reportLog) page(after uint64, filter ReportFilter, limit int) ReportPage {
	page := ReportPage{Through: max(after, l.next-1)}
	if after >= page.Through {
		return page
	}
	for c, tree := range l.kept {
		if !filter.wants(reportClass(c)) {
			continue
		}
		found, looked := 0, 0
		tree.Ascend(&statev1.ReportRecord{Id: after + 1}, func(r *statev1.ReportRecord) bool {
			if r.GetId() > page.Through {
				return false
			}
			if found == limit || looked == maxReportsLooked {
				// The page ends before this one, whatever the other class has.
				page.Through, page.More = r.GetId()-1, true
				return false
			}
			looked++
			if filter.matches(r) {
				found++
				page.Reports = append(page.Reports, r)
			}
			return true
		})
	}
	slices.SortFunc(page.Reports, func(a, b *statev1.ReportRecord) int { return cmp.Compare(a.GetId(), b.GetId()) })
	end := 0
	for end < len(page.Reports) && end < limit && page.Reports[end].GetId() <= page.Through {
		end++
	}
	if end == limit && end < len(page.Reports) {
		page.Through, page.More = page.Reports[end-1].GetId(), true
	}
	page.Reports = page.Reports[:end]
	page.Gaps = l.gaps(after, page.Through, &filter)
	return page
}

// gaps tells what was dropped of the ids above after and up to through.
func (l *reportLog) gaps(after, through uint64, f *ReportFilter) []ReportGap {
	var list []ReportGap
	for c, tree := range l.kept {
		if l.lost[c] <= after || !f.wants(reportClass(c)) {
			continue
		}
		if first, ok := tree.Min(); ok && first.GetTime() < f.Since {
			// All that was dropped is from before the time that is asked for.
			continue
		}
		list = append(list, ReportGap{After: after, Through: min(l.lost[c], through), Kinds: f.kindsOf(reportClass(c))})
	}
	return list
}

// kindsOf lists the kinds of a class that the filter lets through.
func (f *ReportFilter) kindsOf(c reportClass) []typesv1.ReportKind {
	var list []typesv1.ReportKind
	for n := range int32(len(typesv1.ReportKind_name) + int(typesv1.ReportKind_REPORT_KIND_MODEL_MODE)) {
		k := typesv1.ReportKind(n)
		if _, known := typesv1.ReportKind_name[n]; known && n != 0 && classOf(k) == c && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, k)) {
			list = append(list, k)
		}
	}
	return list
}

// LastReport returns the id of the newest report, 0 if there was none yet.
func (s *Shard) LastReport() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.reports.next - 1
}
