package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"trainer/fault"
)

// reportBug writes what is known of a bug in trainer to a file, so that a person sees one
// sentence and never a trace, and returns that sentence.
func reportBug(what, trace string) error {
	what, _, _ = strings.Cut(what, "\n")
	f, err := os.CreateTemp("", "trainer-report-*.txt")
	if err != nil {
		return fault.New(fault.Bug, "a bug in trainer: %s; no report could be written: %w", what, err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n%s\n\n%s\n", versionLine(), what, trace)
	return fault.New(fault.Bug, "a bug in trainer: %s; please report it with the file %s", what, f.Name())
}

// guard turns a panic of do into an error.
func guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = reportBug(fmt.Sprint(r), string(debug.Stack()))
		}
	}()
	return do()
}
