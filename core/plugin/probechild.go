package plugin

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// RunProbeIfChild must be the first call of main, and of TestMain in tests that discover
// backends. In the child that tries a backend it does so and returns true: main then
// returns at once. In every other process it does nothing and returns false.
func RunProbeIfChild() bool {
	if len(os.Args) != 3 || os.Args[1] != probeCommand || os.Getenv(probeEnv) == "" {
		return false
	}
	// A parent that died can no longer end a library that hangs.
	time.AfterFunc(6*ProbeTimeout, func() { os.Exit(1) })
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	out := os.NewFile(3, "answer")
	syscall.CloseOnExec(3)
	m := tryBackend(os.Args[2], func(stage string) { _ = send(out, probeMessage{Stage: stage}) })
	_ = send(out, m)
	return true
}

// tryBackend loads a library, asks everything that can be asked without opening a device,
// and watches the process meanwhile.
func tryBackend(path string, stage func(string)) probeMessage {
	runtime.LockOSThread() // the floating-point state belongs to a thread
	before := observe()
	devices, err := askBackend(path, stage, before)
	if err == nil {
		return probeMessage{Reason: ReasonOK, Devices: devices}
	}
	m := probeMessage{Reason: ReasonProtocol, Sentence: err.Error()}
	var r *Refusal
	var e *Error
	switch {
	case errors.As(err, &r):
		m.Reason = r.Code
	case errors.As(err, &e):
		m.Reason, m.Sentence = ReasonQuery, e.answer()
		if e.Call == "device_count" {
			m.Reason = ReasonNoDevice // as when the driver is absent
		}
	}
	return m
}

func askBackend(path string, stage func(string), before processState) ([]DeviceInfo, error) {
	stage("it was loaded")
	lib, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := before.compare("loading it"); err != nil {
		return nil, err
	}
	stage("it answered the query")
	b, err := lib.negotiate("")
	if err != nil {
		return nil, err
	}
	if err := before.compare("the query"); err != nil {
		return nil, err
	}
	stage("it described its devices")
	devices, err := b.Devices()
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 {
		return nil, refuse(ReasonNoDevice, "works, but finds no device")
	}
	if err := before.compare("describing its devices"); err != nil {
		return nil, err
	}
	stage("it was shut down")
	err = b.Shutdown()
	callC("fflush", 0) // what it printed shows
	return devices, err
}
