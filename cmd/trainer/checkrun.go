package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"trainer/core/conformance"
	"trainer/core/plugin"
)

// Limits of a child: how long a case may take, how long a fine-tune, how often the program
// may end within a group before the rest of it is given up.
var caseWithin = 150 * time.Second

const (
	trainingWithin = 15 * time.Minute
	mostCrashes    = 12
)

// judgeGroup judges a group in children: one that crashes or hangs is a result, and the
// next goes on behind it.
func judgeGroup(job checkJob) (results []conformance.Result) {
	for crashes := 0; job.From < len(job.Group.Case); {
		some, died := runChild(job)
		results = append(results, some...)
		if !died {
			return results
		}
		job.From += len(some)
		if crashes++; crashes == mostCrashes && job.From < len(job.Group.Case) {
			return append(results, conformance.Result{Op: job.Group.Title(), Case: job.Group.Case[job.From], Status: conformance.Fail, Demand: "process.survives",
				Reason: fmt.Sprintf("not tried, nor what comes behind it: the program has ended %d times in this group", crashes)})
		}
	}
	return results
}

// beside tells whether what a child does is no case of its group.
func beside(now string) bool { return now == opening || now == closing || now == printing }

// runChild judges what it can in one child. died: it ended within a case, whose
// result is the last.
func runChild(job checkJob) (results []conformance.Result, died bool) {
	c, err := startCheck(job)
	if err != nil {
		return []conformance.Result{job.failed(opening, "process.survives", err.Error())}, false
	}
	defer c.end()
	now := opening
	for {
		m, err := c.next(job.limit(now))
		switch {
		case err != nil:
			demand, reason := c.explain(now, err)
			return append(results, job.failed(now, demand, reason)), !beside(now)
		case m.Begin != "":
			now = m.Begin
		case m.Result != nil:
			results = append(results, *m.Result)
		case m.Error != "":
			return append(results, job.failed(now, "op.runs", m.Error)), false
		case m.End:
			c.end()
			if text := strings.TrimSpace(c.output.String()); text != "" {
				results = append(results, job.failed(printing, "process.silent", fmt.Sprintf("it printed %.200q", text)))
			}
			return results, false
		}
	}
}

func (j checkJob) failed(name, demand, reason string) conformance.Result {
	return conformance.Result{Op: j.Group.Title(), Case: name, Status: conformance.Fail, Demand: demand, Reason: reason}
}

// limit is how long what a child does now may take.
func (j checkJob) limit(now string) time.Duration {
	within := caseWithin
	switch {
	case j.Group.Name == trainingGroup:
		within = trainingWithin
	case now == opening && j.Choice.Candidate.Manifest != nil:
		within += j.Choice.Candidate.Manifest.OpenTimeout()
	}
	return time.Duration(max(1, j.Slow)) * within
}

// checkChild is a running child in a process group of its own.
type checkChild struct {
	process  *exec.Cmd
	job      *os.File
	answers  *os.File
	messages *json.Decoder
	output   *tail
	ended    bool
}

func startCheck(job checkJob) (*checkChild, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	jobIn, jobOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer jobIn.Close()
	answers, results, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), jobOut.Close())
	}
	defer results.Close()
	c := &checkChild{process: exec.Command(executable, checkArg), job: jobOut, answers: answers, messages: json.NewDecoder(answers), output: &tail{}}
	c.process.Env = append(os.Environ(), "GOTRACEBACK=single")
	c.process.ExtraFiles = []*os.File{jobIn, results}
	c.process.Stdout, c.process.Stderr = c.output, c.output
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.process.WaitDelay = printWithin
	if err := c.process.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a child: %w", err), jobOut.Close(), answers.Close())
	}
	if err := json.NewEncoder(jobOut).Encode(job); err != nil && !errors.Is(err, syscall.EPIPE) {
		c.end()
		return nil, fmt.Errorf("send the job: %w", err)
	}
	return c, nil
}

// next reads a message.
func (c *checkChild) next(within time.Duration) (m checkMessage, err error) {
	_ = c.answers.SetReadDeadline(time.Now().Add(within))
	err = c.messages.Decode(&m)
	return m, err
}

// end ends the child, what it started, and what it printed to. One that has said all gets
// a moment to leave by itself.
func (c *checkChild) end() {
	if c.ended {
		return
	}
	c.ended = true
	late := time.AfterFunc(leaveWithin, c.kill)
	_ = c.process.Wait()
	late.Stop()
	c.kill()
	_ = c.job.Close()
	_ = c.answers.Close()
}

func (c *checkChild) kill() { _ = syscall.Kill(-c.process.Process.Pid, syscall.SIGKILL) }

// explain says how a child ended that broke off while it did something.
func (c *checkChild) explain(now string, err error) (demand, reason string) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.kill()
		c.end()
		return "process.ends", "no call returned in time; the process was ended"
	}
	c.end()
	status := waitStatus(&exec.ExitError{ProcessState: c.process.ProcessState})
	output := c.output.String()
	native := nativeFault.FindStringSubmatch(output)
	switch {
	case status.Signaled():
		return "process.survives", "the process was ended by " + signalName(status.Signal())
	case native != nil:
		return "process.survives", "the process was ended by " + native[1] + " in the backend"
	case strings.Contains(output, "panic: ") || strings.Contains(output, "fatal error: "):
		return "process.survives", "the process broke: " + firstLine(output)
	}
	return "process.survives", fmt.Sprintf("the process ended with exit code %d", status.ExitStatus())
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// judgeHere judges a group in this process, for debuggers.
func judgeHere(job checkJob) (results []conformance.Result) {
	now := opening
	err := job.run(func(name string) { now = name }, func(res conformance.Result) { results = append(results, res) })
	if err != nil {
		results = append(results, job.failed(now, "op.runs", err.Error()))
	}
	return results
}

// fileGroup is the group of what comes before a backend is judged.
const fileGroup = "file"

// examined is the result of the stages before a backend is judged at all.
func examined(c plugin.Candidate) conformance.Result {
	res := conformance.Result{Op: fileGroup, Case: "found, read and tried", Status: conformance.Pass, Demand: "file.usable"}
	if !c.Usable() {
		res.Status, res.Reason = conformance.Fail, fmt.Sprintf("%s: %s", c.Reason, c.Sentence)
	}
	return res
}
