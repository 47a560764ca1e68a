// Package op says what an op is: values, nodes and graphs, and for each kernel
// family, one file each, its shapes, attributes, backward rule and composition.
//
// A graph is static single assignment: every transient value is written once, by one
// node; only states change, and only through ops that say so. Views are values that
// share a root's storage; they cost nothing at run time. Only compositions, which no
// later pass takes apart, also build a value up in parts and sums.
//
// What may enter: families the border has an id for, written in terms of abi. What may
// not: devices, memory addresses, passes over whole graphs (core/program), models.
package op
