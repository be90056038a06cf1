package query

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	celcost "cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits of an expression.
const (
	// MaxBytes bounds the text of an expression.
	MaxBytes = 4 << 10
	// MaxNodes bounds the operators, names and values in it.
	MaxNodes = 2000
	// MaxNesting bounds how deep its parts lie in each other.
	MaxNesting = 40
	// MaxLoops bounds how deep all, exists and exists_one lie in each other.
	MaxLoops = 2
	// MaxCost bounds the cost of one evaluation. A comparison costs about 1, a
	// string 1 for 10 bytes that are read, a pattern its size for 4 bytes. The
	// most that is allowed takes some hundredths of a second.
	MaxCost = 100_000
)

// Instance is what an expression is about.
type Instance struct {
	ID          string
	Spec        string
	SpecVersion uint64
	State       string
	Seq         uint64
	Meta        map[string]string
	Created     time.Time
	Updated     time.Time
	// Age is the time since the last step, not below 0.
	Age      time.Duration
	OffModel bool
	// Awaiting counts the steps whose verdict is not known yet.
	Awaiting uint32
	// Terminal says that the model knows no step that leaves the state.
	Terminal bool
}

// variable is a name that expressions can use.
type variable struct {
	name  string
	kind  *cel.Type
	value func(*Instance) ref.Val
}

var variables = []variable{
	{"id", cel.StringType, func(i *Instance) ref.Val { return types.String(i.ID) }},
	{"spec", cel.StringType, func(i *Instance) ref.Val { return types.String(i.Spec) }},
	// Numbers without a sign would need literals like 5u, so these are plain
	// ones: none of them gets near 2^63.
	{"spec_version", cel.IntType, func(i *Instance) ref.Val { return types.Int(i.SpecVersion) }},
	{"state", cel.StringType, func(i *Instance) ref.Val { return types.String(i.State) }},
	{"seq", cel.IntType, func(i *Instance) ref.Val { return types.Int(i.Seq) }},
	{"meta", cel.MapType(cel.StringType, cel.StringType), func(i *Instance) ref.Val {
		return types.NewStringStringMap(types.DefaultTypeAdapter, i.Meta)
	}},
	{"created", cel.TimestampType, func(i *Instance) ref.Val { return types.Timestamp{Time: i.Created} }},
	{"updated", cel.TimestampType, func(i *Instance) ref.Val { return types.Timestamp{Time: i.Updated} }},
	{"age", cel.DurationType, func(i *Instance) ref.Val { return types.Duration{Duration: i.Age} }},
	{"off_model", cel.BoolType, func(i *Instance) ref.Val { return types.Bool(i.OffModel) }},
	{"awaiting", cel.IntType, func(i *Instance) ref.Val { return types.Int(i.Awaiting) }},
	{"terminal", cel.BoolType, func(i *Instance) ref.Val { return types.Bool(i.Terminal) }},
}

// Names lists what an expression can use of an instance, in the order of the documentation.
func Names() []string {
	names := make([]string, len(variables))
	for i, v := range variables {
		names[i] = v.name
	}
	return names
}

// Expression is a compiled expression. It may be used concurrently.
type Expression struct {
	source  string
	program cel.Program
}

// environment is made once, since that takes milliseconds; it is immutable.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		// map and filter make lists, whose cost is not counted in full.
		cel.ClearMacros(),
		cel.Macros(cel.HasMacro, cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro),
		cel.ParserExpressionSizeLimit(MaxBytes), cel.ParserRecursionLimit(MaxNesting), cel.ParserErrorRecoveryLimit(4),
		cel.ExpressionNodeLimit(MaxNodes),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(MaxLoops)),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(options...)
})

// Compile checks an expression and makes it ready. What is wrong with the
// expression is told by an *Error; another error is a failure of this package.
func Compile(source string) (*Expression, error) {
	if len(source) > MaxBytes {
		return nil, &Error{Problem: fmt.Sprintf("is %d bytes long, the limit is %d", len(source), MaxBytes), Limit: true}
	}
	if strings.TrimSpace(source) == "" {
		return nil, &Error{Line: 1, Column: 1, Problem: `is empty: write true to select every instance`}
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	checked, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, failure(issues)
	}
	native := checked.NativeRep()
	if kind := checked.OutputType(); !kind.IsExactType(cel.BoolType) {
		return nil, &Error{Line: 1, Column: 1, Problem: fmt.Sprintf("is of type %s, and must be of type bool: compare it with something", kind)}
	}
	sizes, err := patterns(native)
	if err != nil {
		return nil, err
	}
	cost := func(args []ref.Val, _ ref.Val) *uint64 { return matchCost(sizes, args) }
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(MaxCost), cel.CostTrackerOptions(
		celcost.OverloadTracker(overloads.Matches, cost), celcost.OverloadTracker(overloads.MatchesString, cost)))
	if err != nil {
		// What is left is a constant part without a value, such as 1/0.
		return nil, &Error{Line: 1, Column: 1, Problem: err.Error()}
	}
	return &Expression{source: source, program: program}, nil
}

// position is where a part of the expression begins, from 1.
func position(tree *celast.AST, id int64) (line, column int) {
	at := tree.SourceInfo().GetStartLocation(id)
	return max(at.Line(), 1), max(at.Column()+1, 1)
}

// String returns the text of the expression.
func (e *Expression) String() string { return e.source }

// ErrCost is the error of an evaluation that would cost more than MaxCost.
var ErrCost = errors.New("evaluating the expression for one instance costs too much: use fewer or shorter patterns and loops")

// Match evaluates the expression for an instance and tells what it cost, at
// least 1. The error is ErrCost, or says why the expression has no value for
// the instance, for example because its meta lacks a key.
func (e *Expression) Match(in *Instance) (matches bool, cost uint64, err error) {
	value, details, err := e.program.Eval((*activation)(in))
	cost = 1
	if c := details.ActualCost(); c != nil {
		cost += *c
	}
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return false, MaxCost, ErrCost
	}
	if err != nil {
		return false, cost, err
	}
	b, ok := value.(types.Bool)
	if !ok {
		return false, cost, fmt.Errorf("the expression has a value of type %s, not bool", value.Type().TypeName())
	}
	return bool(b), cost, nil
}

// activation hands the values to an evaluation that it asks for.
type activation Instance

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	for i := range variables {
		if variables[i].name == name {
			return variables[i].value((*Instance)(a)), true
		}
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }
