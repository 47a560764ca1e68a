package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	probeCommand = "__probe"
	probeEnv     = "TRAINER_PROBE" // set in the child, so that no child has children
	maxProbe     = 4 << 20         // bytes of the child's answer
)

// probeMessage is one line of the child: where it is, or how it ended.
type probeMessage struct {
	Stage    string       `json:"stage,omitempty"`
	Reason   Code         `json:"reason,omitempty"` // set in the last message
	Sentence string       `json:"sentence,omitempty"`
	Devices  []DeviceInfo `json:"devices,omitempty"`
}

// probe loads a library in a child process and returns its devices. Only an explicit
// last message counts; an exit code proves nothing.
func probe(real string, timeout time.Duration) ([]DeviceInfo, error) {
	if os.Getenv(probeEnv) != "" {
		return nil, refuse(ReasonProtocol, "cannot be tried inside the trial of another backend; the program does not begin with RunProbeIfChild")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	child, answers, err := startProbe(ctx, real)
	if err != nil {
		return nil, refuse(ReasonProtocol, "cannot be tried: %v", err)
	}
	defer answers.Close()
	deadline, _ := ctx.Deadline()
	_ = answers.SetReadDeadline(deadline)
	last, stage, err := readProbe(answers)
	if err == nil {
		child.kill() // it has said everything; nothing it started may live on
	}
	_ = child.Wait()
	child.kill()
	if err == nil && last.Reason == ReasonOK {
		if len(child.stdout.bytes) > 0 {
			return nil, refuse(ReasonSideEffects, "writes to standard output: %.60q", child.stdout.bytes)
		}
		return last.Devices, nil
	}
	if err == nil {
		return nil, &Refusal{last.Reason, last.Sentence}
	}
	return nil, child.explain(ctx, stage, timeout, err)
}

// probeChild is a running trial in a process group of its own.
type probeChild struct {
	*exec.Cmd
	stdout, stderr firstBytes
}

func startProbe(ctx context.Context, real string) (*probeChild, *os.File, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	child := &probeChild{Cmd: exec.CommandContext(ctx, exe, probeCommand, real)}
	child.Env = append(os.Environ(), probeEnv+"=1", "GOTRACEBACK=single")
	child.ExtraFiles = []*os.File{w}
	child.Stdout, child.Stderr = &child.stdout, &child.stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	child.Cancel = func() error { child.kill(); return nil }
	child.WaitDelay = 500 * time.Millisecond
	if err := child.Start(); err != nil {
		r.Close()
		return nil, nil, err
	}
	return child, r, nil
}

// kill ends the whole group.
func (c *probeChild) kill() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// readProbe reads messages up to the last. stage is where the child was.
func readProbe(r io.Reader) (last probeMessage, stage string, err error) {
	stage = "starting"
	dec := json.NewDecoder(io.LimitReader(r, maxProbe))
	for {
		var m probeMessage
		if err := dec.Decode(&m); err != nil {
			return m, stage, err
		}
		if m.Reason != "" {
			return m, stage, nil
		}
		stage = m.Stage
	}
}

var signalName = regexp.MustCompile(`\bSIG[A-Z]{2,6}\b`)

// explain says how a child ended that gave no last message.
func (c *probeChild) explain(ctx context.Context, stage string, timeout time.Duration, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return refuse(ReasonTimeout, "gave no answer within %s while %s", timeout, stage)
	}
	if !errors.Is(err, io.EOF) {
		return refuse(ReasonProtocol, "disturbed the answer of its trial while %s: %v", stage, err)
	}
	status, _ := c.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return refuse(ReasonCrashed, "crashed (%s) while %s", strings.ToLower(status.Signal().String()), stage)
	}
	// The Go runtime reports a signal that hits foreign code and exits with 2.
	if name := signalName.FindString(string(c.stderr.bytes)); name != "" && status.ExitStatus() == 2 {
		return refuse(ReasonCrashed, "crashed (%s) while %s", name, stage)
	}
	return refuse(ReasonExit, "ended the program with exit code %d while %s", status.ExitStatus(), stage)
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct{ bytes []byte }

// Write keeps what still has room and takes the rest.
func (f *firstBytes) Write(p []byte) (int, error) {
	const most = 8 << 10
	f.bytes = append(f.bytes, p[:min(len(p), most-len(f.bytes))]...)
	return len(p), nil
}

// send writes one message to the parent.
func send(out io.Writer, m probeMessage) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	_, err = out.Write(append(line, '\n'))
	return err
}
