// Package reference computes every op in plain float64 Go, slowly and obviously: one
// file per kernel family, and a machine that runs any graph. It is what compositions,
// backward rules and backends are judged by.
//
// What may enter: the semantics of the border's header and the bookkeeping to run a
// graph. What may not: speed, devices, knowledge of a backend or a model.
package reference
