// Package data is the room where a file of examples becomes batches of token
// ids: reading records, prompt templates, masking, order, padding.
//
// Files a stranger wrote enter here and leave as checked numbers or as a
// *fault.Error that names file and line. Models, devices and weights do not
// enter; a tokenizer does, as the interface Tokenizer.
package data
