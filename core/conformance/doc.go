// Package conformance judges a backend: one file per kernel family holds its cases,
// tolerances and benchmark sizes, and Run compares what a device computes with the
// float64 reference, byte guards and determinism included. It is the definition of
// "works" for every backend, and the one behind `trainer backend check`.
//
// What may enter: cases, tolerances, the runner over core/plugin, reports. What may
// not: anything that knows one backend by name, sessions, models.
package conformance
