package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of test2json.
type event struct {
	Action, Package, Test, Output string
}

type key struct{ pkg, test string }

// report collects what tests said and how they ended.
type report struct {
	output                  map[key]*strings.Builder
	passed, failed, skipped int
	failedIn                map[string]bool // packages with a failed test
}

func main() {
	r := report{output: map[key]*strings.Builder{}, failedIn: map[string]bool{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text())
			continue
		}
		r.add(os.Stdout, e)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if in.Err() != nil || r.failed > 0 || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) add(w io.Writer, e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		if r.output[k] == nil {
			r.output[k] = &strings.Builder{}
		}
		r.output[k].WriteString(e.Output)
	case "build-fail":
		r.print(w, k)
	case "pass":
		r.count(&r.passed, e)
	case "skip":
		r.count(&r.skipped, e)
		if e.Test != "" {
			r.print(w, k)
		}
	case "fail":
		r.print(w, k)
		// A package that fails without a failed test did not build or died: it counts as one.
		if e.Test != "" || !r.failedIn[e.Package] {
			r.failed++
		}
		r.failedIn[e.Package] = true
	}
}

func (r *report) count(n *int, e event) {
	if e.Test != "" {
		*n++
		return
	}
	if e.Action == "pass" {
		fmt.Printf("ok  %s\n", e.Package)
	}
}

func (r *report) print(w io.Writer, k key) {
	if b := r.output[k]; b != nil {
		fmt.Fprint(w, b.String())
	}
}
