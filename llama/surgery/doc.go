// Package surgery makes new model and adapter folders from old ones: an adapter merged into
// its base, a model grown by blocks, adapters and models in the formats of other programs.
//
// Everything streams, some rows of one tensor at a time, so that a model larger than the
// memory passes through; what is written appears whole or not at all. It computes in plain
// Go and knows neither devices nor training.
package surgery
