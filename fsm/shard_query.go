package fsm

// Candidate is an instance that an expression is to be evaluated for.
type Candidate struct {
	*InstanceView
	// Terminal says that the model leads to the state and not away from it.
	Terminal bool
}

// Scan is List for a reader who decides about each instance, and so needs more
// of it than is shown. The bounds and the results are those of List.
func (s *Shard) Scan(namespace, spec, state, after string, limit int) (list []Candidate, last string, more bool) {
	const maxLooked = 20_000
	s.mu.RLock()
	defer s.mu.RUnlock()
	looked := 0
	s.records.Ascend(&record{key: Key{namespace, after}}, func(r *record) bool {
		if r.key.Namespace != namespace {
			return false
		}
		if r.key.ID == after && after != "" {
			return true
		}
		if len(list) == limit || looked == maxLooked {
			more = true
			return false
		}
		looked++
		last = r.key.ID
		if in := r.live; in != nil && (spec == "" || in.spec.Name == spec) && (state == "" || in.state == state) {
			list = append(list, Candidate{s.addDeadlines(viewOf(r), in), s.spec(in.spec).ended(in.state)})
		}
		return true
	})
	return list, last, more
}
