package conformance

import (
	"time"

	"trainer/core/abi"
)

func timesBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "times", Name: "of a list", Demand: "submit.times", Try: func(r *rig) { r.timedCopies(false) }},
		{Group: "times", Name: "of a plan", Demand: "submit.times", Needs: planNeeds, Try: func(r *rig) { r.timedCopies(true) }},
		{Group: "times", Name: "of no records", Demand: "submit.times", Try: (*rig).timedNothing},
		{Group: "times", Name: "behind a wait", Demand: "submit.times", Try: (*rig).timedBehindWait},
		{Group: "times", Name: "of a shorter submit", Demand: "struct.input", Try: (*rig).shortSubmit},
	}
}

// needTimes skips what a device that does not say TIMES need not do.
func (r *rig) needTimes() {
	if !r.backend.HasTimes(r.info.Flags) {
		r.skip("the device does not say TIMES")
	}
}

// marks is room for the times of n records, and for what nobody may write.
func marks(n int) []uint64 {
	m := make([]uint64, n+1+8)
	for i := range m {
		m[i] = unwritten
	}
	return m
}

const unwritten = 0x5A5A5A5A5A5A5A5A

// readMarks demands that the times of n records were written and do not go back.
func (r *rig) readMarks(m []uint64, n int) {
	for i, mark := range m {
		switch {
		case i > n && mark != unwritten:
			r.fail("time %d was written, of a list of %d records", i, n)
		case i <= n && mark == unwritten:
			r.fail("time %d was not written before the signal, of a list of %d records", i, n)
		case i > 0 && i <= n && mark < m[i-1]:
			r.fail("record %d of %d was done %d ns before it began", i-1, n, m[i-1]-mark)
		}
	}
}

// span is from the first time to the last.
func span(m []uint64, n int) time.Duration { return time.Duration(m[n] - m[0]) }

// clockRoom is by how much two clocks may differ over a time.
func clockRoom(took time.Duration) time.Duration { return took/50 + time.Millisecond }

// repeated copies one buffer to another n times, in the lanes of computing and copying in turn.
func (r *rig) repeated(to, from buffer, n int) work {
	r.serial++
	var b abi.ListBuilder
	for i := range n {
		b.Record(abi.OpCopy, 0, uint16(i%2), nil, []abi.Operand{flat(0, abi.U8, abi.KindOutput, int64(to.bytes))}, []abi.Operand{flat(1, abi.U8, abi.KindInput, int64(from.bytes))}, nil)
	}
	return work{list: b.Finish(r.serial, 2, 0), bindings: []abi.Binding{whole(to), whole(from)}}
}

// longEnough is what the copies of timedCopies take: much more than handing them over.
const longEnough = 20 * time.Millisecond

// timedCopies times equal copies. Together they take most of what the host waits for them, and
// none of them most of that; a machine that is busy gets several tries.
func (r *rig) timedCopies(planned bool) {
	r.needTimes()
	from, to, queue, done := r.staging(mebibyte), r.staging(mebibyte), r.queue(), r.timeline(0)
	clock := uint64(0)
	run := func(w work, n int) ([]uint64, time.Duration) {
		clock++
		w.times, w.signals = marks(n), []abi.TimelinePoint{point(done, clock)}
		began := time.Now()
		r.submitted(queue, w)
		r.reached(done, clock)
		took := time.Since(began)
		r.readMarks(w.times, n)
		if all := span(w.times, n); all > took+clockRoom(took) {
			r.fail("%d records took %s by their times, of the %s until their signal was reached", n, all, took)
		}
		return w.times, took
	}
	n := 8
	for _, took := run(r.repeated(to, from, n), n); took < longEnough && n < 4096; _, took = run(r.repeated(to, from, n), n) {
		n *= 2
	}
	w := r.repeated(to, from, n)
	if planned {
		w = work{plan: r.plan(w)}
	}
	const tries = 8
	for i := range tries {
		m, took := run(w, n)
		longest := uint64(0)
		for j := range n {
			longest = max(longest, m[j+1]-m[j])
		}
		all := span(m, n)
		if all > took/4 && longest < uint64(all)/2 {
			break
		}
		if i == tries-1 {
			r.fail("of %d equal records, which took %s, the times tell %s, and %s of one alone", n, took, all, time.Duration(longest))
		}
	}
	if planned {
		r.ok("plan_destroy", r.device, w.plan)
	}
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

func (r *rig) timedNothing() {
	r.needTimes()
	queue, done := r.queue(), r.timeline(0)
	var b abi.ListBuilder
	r.serial++
	w := work{list: b.Finish(r.serial, 0, 0), times: marks(0), signals: []abi.TimelinePoint{point(done, 1)}}
	r.submitted(queue, w)
	r.reached(done, 1)
	r.readMarks(w.times, 0)
	r.end([]uint64{queue}, []uint64{done})
}

// timedBehindWait times work that waits: its times begin when the wait is over.
func (r *rig) timedBehindWait() {
	r.needTimes()
	gate, done, queue, other := r.timeline(0), r.timeline(0), r.queue(), r.queue()
	from, to := r.staging(64), r.staging(64)
	w := r.copyWork(to, from)
	w.times = marks(1)
	w.waits, w.signals = []abi.TimelinePoint{point(gate, 1)}, []abi.TimelinePoint{point(done, 1)}
	r.submitted(queue, w)
	r.notYet("work whose wait is not reached has ended", done, 1)
	began := time.Now()
	r.signal(other, gate, 1)
	r.reached(done, 1)
	took := time.Since(began)
	r.readMarks(w.times, 1)
	if all := span(w.times, 1); all > took+clockRoom(took) {
		r.fail("a record took %s by its times, %s after what it waited for", all, took)
	}
	r.end([]uint64{queue, other}, []uint64{gate, done})
	r.free(from, to)
}

// shortSubmit submits as a host before minor 3 does: no times stand behind its struct.
func (r *rig) shortSubmit() {
	r.needTimes()
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	w := r.copyWork(to, from)
	m := marks(1)
	w.times, w.signals = m, []abi.TimelinePoint{point(done, 1)}
	given := r.encode(w)
	given.StructSize -= uint32(sizeOf(given.Times))
	r.ok("submit", r.device, queue, &given)
	r.reached(done, 1)
	for i, mark := range m {
		if mark != unwritten {
			r.fail("time %d was written, though struct_size ends before times", i)
		}
	}
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}
