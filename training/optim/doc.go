// Package optim is the room of how weights move: the learning rate of each step,
// and the rules by which an optimizer turns gradients into new weights.
//
// Formulas and their settings enter; models, data, devices and files do not.
package optim
