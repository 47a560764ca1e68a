package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"trainer/fault"
)

// lost says why a worker that left no final record is gone; waited is how its process
// ended. An exit code proves nothing: a backend may call exit.
func (a *attendance) lost(waited error) error {
	who := "the worker"
	if a.worker.backend != "" {
		who += fmt.Sprintf(" (backend %s)", a.worker.backend)
	}
	output := a.worker.output.String()
	status := waitStatus(waited)
	cause, kind := "", fault.Device
	switch native := nativeFault.FindStringSubmatch(output); {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		kind, cause = fault.Memory, "was killed (SIGKILL), as systems do when memory runs out"
	case status.Signaled():
		cause = "was ended by " + signalName(status.Signal())
	case native != nil:
		cause = "was ended by " + native[1] + " outside of trainer's own code"
	case strings.Contains(output, "goroutine "):
		return reportBug(fmt.Sprintf("%s broke %s", who, a.position()), output)
	default:
		cause = fmt.Sprintf("ended with status %d and no final record", status.ExitStatus())
	}
	if kind == fault.Device {
		cause += a.where()
	}
	remedy := "; try another --backend, or report it to who made this one"
	if kind == fault.Memory {
		remedy = "; lower --batch_size or --context_length"
	}
	if a.worker.backend == "" {
		remedy = ""
	}
	return fault.New(kind, "%s %s %s%s", who, cause, a.position(), remedy)
}

// nativeFault is how the Go runtime names a signal that struck outside of Go code, where
// it has no panic to make of it.
var nativeFault = regexp.MustCompile(`(?m)^(SIG[A-Z]+): .*\nPC=`)

// waitStatus is how a process ended.
func waitStatus(waited error) syscall.WaitStatus {
	var exit *exec.ExitError
	if errors.As(waited, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return status
		}
	}
	return 0
}

// tailBytes is how much of a worker's output is kept.
const tailBytes = 64 << 10

// tail keeps the end of what is written to it. Any number of goroutines may use it.
type tail struct {
	mu   sync.Mutex
	last []byte
	lost bool
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - tailBytes; over > 0 {
		t.last, t.lost = append(t.last[:0], t.last[over:]...), true
	}
	return len(p), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return "[…]" + string(t.last)
	}
	return string(t.last)
}
