// Package model holds the nouns a model offers and training uses, so that neither
// imports the other: parameter specs, token inputs, and the seam where weights of any
// format and adapters attach. Interfaces and plain types only; no model, no training.
package model
