package query

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Error says what is wrong with an expression, and where.
type Error struct {
	// Line and Column count from 1, columns in characters. They are 0 when the
	// problem is that of the whole expression.
	Line, Column int
	Problem      string
	// More counts further problems.
	More int
	// Limit is set when the expression would be right, but is too large.
	Limit bool
}

// Error gives the place and the problem.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Problem)
	if e.More > 0 {
		fmt.Fprintf(&b, " (and %d more)", e.More)
	}
	return b.String()
}

// maxProblem bounds what is passed on of a message of the parser, which may
// list everything that it would have taken.
const maxProblem = 400

const (
	aDuration  = `write a duration as duration("36h"), with the units h, m, s, ms, us and ns`
	aTimestamp = `write a time as timestamp("2026-01-31T18:00:00Z")`
)

// hints say what to write instead; the first that is about a message is given.
var hints = []struct {
	about *regexp.Regexp
	hint  string
}{
	{regexp.MustCompile(`^undeclared reference`), "an instance has " + strings.Join(Names(), ", ")},
	{regexp.MustCompile(`token recognition error at: '=`), "compare with =="},
	// 1h is a number, and a name where none can be.
	{regexp.MustCompile(` input '(d|h|m|s|ms|us|ns)(\d.*)?' `), aDuration},
	{regexp.MustCompile(`^invalid duration`), aDuration},
	{regexp.MustCompile(`\(duration, ` + literal + `\)|\(` + literal + `, duration\)`), aDuration},
	{regexp.MustCompile(`^invalid timestamp`), aTimestamp},
	{regexp.MustCompile(`\(timestamp, ` + literal + `\)|\(` + literal + `, timestamp\)`), aTimestamp},
}

// literal matches the types that are written without a conversion.
const literal = `(string|int|double)`

// failure makes an Error of the first of the problems, in their order in the text.
func failure(issues *cel.Issues) error {
	all := slices.Clone(issues.Errors())
	slices.SortStableFunc(all, func(a, b *common.Error) int {
		if a.Location.Line() != b.Location.Line() {
			return a.Location.Line() - b.Location.Line()
		}
		return a.Location.Column() - b.Location.Column()
	})
	first := all[0]
	problem := strings.ReplaceAll(first.Message, " (in container '')", "")
	if len(problem) > maxProblem {
		problem = strings.ToValidUTF8(problem[:maxProblem], "") + "..."
	}
	for _, h := range hints {
		if h.about.MatchString(first.Message) {
			problem += ": " + h.hint
			break
		}
	}
	e := &Error{Line: max(first.Location.Line(), 1), Column: max(first.Location.Column()+1, 1), Problem: problem, More: len(all) - 1}
	for _, limit := range []string{"recursion limit", "nesting", "node limit", "size limit", "exceeds limit"} {
		e.Limit = e.Limit || strings.Contains(problem, limit)
	}
	return e
}

// Refusal turns what Compile and Examine say against an expression into the error
// of a request whose field "where" it is; other errors stay as they are.
func Refusal(err error) error {
	var bad *Error
	switch {
	case errors.As(err, &bad) && !bad.Limit:
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "where: %v", err)
	case errors.As(err, &bad), errors.Is(err, ErrCost):
		return fsm.Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED, "where: %v", err)
	}
	return err
}
