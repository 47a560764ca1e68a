package conformance

import (
	"time"

	"trainer/core/abi"
)

func timelineBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "timelines", Name: "values", Demand: "timeline.value", Try: (*rig).values},
		{Group: "timelines", Name: "timeouts", Demand: "timeline.timeout", Try: (*rig).timeouts},
		{Group: "timelines", Name: "the longest timeout", Demand: "timeline.timeout", Try: (*rig).longestTimeout},
		{Group: "timelines", Name: "waits before signals", Demand: "timeline.waits", Try: (*rig).waitBeforeSignal},
		{Group: "timelines", Name: "two waits", Demand: "timeline.waits", Try: (*rig).twoWaits},
		{Group: "timelines", Name: "two signals", Demand: "timeline.waits", Try: (*rig).twoSignals},
		{Group: "timelines", Name: "values that skip", Demand: "timeline.waits", Try: (*rig).skippedValues},
		{Group: "timelines", Name: "values that do not grow", Demand: "timeline.grows", Try: (*rig).lowSignals},
		{Group: "timelines", Name: "work that is cancelled", Demand: "timeline.failure", Try: (*rig).cancelled},
		{Group: "timelines", Name: "destroyed while somebody waits", Demand: "timeline.destroy", Try: (*rig).destroyedWhileWaiting},
		{Group: "timelines", Name: "a wait stops nobody else", Demand: "thread.apart", Try: (*rig).waitingAlone},
	}
}

func (r *rig) values() {
	for _, value := range []uint64{0, 1, 41, 1 << 40, 1<<64 - 2} {
		t, got := r.timeline(value), uint64(77)
		r.ok("timeline_read", r.device, t, &got)
		if got != value {
			r.fail("a timeline made with %d reads %d", value, got)
		}
		r.among("a value that a timeline has", fine, "timeline_wait", r.wait(t, value, 0).Status)
		r.among("a value that a timeline has passed", fine, "timeline_wait", r.wait(t, value/2, prompt).Status)
		r.end(nil, []uint64{t})
	}
}

func (r *rig) timeouts() {
	t := r.timeline(4)
	for _, limit := range []time.Duration{0, 1, time.Millisecond, 60 * time.Millisecond} {
		began := time.Now()
		a := r.wait(t, 5, limit)
		took := time.Since(began)
		r.among("a value that nobody signals", []abi.Status{abi.StatusTimeout}, "timeline_wait", a.Status)
		if took < limit-time.Millisecond || took > limit+lag {
			r.fail("a wait of %s ended after %s", limit, took)
		}
	}
	queue := r.queue()
	r.signal(queue, t, 5)
	r.reached(t, 5)
	r.end([]uint64{queue}, []uint64{t})
}

// signal submits work of no interest that takes a timeline to a value.
func (r *rig) signal(queue, timeline, value uint64) {
	w := r.copyWork(r.idle[0], r.idle[1])
	w.signals = []abi.TimelinePoint{point(timeline, value)}
	r.submitted(queue, w)
}

// longestTimeout waits for ever, as numbers go: a deadline that overflows ends at once.
func (r *rig) longestTimeout() {
	t, queue := r.timeline(0), r.queue()
	for i, limit := range []uint64{1<<64 - 1, 1<<63 - 1, 1 << 62} {
		value := uint64(i + 1)
		waited := at(r, func(r *rig) {
			if a := r.ask("timeline_wait", r.device, t, value, limit); a.Status != abi.StatusOK {
				r.fail("a wait of %d ns answers %s", limit, a.Status)
			}
		})
		time.Sleep(short)
		r.signal(queue, t, value)
		r.joined(waited)
	}
	r.end([]uint64{queue}, []uint64{t})
}

func (r *rig) waitBeforeSignal() {
	gate, done, early, late := r.timeline(0), r.timeline(0), r.queue(), r.queue()
	from, to := r.staging(64), r.staging(64)
	w := r.copyWork(to, from)
	w.waits, w.signals = []abi.TimelinePoint{point(gate, 5)}, []abi.TimelinePoint{point(done, 1)}
	r.submitted(early, w)
	r.notYet("work whose wait is not reached has ended", done, 1)
	pattern(from.host, 3)
	r.signal(late, gate, 4)
	r.reached(gate, 4)
	r.notYet("work that waits for 5 began at 4", done, 1)
	r.signal(late, gate, 5)
	r.reached(done, 1)
	r.holds("what was copied after the signal", to.host, 3)
	r.end([]uint64{early, late}, []uint64{gate, done})
	r.free(from, to)
}

func (r *rig) twoWaits() {
	a, b, done, early, late := r.timeline(0), r.timeline(0), r.timeline(0), r.queue(), r.queue()
	from, to := r.staging(64), r.staging(64)
	w := r.copyWork(to, from)
	w.waits, w.signals = []abi.TimelinePoint{point(a, 1), point(b, 1)}, []abi.TimelinePoint{point(done, 1)}
	r.submitted(early, w)
	r.signal(late, b, 1)
	r.reached(b, 1)
	r.notYet("work that waits for two timelines began when the second was reached", done, 1)
	r.signal(late, a, 1)
	r.reached(done, 1)
	r.end([]uint64{early, late}, []uint64{a, b, done})
	r.free(from, to)
}

