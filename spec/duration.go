package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// infinity is how a document writes "never".
const infinity = "infinity"

// ParseDuration reads a duration as specifications write it: "infinity" (as 0), a Go duration, or a number of days with
// an optional Go duration behind it ("2d", "1d12h"). The result is positive or, for
// infinity, zero. The error is a *FieldError without a field.
func ParseDuration(text string) (time.Duration, error) {
	if text == infinity {
		return 0, nil
	}
	bad := func(problem, hint string) error {
		return &FieldError{Problem: fmt.Sprintf("%s %s", quote(text), problem), Hint: hint, Kind: Malformed}
	}
	const form = "write for example 100ms, 30s, 6h, 2d or infinity"
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, bad("has no unit", form)
	}
	rest, total := text, time.Duration(0)
	if days, after, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil {
			return 0, bad("is not a duration", form)
		}
		if n > uint64(math.MaxInt64/day) {
			return 0, bad("is too long", "write infinity for never")
		}
		rest, total = after, time.Duration(n)*day
	}
	if rest != "" {
		if total > 0 && (rest[0] == '-' || rest[0] == '+') {
			return 0, bad("is not a duration", form)
		}
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, bad("is not a duration", form)
		}
		if d > math.MaxInt64-total {
			return 0, bad("is too long", "write infinity for never")
		}
		total += d
	}
	if total <= 0 {
		return 0, bad("is not a positive duration", "write infinity for never")
	}
	return total, nil
}

// formatDuration writes a duration in the shortest form that ParseDuration reads
// back to the same value; 0 is infinity.
func formatDuration(d time.Duration) string {
	if d <= 0 {
		return infinity
	}
	var b strings.Builder
	if days := d / day; days > 0 {
		fmt.Fprintf(&b, "%dd", days)
		d -= days * day
	}
	if h := d / time.Hour; h > 0 {
		fmt.Fprintf(&b, "%dh", h)
		d -= h * time.Hour
	}
	if m := d / time.Minute; m > 0 {
		fmt.Fprintf(&b, "%dm", m)
		d -= m * time.Minute
	}
	if d > 0 {
		b.WriteString(d.String())
	}
	return b.String()
}
