package main

import (
	"fmt"
	"time"

	"trainer/core/plugin"
	"trainer/fault"
)

// watchdog tells when a worker gets on no more. It sees the worker's journal from outside,
// so that it works whatever a backend does to the worker.
type watchdog struct {
	compiling time.Duration // for opening a device, checking a list or making a plan
	running   time.Duration // for every other call, and for a list
	longest   time.Duration // step so far
	moves     uint64        // of the last sighting
	since     time.Time     // of the last change
	looked    time.Time
}

// slowdown is how many times longer than the longest before a step may take where the
// backend does not count records.
const slowdown = 10

func newWatchdog(job Job) watchdog {
	d := watchdog{compiling: plugin.ProbeTimeout, running: time.Duration(job.Config.CallTimeout * float64(time.Second)), since: time.Now()}
	if m := job.Device.Candidate.Manifest; m != nil {
		d.compiling = m.OpenTimeout()
	}
	return d
}

// every is how often the dog looks.
func (d *watchdog) every() time.Duration {
	return max(50*time.Millisecond, min(time.Second, d.running/8))
}

// learn takes the time of a step.
func (d *watchdog) learn(step time.Duration) { d.longest = max(d.longest, step) }

// limit is how long a worker may stay where it is.
func (d *watchdog) limit(s plugin.Sighting) time.Duration {
	switch s.Phase() {
	case plugin.PhaseLoading:
		return plugin.ProbeTimeout
	case plugin.PhaseCompiling:
		return d.compiling
	}
	if s.Record < 0 {
		return max(d.running, slowdown*d.longest)
	}
	return d.running
}

// look takes a sighting and returns for how long the backend has made no progress; 0 outside
// of it. Time in which the launcher itself stood still does not count.
func (d *watchdog) look(s plugin.Sighting) time.Duration {
	now := time.Now()
	if gap := now.Sub(d.looked); !d.looked.IsZero() && gap > d.every()+time.Second {
		d.since = d.since.Add(gap)
	}
	if s.Moves != d.moves {
		d.since = now
	}
	d.moves, d.looked = s.Moves, now
	if s.Call == "" {
		return 0
	}
	return now.Sub(d.since)
}

// hangs ends a worker that gets on no more, and says where it hung.
func (a *attendance) hangs() error {
	s, err := plugin.ReadJournal(a.worker.journal)
	if err != nil {
		return nil // it is watched no more
	}
	limit := a.dog.limit(s)
	if idle := a.dog.look(s); idle == 0 || idle < limit {
		return nil
	}
	where := a.where()
	a.worker.kill()
	a.worker.leave(leaveWithin)
	return fault.New(fault.Device, "the worker (backend %s) hangs: no progress for %s%s %s; try another --backend, or give it longer with --call_timeout",
		a.worker.backend, limit, where, a.position())
}

// where is the call and the list in which the worker is or died; empty for neither.
func (a *attendance) where() (text string) {
	s, err := plugin.ReadJournal(a.worker.journal)
	if err != nil {
		return ""
	}
	if s.Call != "" {
		text = " in " + s.Call
	}
	if s.List != 0 {
		text += fmt.Sprintf(", list %d", s.List)
	}
	if s.List != 0 && s.Record >= 0 {
		text += fmt.Sprintf(", record %d", s.Record)
	}
	return text
}