func (r *rig) twoSignals() {
	a, b, queue := r.timeline(0), r.timeline(7), r.queue()
	from, to := r.staging(64), r.staging(64)
	w := r.copyWork(to, from)
	w.signals = []abi.TimelinePoint{point(a, 3), point(b, 8)}
	r.submitted(queue, w)
	r.reached(a, 3)
	r.reached(b, 8)
	r.submitted(queue, r.copyWork(to, from)) // no signal at all
	w.signals = []abi.TimelinePoint{point(a, 4)}
	r.submitted(queue, w)
	r.reached(a, 4)
	r.end([]uint64{queue}, []uint64{a, b})
	r.free(from, to)
}

func (r *rig) skippedValues() {
	t, queue, got := r.timeline(0), r.queue(), uint64(0)
	r.signal(queue, t, 10)
	r.reached(t, 7)
	r.ok("timeline_read", r.device, t, &got)
	if got != 10 {
		r.fail("a timeline signalled with 10 reads %d", got)
	}
	r.notYet("a timeline signalled with 10 is at 11", t, 11)
	r.end([]uint64{queue}, []uint64{t})
}

func (r *rig) lowSignals() {
	t, gate, queue, other := r.timeline(10), r.timeline(0), r.queue(), r.queue()
	from, to := r.staging(8), r.staging(8)
	w := r.copyWork(to, from)
	for _, value := range []uint64{0, 9, 10} {
		w.signals = []abi.TimelinePoint{point(t, value)}
		r.among("a signal that is not higher than the timeline", invalid, "submit", r.submit(queue, w).Status)
	}
	w.waits, w.signals = []abi.TimelinePoint{point(gate, 1)}, []abi.TimelinePoint{point(t, 20)}
	r.submitted(queue, w)
	w.waits, w.signals = nil, []abi.TimelinePoint{point(t, 15)}
	r.among("a signal that is not higher than one submitted before", invalid, "submit", r.submit(queue, w).Status)
	r.signal(other, gate, 1)
	r.reached(t, 20)
	r.end([]uint64{queue, other}, []uint64{t, gate})
	r.free(from, to)
}

// cancelled destroys a queue whose work has not begun.
func (r *rig) cancelled() {
	gate, first, second, value := r.timeline(0), r.timeline(2), r.timeline(0), uint64(0)
	queue, after := r.queue(), r.queue()
	from, to := r.staging(64), r.staging(64)
	w := r.copyWork(to, from)
	w.waits, w.signals = []abi.TimelinePoint{point(gate, 1)}, []abi.TimelinePoint{point(first, 3)}
	r.submitted(queue, w)
	w.waits, w.signals = []abi.TimelinePoint{point(first, 3)}, []abi.TimelinePoint{point(second, 1)}
	r.submitted(after, w)
	pattern(from.host, 1)
	clear(to.host)
	r.ok("queue_destroy", r.device, queue)
	failed := func(what string, timeline, value uint64) {
		if a := r.wait(timeline, value, prompt); a.Status == abi.StatusOK || a.Status == abi.StatusTimeout {
			r.fail("%s: timeline_wait answers %s, expected the failure", what, a.Status)
		}
	}
	failed("the signal of work that was cancelled", first, 3)
	failed("the signal of work that waited for it", second, 1)
	if a := r.ask("timeline_read", r.device, first, &value); a.Status == abi.StatusOK {
		r.fail("timeline_read of a failed timeline answers ok")
	}
	r.among("a value reached before the failure", fine, "timeline_wait", r.wait(first, 2, 0).Status)
	for _, x := range to.host {
		if x != 0 {
			r.fail("work that was cancelled ran")
		}
	}
	r.end([]uint64{after}, []uint64{gate, first, second})
	r.free(from, to)
}

func (r *rig) destroyedWhileWaiting() {
	t := r.timeline(0)
	began := time.Now()
	waited := at(r, func(r *rig) {
		r.refused("a timeline destroyed meanwhile", stale, "timeline_wait", r.device, t, uint64(1), uint64(patience/2)) // outcome waits for longer
	})
	time.Sleep(short)
	r.ok("timeline_destroy", r.device, t)
	r.joined(waited)
	if took := time.Since(began); took > lag {
		r.fail("who waits for a timeline was woken %s after it was destroyed", took)
	}
}

// waitingAlone does everything else while a thread waits.
func (r *rig) waitingAlone() {
	gate := r.timeline(0)
	waited := at(r, func(r *rig) { r.reached(gate, 1) })
	time.Sleep(short)
	began := time.Now()
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	r.copied(queue, done, 1, to, from)
	r.check(r.copying(4))
	if took := time.Since(began); took > lag {
		r.fail("calls took %s while another thread waited for a timeline", took)
	}
	r.signal(queue, gate, 1)
	r.joined(waited)
	r.end([]uint64{queue}, []uint64{gate, done})
	r.free(from, to)
}
