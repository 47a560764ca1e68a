// Package conformance judges a backend: one file per kernel family holds its cases,
// tolerances and benchmark sizes, and Run compares what a device computes with the
// float64 reference, byte guards and determinism included. Files of the border's nouns
// (structs, handles, lists, timelines, ...) hold behaviours: calls, right and wrong, whose
// answers the header demands. Every failure names a demand of one published table. It is
// the definition of "works" for every backend, and the one behind `trainer backend check`.
//
// What may enter: cases, tolerances, the runner over core/plugin, reports. What may
// not: anything that knows one backend by name, sessions, models.
package conformance
