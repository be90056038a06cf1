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
	s.mu.RLock()
	defer s.mu.RUnlock()
	last, more = s.scan(namespace, spec, state, after, limit, func(v *InstanceView, in *instance) {
		list = append(list, Candidate{v, s.spec(in.spec).ended(in.state)})
	})
	return list, last, more
}
