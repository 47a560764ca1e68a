package main

import (
	"errors"
	"fmt"
	"os"

	"trainer/core/plugin"
	"trainer/fault"
)

func main() {
	if plugin.RunProbeIfChild() || runCheckIfChild() {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		runWorker(jobs)
		return
	}
	os.Exit(run(os.Args[1:], &console{out: os.Stdout, err: os.Stderr}))
}

// run does what the arguments say and returns the exit code.
func run(args []string, c *console) int {
	err := guard(func() error {
		root := newRoot(c)
		root.SetArgs(normalise(root, args))
		return root.Execute()
	})
	var known *fault.Error
	var signal *stopped
	if err != nil && !errors.As(err, &known) && !errors.As(err, &signal) {
		err = reportBug(err.Error(), "")
	}
	if err != nil {
		fmt.Fprintf(c.err, "trainer: %s\n", oneLine(err.Error()))
	}
	return exitCode(err)
}
