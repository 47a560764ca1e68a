package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"trainer/core/plugin"
	"trainer/fault"
)

// How long a worker may take to leave after its final record; how long what it printed may
// be waited for; how long events may be read after it left.
const (
	leaveWithin = 5 * time.Second
	printWithin = 2 * time.Second
	drainWithin = 10 * time.Second
)

// worker is a running worker process, as the launcher sees it.
type worker struct {
	process  *exec.Cmd
	commands *frames
	toWorker *os.File
	output   *tail // what it and the backend wrote to standard output and error
	incoming chan received
	exited   chan error
	backend  string
	journal  *os.File // where it writes what it does
}

// received is an event, or why there is none.
type received struct {
	event event
	err   error
}

// links are the files between launcher and worker: two pipes, and the page of the journal.
type links struct{ commandsIn, commandsOut, eventsIn, eventsOut, journal *os.File }

func openLinks() (l links, err error) {
	if l.commandsIn, l.commandsOut, err = os.Pipe(); err != nil {
		return l, fmt.Errorf("make a pipe: %w", err)
	}
	if l.eventsIn, l.eventsOut, err = os.Pipe(); err != nil {
		err = fmt.Errorf("make a pipe: %w", err)
	} else {
		l.journal, err = plugin.NewJournal()
	}
	if err != nil {
		l.close()
	}
	return l, err
}

func (l links) close() {
	for _, f := range []*os.File{l.commandsIn, l.commandsOut, l.eventsIn, l.eventsOut, l.journal} {
		_ = f.Close() // nothing was written, and a nil file only says that it is none
	}
}

