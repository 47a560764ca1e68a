package conformance

import (
	"trainer/core/abi"
)

func handleBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "handles", Name: "used after they ended", Demand: "handle.stale", Try: (*rig).staleHandles},
		{Group: "handles", Name: "that never were", Demand: "handle.stale", Try: (*rig).inventedHandles},
		{Group: "handles", Name: "whose place is used again", Demand: "handle.reuse", Try: (*rig).reusedHandles},
		{Group: "handles", Name: "of a device that was closed", Demand: "handle.stale", Try: (*rig).handlesOfClosed},
		{Group: "handles", Name: "within a submit", Demand: "handle.stale", Try: (*rig).staleInSubmit},
		{Group: "handles", Name: "of plans", Demand: "handle.stale", Needs: planNeeds, Try: (*rig).stalePlans},
	}
}

// planNeeds are the optional functions that plans need.
var planNeeds = []string{"plan_create", "plan_destroy"}

// objects are one of each kind.
type objects struct {
	buffer, queue, timeline uint64
}

func (r *rig) objects() objects { return objects{r.staging(64).handle, r.queue(), r.timeline(3)} }

func (r *rig) endObjects(o objects) {
	r.ok("buffer_free", r.device, o.buffer)
	r.ok("queue_destroy", r.device, o.queue)
	r.ok("timeline_destroy", r.device, o.timeline)
}

// allStale demands STALE of every call with handles that are not alive.
func (r *rig) allStale(what string, o objects) {
	var value uint64
	r.refused(what, stale, "buffer_free", r.device, o.buffer)
	r.refused(what, stale, "queue_destroy", r.device, o.queue)
	r.refused(what, stale, "timeline_destroy", r.device, o.timeline)
	r.refused(what, stale, "timeline_read", r.device, o.timeline, &value)
	r.refused(what, stale, "timeline_wait", r.device, o.timeline, uint64(1), uint64(0))
	s := r.encode(work{list: r.copying(0), bindings: make([]abi.Binding, 2)})
	r.refused(what, stale, "submit", r.device, o.queue, &s)
}

func (r *rig) staleHandles() {
	o := r.objects()
	r.endObjects(o)
	r.allStale("a handle that has ended", o)
}

func (r *rig) inventedHandles() {
	for _, h := range []uint64{0, ^uint64(0), 0xDEADBEEF, 1 << 32, 1<<63 + 1} {
		r.allStale("a handle that was never given", objects{h, h, h})
		r.deviceStale("a device that was never opened", h)
	}
}

// deviceStale demands STALE of every call on a device that is not open.
func (r *rig) deviceStale(what string, device uint64) {
	var handle uint64
	desc := abi.BufferDesc{StructSize: uint32(sizeOf(abi.BufferDesc{})), Bytes: 64}
	out, report := abi.Buffer{StructSize: uint32(sizeOf(abi.Buffer{}))}, abi.ListReport{StructSize: uint32(sizeOf(abi.ListReport{}))}
	query, answer := abi.OpQuery{StructSize: uint32(sizeOf(abi.OpQuery{}))}, abi.OpAnswer{StructSize: uint32(sizeOf(abi.OpAnswer{}))}
	r.refused(what, stale, "device_close", device)
	r.refused(what, stale, "query_ops", device, &query, uint32(1), &answer)
	r.refused(what, stale, "buffer_alloc", device, &desc, &out)
	r.refused(what, stale, "queue_create", device, uint32(abi.QueueCompute), &handle)
	r.refused(what, stale, "timeline_create", device, uint64(0), &handle)
	r.refused(what, stale, "list_check", device, r.copying(4), &report)
}

func (r *rig) reusedHandles() {
	old := r.objects()
	r.endObjects(old)
	for range 8 {
		now := r.objects()
		if now.buffer == old.buffer || now.queue == old.queue || now.timeline == old.timeline {
			r.fail("a handle that has ended was given again at once")
		}
		r.allStale("a handle whose place may be used again", old)
		r.endObjects(now)
		old = now
	}
}

func (r *rig) handlesOfClosed() {
	first := r.device
	defer func() { r.device = first }()
	r.device = r.open(abi.DeviceOptions{})
	o := r.objects()
	r.ok("device_close", r.device)
	r.deviceStale("a device that was closed", r.device)
	r.allStale("a handle of a device that was closed", o)
}

func (r *rig) staleInSubmit() {
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	gone := r.objects()
	r.endObjects(gone)
	for what, spoil := range map[string]func(*work){
		"a buffer that was freed":                 func(w *work) { w.bindings[1].Buffer = gone.buffer },
		"a buffer that never was":                 func(w *work) { w.bindings[0].Buffer = ^uint64(0) },
		"a plan that never was":                   func(w *work) { w.plan = ^uint64(0) },
		"waiting for a timeline that has ended":   func(w *work) { w.waits = []abi.TimelinePoint{point(gone.timeline, 1)} },
		"signalling a timeline that has ended":    func(w *work) { w.signals = append(w.signals, point(gone.timeline, 9)) },
		"waiting for a timeline that never was":   func(w *work) { w.waits = []abi.TimelinePoint{point(^uint64(0), 1)} },
		"signalling a timeline that never was":    func(w *work) { w.signals = append(w.signals, point(0, 9)) },
		"a binding with a handle of another kind": func(w *work) { w.bindings[1].Buffer = gone.queue },
	} {
		w := r.copyWork(to, from)
		w.signals = []abi.TimelinePoint{point(done, 1)}
		spoil(&w)
		r.among(what, stale, "submit", r.submit(queue, w).Status)
	}
	w := r.copyWork(to, from)
	w.signals = []abi.TimelinePoint{point(done, 1)} // what was refused has not used it up
	r.submitted(queue, w)
	r.reached(done, 1)
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

func (r *rig) stalePlans() {
	from, to, queue := r.staging(64), r.staging(64), r.queue()
	plan := r.plan(r.copyWork(to, from))
	r.ok("plan_destroy", r.device, plan)
	r.refused("a plan that has ended", stale, "plan_destroy", r.device, plan)
	r.among("a plan that has ended", stale, "submit", r.submit(queue, work{plan: plan}).Status)
	r.refused("a plan that never was", stale, "plan_destroy", r.device, ^uint64(0))
	r.end([]uint64{queue}, nil)
	r.free(from, to)
}
