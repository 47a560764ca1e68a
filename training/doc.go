// Package training teaches any core/model: it builds the programs of a step, loads and
// quantises weights, runs the loop, evaluates and saves.
//
// Life of one step: a micro-batch's tokens are uploaded; the body runs forward; the
// head computes loss and gradient of the labelled rows; the body runs backward and adds
// to the gradient accumulators. After the last micro-batch the update program takes the
// global norm, guards, and steps the optimizer. See step.go for the graphs, loop.go
// for the order and snapshot.go for what outlives a run that is interrupted.
//
// What may enter: what holds for every model and every backend. What may not: llama,
// core/plugin, flags and terminals.
package training
