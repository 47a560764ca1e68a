package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"trainer/core/conformance"
	"trainer/core/plugin"
)

// checkArg starts this program as the child that judges a backend.
const checkArg = "__check"

// checkJob is what a child judges: cases of one group, from one on.
type checkJob struct {
	Choice  plugin.Choice       `json:"choice"`
	Options conformance.Options `json:"options"`
	Group   conformance.Group   `json:"group"`
	From    int                 `json:"from"`
	Folder  string              `json:"folder"` // for files of training
	Slow    int                 `json:"slow"`   // by how much limits of time are longer
}

// checkMessage is one line of a child: what it begins, what came of it, or how it ended.
type checkMessage struct {
	Begin  string              `json:"begin,omitempty"`
	Result *conformance.Result `json:"result,omitempty"`
	Error  string              `json:"error,omitempty"`
	End    bool                `json:"end,omitempty"`
}

// runCheckIfChild judges and returns true in a child that was started for it.
func runCheckIfChild() bool {
	if len(os.Args) != 2 || os.Args[1] != checkArg {
		return false
	}
	syscall.CloseOnExec(commandsFD)
	syscall.CloseOnExec(eventsFD)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	in, out := os.NewFile(commandsFD, "job"), json.NewEncoder(os.NewFile(eventsFD, "results"))
	var job checkJob
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		fmt.Fprintln(os.Stderr, "trainer: this child is started by trainer, not by hand")
		os.Exit(2)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1) // the parent is gone
	}()
	say := func(m checkMessage) {
		if out.Encode(m) != nil {
			os.Exit(1)
		}
	}
	err := job.run(func(name string) { say(checkMessage{Begin: name}) }, func(res conformance.Result) { say(checkMessage{Result: &res}) })
	if err != nil {
		say(checkMessage{Error: err.Error()})
	}
	say(checkMessage{End: true})
	return true
}

// opening and closing are what a child does beside its cases, printing what it should not.
const (
	opening  = "opening the backend"
	closing  = "shutting the backend down"
	printing = "output"
)

// run judges in this process.
func (j checkJob) run(begin func(string), done func(conformance.Result)) error {
	begin(opening)
	if j.Group.Name == trainingGroup {
		judgeTraining(j.Choice, j.Folder, j.Group.Case[j.From:], begin, done)
		return nil
	}
	b, err := plugin.Open(j.Choice.Candidate)
	if err != nil {
		return err
	}
	s, err := conformance.New(j.Options)
	if err != nil {
		return err
	}
	target := conformance.Target{Backend: b, Path: j.Choice.Candidate.Path, Device: j.Choice.Device}
	if err := s.Judge(target, j.Group, j.From, begin, done); err != nil {
		return err
	}
	begin(closing)
	return s.Close(target, j.Group)
}
