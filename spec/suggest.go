package spec

// distance is the number of edits (insert, delete, replace, swap of neighbours)
// that turn a into b, counted in bytes.
func distance(a, b string) int {
	// Three rows are enough: swaps look two rows back.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// suggest returns the candidate nearest to the word, or "" when none is near:
// at most a third of the longer word may differ.
func suggest(word string, candidates []string) string {
	best, bestDistance := "", 0
	for _, c := range candidates {
		longer := max(len(word), len(c))
		if abs := len(word) - len(c); 3*abs > longer || -3*abs > longer {
			continue
		}
		if d := distance(word, c); 3*d <= longer && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}
