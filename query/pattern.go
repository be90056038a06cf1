package query

import (
	"fmt"
	"regexp/syntax"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// MaxPattern bounds the size of a pattern of matches: its characters and
// operators, with what is repeated counted as often as it is repeated.
const MaxPattern = 500

// matches is the one function whose cost its arguments do not show.
const matches = "matches"

// patterns checks the patterns of an expression and returns their sizes. A
// pattern must be written in the expression: one that comes with an instance
// would have to be compiled again for each, at a cost that nobody knows before.
func patterns(tree *celast.AST) (map[string]int, error) {
	sizes := map[string]int{}
	var failed error
	celast.PostOrderVisit(tree.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if failed != nil || e.Kind() != celast.CallKind || e.AsCall().FunctionName() != matches {
			return
		}
		args := e.AsCall().Args()
		at := e
		problem := "matches needs a pattern that is written in the expression, in quotes"
		limit := false
		if n := len(args); n > 0 {
			at = args[n-1]
		}
		if at.Kind() == celast.LiteralKind {
			if text, ok := at.AsLiteral().(types.String); ok {
				size, err := patternSize(string(text))
				switch {
				case err != nil:
					problem = fmt.Sprintf("the pattern cannot be read: %v", err)
				case size > MaxPattern:
					problem, limit = fmt.Sprintf("the pattern has the size %d, the limit is %d: repeat less in it", size, MaxPattern), true
				default:
					sizes[string(text)] = size
					return
				}
			}
		}
		line, column := position(tree, at.ID())
		failed = &Error{Line: line, Column: column, Problem: problem, Limit: limit}
	}))
	return sizes, failed
}

func patternSize(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return sizeOf(re), nil
}

// sizeOf is about the number of instructions that the pattern compiles to; it
// stops growing above the limit.
func sizeOf(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		size = min(size+sizeOf(sub), MaxPattern*1000)
	}
	if re.Op == syntax.OpRepeat {
		size = min(size*max(re.Min, re.Max, 1), MaxPattern*1000)
	}
	return size
}

// matchCost is the cost of one use of a pattern: the bytes that it reads, at a
// quarter, times its size.
func matchCost(sizes map[string]int, args []ref.Val) *uint64 {
	text, _ := args[0].(types.String)
	pattern, _ := args[len(args)-1].(types.String)
	cost := (uint64(len(text))/4 + 1) * uint64(max(sizes[string(pattern)], 1))
	return &cost
}
