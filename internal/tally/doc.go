// Command tally reads `go test -json` from standard input, prints what failed and which
// tests did not run and why, and closes with one line: N passed, N failed, N skipped. It
// ends with 1 when anything failed or nothing ran. Only counting enters; running tests
// is make's work.
package main
