// Package fault is the vocabulary of errors a person sees: one sentence that
// names the file, field or flag, the value found, what was expected and what to
// do, and the exit code that belongs to it.
//
// Any package may import it; it imports nothing of this project. Errors that are
// bugs in trainer are ordinary errors and end with exit code 1.
package fault
