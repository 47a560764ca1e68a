package main

import (
	"os"
	"os/signal"
	"syscall"
)

// signalNames are the signals that end a run in good order.
var signalNames = map[syscall.Signal]string{
	syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGHUP: "SIGHUP", syscall.SIGUSR1: "SIGUSR1",
}

func signalName(s syscall.Signal) string {
	if name := signalNames[s]; name != "" {
		return name
	}
	others := map[syscall.Signal]string{syscall.SIGSEGV: "SIGSEGV", syscall.SIGBUS: "SIGBUS", syscall.SIGABRT: "SIGABRT",
		syscall.SIGILL: "SIGILL", syscall.SIGFPE: "SIGFPE", syscall.SIGKILL: "SIGKILL"}
	if name := others[s]; name != "" {
		return name
	}
	return s.String()
}

// signalSource delivers signals as they come.
type signalSource struct {
	c   chan syscall.Signal
	raw chan os.Signal
}

// listenForSignals takes the signals of signalNames away from their default, and SIGPIPE:
// after `trainer | tee log` and Ctrl-C the reader of our lines is gone before the worker
// has saved.
func listenForSignals() *signalSource {
	s := &signalSource{c: make(chan syscall.Signal, 4), raw: make(chan os.Signal, 4)}
	for name := range signalNames {
		signal.Notify(s.raw, name)
	}
	signal.Notify(s.raw, syscall.SIGPIPE)
	go func() {
		for raw := range s.raw {
			if number, ok := raw.(syscall.Signal); ok && number != syscall.SIGPIPE {
				s.c <- number
			}
		}
	}()
	return s
}

// close gives the signals back.
func (s *signalSource) close() {
	signal.Stop(s.raw)
	close(s.raw)
}