// startWorker starts a worker in a process group of its own, so that the terminal's
// signals reach the launcher alone, and hands it the job.
func startWorker(job Job) (*worker, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	l, err := openLinks()
	if err != nil {
		return nil, err
	}
	w := &worker{journal: l.journal, process: exec.Command(executable, workerArg), commands: &frames{out: l.commandsOut}, toWorker: l.commandsOut, output: &tail{},
		incoming: make(chan received), exited: make(chan error, 1), backend: job.Device.Candidate.Name}
	w.process.ExtraFiles = []*os.File{l.commandsIn, l.eventsOut, l.journal}
	if job.lock != nil {
		w.process.ExtraFiles = append(w.process.ExtraFiles, job.lock) // held as long as the worker lives
	}
	w.process.Stdout, w.process.Stderr = w.output, w.output
	w.process.WaitDelay = printWithin
	w.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.process.Start(); err != nil {
		l.close()
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	_, _ = l.commandsIn.Close(), l.eventsOut.Close() // the worker has them
	go w.attend(l.eventsIn)
	go w.listen(l.eventsIn)
	if err := w.commands.send(command{Job: &job}); err != nil && !errors.Is(err, syscall.EPIPE) {
		w.kill()
		_ = w.leave(leaveWithin)
		return nil, err // a worker that died already shows in its events
	}
	return w, nil
}

// attend waits for the end of the process, and ends what is left of it.
func (w *worker) attend(events *os.File) {
	ended := w.process.Wait()
	w.kill() // nothing it started may live on
	w.exited <- ended
	time.Sleep(drainWithin)
	_ = events.Close() // a grandchild that got away may hold the other end
}

// listen hands on every event until the stream ends.
func (w *worker) listen(in io.Reader) {
	defer close(w.incoming)
	buffered := bufio.NewReader(in)
	for {
		var e event
		err := receive(buffered, &e)
		w.incoming <- received{e, err}
		if err != nil {
			return
		}
	}
}

// stop asks the worker to end after the step under way.
func (w *worker) stop() { _ = w.commands.send(command{Stop: true}) } // one that died shows elsewhere

// kill ends the worker and what it started.
func (w *worker) kill() { _ = syscall.Kill(-w.process.Process.Pid, syscall.SIGKILL) }

// leave waits for the process to end, killing it when it does not. Pending events are
// dropped. It returns how the process ended.
func (w *worker) leave(within time.Duration) error {
	_ = w.toWorker.Close() // a worker that still listens ends now
	go func() {
		for range w.incoming {
		}
	}()
	select {
	case err := <-w.exited:
		return err
	case <-time.After(within):
		w.kill()
		return <-w.exited
	}
}

// stopped is the end of a job by a signal.
type stopped struct {
	signal   syscall.Signal
	sentence string
}

func (s *stopped) Error() string { return s.sentence }

// exitCode is the program's exit code for err.
func exitCode(err error) int {
	var s *stopped
	if errors.As(err, &s) {
		return 128 + int(s.signal)
	}
	return fault.ExitCode(err)
}

// launch runs a job in a worker and shows its events until the final record. The first
// signal asks the worker to finish its step and save; the second kills it. An error of
// show stops the worker the same way and is what launch returns.
func launch(job Job, show func(event) error) (Result, error) {
	signals := listenForSignals()
	defer signals.close()
	w, err := startWorker(job)
	if err != nil {
		return Result{}, err
	}
	defer w.journal.Close() // only read
	run := attendance{worker: w, show: show, dog: newWatchdog(job)}
	look := time.NewTicker(run.dog.every())
	defer look.Stop()
	for {
		select {
		case s := <-signals.c:
			if run.signal != 0 {
				w.kill()
				w.leave(leaveWithin)
				return Result{}, &stopped{s, fmt.Sprintf("ended at once by a second signal, %s, %s", signalName(s), run.position())}
			}
			run.signal = s
			w.stop()
		case <-look.C:
			if err := run.hangs(); err != nil {
				return Result{}, err
			}
		case r, open := <-w.incoming:
			if done, result, err := run.take(r, open); done {
				return result, err
			}
		}
	}
}

// attendance is what the launcher knows of a running worker.
type attendance struct {
	worker  *worker
	show    func(event) error
	dog     watchdog
	signal  syscall.Signal // that asked it to stop
	step    int            // the last that was reported
	saved   string         // folder it saved to
	last    string         // checkpoint it saved
	showErr error          // why events are no longer shown
}

// take handles one event. done tells that the job is over.
func (a *attendance) take(r received, open bool) (done bool, result Result, err error) {
	if !open || r.err != nil {
		if !open || errors.Is(r.err, io.EOF) {
			return true, Result{}, a.lost(a.worker.leave(leaveWithin))
		}
		a.worker.kill()
		a.worker.leave(leaveWithin)
		return true, Result{}, fault.New(fault.Device, "the worker (backend %s) sent what is no message %s: %w", a.worker.backend, a.position(), r.err)
	}
	if f := r.event.Final; f != nil {
		a.worker.leave(leaveWithin)
		result, err = a.finish(f)
		return true, result, err
	}
	if s := r.event.Step; s != nil {
		a.step = s.Step
		a.dog.learn(time.Duration(float64(s.Seconds) * float64(time.Second)))
	}
	if r.event.Saved != "" {
		a.saved = r.event.Saved
	}
	if r.event.Checkpoint != "" {
		a.last = r.event.Checkpoint
	}
	if a.showErr == nil {
		if a.showErr = a.show(r.event); a.showErr != nil {
			a.worker.stop()
		}
	}
	return false, Result{}, nil
}

// finish turns the final record into what the job returned.
func (a *attendance) finish(f *final) (Result, error) {
	if f.Kind == int(fault.Bug) {
		return f.Result, reportBug(f.Sentence, f.Stack+a.worker.output.String())
	}
	if f.Kind != 0 {
		return f.Result, fault.New(fault.Kind(f.Kind), "%s", f.Sentence)
	}
	if a.showErr != nil {
		return f.Result, a.showErr
	}
	if f.Result.Interrupted {
		saved := "nothing was saved"
		if in := cmp.Or(a.saved, a.last); in != "" {
			saved = "what was trained so far is saved in " + in
		}
		if a.last != "" {
			saved += ", and --resume auto goes on from there"
		}
		return f.Result, &stopped{a.signal, fmt.Sprintf("ended by %s %s; %s", signalName(a.signal), a.position(), saved)}
	}
	return f.Result, nil
}

// position says how far the run came.
func (a *attendance) position() string {
	if a.step == 0 {
		return "before the first step"
	}
	return fmt.Sprintf("after step %d", a.step)
}
