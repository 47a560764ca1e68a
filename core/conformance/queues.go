package conformance

import (
	"bytes"
	"math"
	"time"

	"trainer/core/abi"
)

func queueBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "queues", Name: "run in order", Demand: "submit.order", Try: (*rig).inOrder},
		{Group: "queues", Name: "for transfers", Demand: "op.runs", Try: (*rig).transferQueue},
		{Group: "queues", Name: "run beside each other", Demand: "thread.apart", Try: (*rig).sideBySide},
		{Group: "queues", Name: "that are full", Demand: "submit.busy", Try: (*rig).full},
		{Group: "queues", Name: "keep nothing of a submit", Demand: "submit.copies", Try: (*rig).scribbled},
		{Group: "queues", Name: "lists of no records", Demand: "op.runs", Try: (*rig).emptyList},
	}
}

// inOrder copies a chain of buffers, one submit for each link.
func (r *rig) inOrder() {
	const links = 40
	queue, done, gate, other := r.queue(), r.timeline(0), r.timeline(0), r.queue()
	chain := []buffer{r.staging(4096)}
	for i := range links {
		chain = append(chain, r.staging(4096))
		w := r.copyWork(chain[i+1], chain[i])
		if i == 0 {
			w.waits = []abi.TimelinePoint{point(gate, 1)}
		}
		if i == links-1 {
			w.signals = []abi.TimelinePoint{point(done, 1)}
		}
		r.submitted(queue, w)
	}
	pattern(chain[0].host, 5)
	r.signal(other, gate, 1)
	r.reached(done, 1)
	r.holds("the end of a chain of copies", chain[links].host, 5)
	r.end([]uint64{queue, other}, []uint64{done, gate})
	r.free(chain...)
}

func (r *rig) transferQueue() {
	var queue uint64
	r.ok("queue_create", r.device, uint32(abi.QueueTransfer), &queue)
	from, to, done := r.staging(1<<16), r.staging(1<<16), r.timeline(0)
	pattern(from.host, 2)
	r.copied(queue, done, 1, to, from)
	r.holds("what a transfer queue copied", to.host, 2)
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

// sideBySide runs work on one queue while work on seven others waits.
func (r *rig) sideBySide() {
	gate, done := r.timeline(0), r.timeline(0)
	var queues, ends []uint64
	from, to := r.staging(64), r.staging(64)
	for range 7 {
		q, end := r.queue(), r.timeline(0)
		w := r.copyWork(r.idle[0], r.idle[1])
		w.waits, w.signals = []abi.TimelinePoint{point(gate, 1)}, []abi.TimelinePoint{point(end, 1)}
		r.submitted(q, w)
		queues, ends = append(queues, q), append(ends, end)
	}
	free := r.queue()
	r.copied(free, done, 1, to, from)
	r.signal(free, gate, 1)
	for _, end := range ends {
		r.reached(end, 1)
	}
	r.end(append(queues, free), append(ends, gate, done))
	r.free(from, to)
}

// full submits to a queue that cannot go on until it answers BUSY, or long enough.
func (r *rig) full() {
	gate, done, queue, other := r.timeline(0), r.timeline(0), r.queue(), r.queue()
	w := r.copyWork(r.idle[0], r.idle[1])
	w.waits = []abi.TimelinePoint{point(gate, 1)}
	taken := uint64(0)
	for taken < 2000 {
		w.signals = []abi.TimelinePoint{point(done, taken+1)}
		began := time.Now()
		a := r.submit(queue, w)
		if took := time.Since(began); took > lag {
			r.fail("submit number %d took %s", taken+1, took)
		}
		if a.Status == abi.StatusBusy {
			break
		}
		r.among("a submit to a queue that waits", fine, "submit", a.Status)
		taken++
	}
	r.signal(other, gate, 1)
	w.signals = []abi.TimelinePoint{point(done, taken+1)} // as the refused one
	r.submitted(queue, w)
	r.reached(done, taken+1)
	r.end([]uint64{queue, other}, []uint64{gate, done})
}

// scribbled overwrites everything a submit was given while its work still waits.
func (r *rig) scribbled() {
	gate, done, queue, other := r.timeline(0), r.timeline(0), r.queue(), r.queue()
	from, to := r.staging(64), r.staging(64)
	put32(from.host, math.Float32bits(1.5))
	params := make([]byte, 8)
	put32(params, math.Float32bits(2))
	w := work{list: r.adding(), bindings: []abi.Binding{whole(to), whole(from)}, params: params,
		waits: []abi.TimelinePoint{point(gate, 1)}, signals: []abi.TimelinePoint{point(done, 1)}}
	s := r.encode(w)
	r.ok("submit", r.device, queue, &s)
	copy(w.list, bytes.Repeat([]byte{filler}, len(w.list)))
	copy(params, bytes.Repeat([]byte{filler}, len(params)))
	clear(w.bindings)
	clear(w.waits)
	clear(w.signals)
	s = abi.Submit{}
	r.signal(other, gate, 1)
	r.reached(done, 1)
	if !bytes.Equal(to.host[:4], []byte{0, 0, 0x60, 0x40}) {
		r.fail("after list, bindings and params were overwritten, 1.5 + 2 came out as the bytes %x", to.host[:4])
	}
	r.end([]uint64{queue, other}, []uint64{gate, done})
	r.free(from, to)
}

func (r *rig) emptyList() {
	queue, done := r.queue(), r.timeline(0)
	r.serial++
	var b abi.ListBuilder
	r.submitted(queue, work{list: b.Finish(r.serial, 0, 0), signals: []abi.TimelinePoint{point(done, 1)}})
	r.reached(done, 1)
	r.end([]uint64{queue}, []uint64{done})
}
