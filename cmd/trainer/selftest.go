package main

import (
	"errors"
	"time"

	"trainer/core/conformance"
	"trainer/fault"
)

// selfTestBudget is after how long no further case is begun.
const selfTestBudget = 1500 * time.Millisecond

// selfTest judges the job's device on small cases of what the job will ask of it, before its
// memory is obtained. A backend that computes wrongly is refused.
func (w *workshop) selfTest() error {
	device := w.engine.Session.Device()
	if device == nil || !w.job.Config.SelfTest {
		return nil
	}
	_, err := conformance.SelfTest(device, w.engine.Session.Kinds(), selfTestBudget)
	var wrong *conformance.Wrong
	if !errors.As(err, &wrong) {
		return err
	}
	return &fault.Error{Kind: fault.Device, Where: "backend " + device.Backend() + " computes wrongly", Err: wrong,
		Remedy: "use --backend cpu or another one; `trainer backend check " + w.job.Device.Candidate.Path + "` tells all that is wrong with this one"}
}
