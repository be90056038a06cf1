// Package query selects instances by an expression in the Common Expression
// Language (CEL), such as
//
//	state == "pending" && age > duration("1h")
//
// The names that an expression can use are those of Names; docs/query.md tells
// what they mean. An expression is compiled and type-checked once, and then
// evaluated for one instance at a time. It may come from anybody who may read,
// so everything about it is bounded: its length, its nesting, the patterns in
// it, and the cost of evaluating it for one instance.
//
// The result of an evaluation depends on the expression and the instance alone.
// Nothing here knows of clocks, files, networks or replicas: the caller says how
// old an instance is.
package query
