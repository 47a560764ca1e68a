package conformance

import (
	"math"

	"trainer/core/abi"
)

func planBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "plans", Name: "keep nothing of what made them", Demand: "plan.copies", Needs: planNeeds, Try: (*rig).scribbledPlan},
		{Group: "plans", Name: "with other params each time", Demand: "plan.params", Needs: planNeeds, Try: (*rig).changingParams},
		{Group: "plans", Name: "destroyed while they run", Demand: "memory.use", Needs: planNeeds, Try: (*rig).destroyedPlan},
		{Group: "plans", Name: "many at once", Demand: "plan.equal", Needs: planNeeds, Try: (*rig).manyPlans},
	}
}

func (r *rig) scribbledPlan() {
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	w := r.copyWork(to, from)
	plan := r.plan(w)
	clear(w.list)
	clear(w.bindings)
	for i := range 3 {
		pattern(from.host, i)
		r.submitted(queue, work{plan: plan, signals: []abi.TimelinePoint{point(done, uint64(i+1))}})
		r.reached(done, uint64(i+1))
		r.holds("what a plan copied", to.host, i)
	}
	r.ok("plan_destroy", r.device, plan)
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

// changingParams submits one plan eight times without waiting in between; each run adds
// its own number. A sum shows that none was lost and none came twice.
func (r *rig) changingParams() {
	sum, queue, done, gate, other := r.staging(64), r.queue(), r.timeline(0), r.timeline(0), r.queue()
	clear(sum.host)
	plan := r.plan(work{list: r.adding(), bindings: []abi.Binding{whole(sum), whole(sum)}})
	want := float32(0)
	for i := range 8 {
		params := make([]byte, 8)
		put32(params, math.Float32bits(float32(int(1)<<i)))
		want += float32(int(1) << i)
		w := work{plan: plan, params: params, signals: []abi.TimelinePoint{point(done, uint64(i+1))}}
		if i == 0 {
			w.waits = []abi.TimelinePoint{point(gate, 1)}
		}
		r.submitted(queue, w)
		clear(params)
	}
	r.signal(other, gate, 1)
	r.reached(done, 8)
	if got := decode(sum.host, abi.F32); got != float64(want) {
		r.fail("a plan run with the params 1, 2, 4 … 128 added %v, expected %v", got, want)
	}
	r.ok("plan_destroy", r.device, plan)
	r.end([]uint64{queue, other}, []uint64{done, gate})
	r.free(sum)
}

func (r *rig) destroyedPlan() {
	from, to, queue, done, gate, other := r.staging(64), r.staging(64), r.queue(), r.timeline(0), r.timeline(0), r.queue()
	plan := r.plan(r.copyWork(to, from))
	r.submitted(queue, work{plan: plan, waits: []abi.TimelinePoint{point(gate, 1)}, signals: []abi.TimelinePoint{point(done, 1)}})
	r.ok("plan_destroy", r.device, plan)
	pattern(from.host, 4)
	r.signal(other, gate, 1)
	r.reached(done, 1)
	r.holds("what a plan copied that was destroyed meanwhile", to.host, 4)
	r.end([]uint64{queue, other}, []uint64{done, gate})
	r.free(from, to)
}

func (r *rig) manyPlans() {
	queue, done := r.queue(), r.timeline(0)
	var plans []uint64
	var buffers []buffer
	for i := range 20 {
		from, to := r.staging(uint64(64+i)), r.staging(uint64(64+i))
		pattern(from.host, i)
		buffers = append(buffers, from, to)
		plans = append(plans, r.plan(r.copyWork(to, from)))
	}
	for i, plan := range plans {
		r.submitted(queue, work{plan: plan, signals: []abi.TimelinePoint{point(done, uint64(i+1))}})
	}
	r.reached(done, 20)
	for i, plan := range plans {
		r.holds("what one of 20 plans copied", buffers[2*i+1].host, i)
		r.ok("plan_destroy", r.device, plan)
	}
	r.end([]uint64{queue}, []uint64{done})
	r.free(buffers...)
}
