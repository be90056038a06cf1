package store

import "sort"

// sizeStep is how many bytes of log lie between two marks: the precision of
// the byte counts, bought with 16 bytes of memory per step.
const sizeStep = 64 << 10

// sizeIndex tells how many bytes of a log lie behind an index without keeping
// a size for every entry: it marks the running total every sizeStep bytes and
// interpolates between marks. Totals only ever matter as differences.
type sizeIndex struct {
	marks []sizeMark // ascending; the first is the base, just before the log
	last  uint64     // index of the newest entry counted
	total uint64     // running total at last
}

type sizeMark struct{ index, total uint64 }

// reset forgets everything; the next entry has an index above base.
func (s *sizeIndex) reset(base uint64) {
	s.marks = append(s.marks[:0], sizeMark{index: base})
	s.last, s.total = base, 0
}

func (s *sizeIndex) add(index uint64, size int) {
	s.last, s.total = index, s.total+uint64(size)
	if s.total-s.marks[len(s.marks)-1].total >= sizeStep {
		s.marks = append(s.marks, sizeMark{index, s.total})
	}
}

// at returns the running total after index.
func (s *sizeIndex) at(index uint64) uint64 {
	if index >= s.last {
		return s.total
	}
	n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index > index })
	if n == 0 {
		return s.marks[0].total
	}
	lo, hi := s.marks[n-1], sizeMark{s.last, s.total}
	if n < len(s.marks) {
		hi = s.marks[n]
	}
	if hi.index == lo.index {
		return lo.total
	}
	share := float64(index-lo.index) / float64(hi.index-lo.index)
	return lo.total + uint64(share*float64(hi.total-lo.total))
}

// since returns the bytes of the entries after index.
func (s *sizeIndex) since(index uint64) uint64 { return s.total - s.at(index) }

// cutTail forgets the entries after index.
func (s *sizeIndex) cutTail(index uint64) {
	total := s.at(index)
	n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index > index })
	s.marks = s.marks[:max(n, 1)]
	s.last, s.total = index, total
}

// cutHead forgets the entries up to and including index.
func (s *sizeIndex) cutHead(index uint64) {
	total := s.at(index)
	n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index > index })
	rest := append([]sizeMark{{index, total}}, s.marks[n:]...)
	s.marks = rest
}
