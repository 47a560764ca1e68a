package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"trainer/core/plugin"
	"trainer/fault"
	"trainer/training/metrics"
)

// workerArg starts this program as a worker.
const workerArg = "__worker"

// What a worker inherits: two pipes, and the journal of its calls.
const (
	commandsFD = 3
	eventsFD   = 4
	journalFD  = 5
)

// runWorker is the life of a worker: one job, its events, one final record.
func runWorker(jobs work) {
	syscall.CloseOnExec(commandsFD)
	syscall.CloseOnExec(eventsFD)
	syscall.CloseOnExec(journalFD)
	commands := bufio.NewReader(os.NewFile(commandsFD, "commands"))
	events := &frames{out: os.NewFile(eventsFD, "events")}
	var first command
	if err := receive(commands, &first); err != nil || first.Job == nil {
		fmt.Fprintln(os.Stderr, "trainer: a worker is started by trainer, not by hand")
		os.Exit(int(fault.Usage))
	}
	if err := plugin.KeepJournal(os.NewFile(journalFD, "journal")); err != nil {
		fmt.Fprintln(os.Stderr, "trainer:", err) // the job is done without one
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go obey(commands, stop)
	if err := events.send(event{Final: perform(ctx, jobs, *first.Job, emitter{events})}); err != nil {
		os.Exit(int(fault.Bug)) // the launcher is gone or did not understand
	}
}

// obey stops the job when told to, and ends the worker when the launcher is gone.
func obey(commands *bufio.Reader, stop context.CancelFunc) {
	for {
		var c command
		if receive(commands, &c) != nil {
			os.Exit(int(fault.Bug)) // nobody waits for the result
		}
		if c.Stop {
			stop()
		}
	}
}

// perform does the job and says how it ended, whatever happens in between.
func perform(ctx context.Context, jobs work, job Job, events Events) (end *final) {
	defer func() {
		if r := recover(); r != nil {
			end = &final{Kind: int(fault.Bug), Sentence: fmt.Sprint(r), Stack: string(debug.Stack())}
		}
	}()
	do := jobs[job.Command]
	if do == nil {
		return &final{Kind: int(fault.Bug), Sentence: fmt.Sprintf("no worker does %q", job.Command)}
	}
	result, err := do(ctx, job, events)
	if err != nil {
		return &final{Result: result, Kind: fault.ExitCode(err), Sentence: err.Error()}
	}
	return &final{Result: result}
}

// emitter sends events to the launcher.
type emitter struct{ out *frames }

func (e emitter) Log(format string, args ...any) error {
	return e.out.send(event{Log: fmt.Sprintf(format, args...)})
}
func (e emitter) Plan(p PlanReport) error     { return e.out.send(event{Plan: &p}) }
func (e emitter) Start(s Start) error         { return e.out.send(event{Start: &s}) }
func (e emitter) Step(s metrics.Step) error   { return e.out.send(event{Step: &s}) }
func (e emitter) Eval(v metrics.Eval) error   { return e.out.send(event{Eval: &v}) }
func (e emitter) Answer(a Answer) error       { return e.out.send(event{Answer: &a}) }
func (e emitter) Saved(dir string) error      { return e.out.send(event{Saved: dir}) }
func (e emitter) Checkpoint(dir string) error { return e.out.send(event{Checkpoint: dir}) }
