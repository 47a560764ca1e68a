package conformance

import (
	"cmp"
	"runtime"

	"trainer/core/abi"
)

func threadBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "threads", Name: "16 at once", Demand: "thread.any", Try: (*rig).sixteen},
		{Group: "threads", Name: "objects made in one and used in another", Demand: "thread.any", Try: (*rig).handedOver},
		{Group: "threads", Name: "16 devices at once", Demand: "thread.any", Try: (*rig).sixteenDevices},
	}
}

const manyThreads = 16

// together does something in many threads at once.
func (r *rig) together(do func(r *rig, number int)) {
	var all []<-chan error
	for i := range manyThreads {
		all = append(all, at(r, func(r *rig) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			do(r, i)
		}))
	}
	// Whatever one of them found, the others still use the device.
	var failed error
	for _, done := range all {
		failed = cmp.Or(failed, r.outcome(done))
	}
	if failed != nil {
		panic(failed)
	}
}

// everything obtains one of each, works with it, asks what can be asked, and gives it back.
func (r *rig) everything(number int) {
	from, to, queue, done := r.staging(1<<14), r.staging(1<<14), r.queue(), r.timeline(0)
	for i := range 10 {
		pattern(from.host, number+i)
		r.copied(queue, done, uint64(i+1), to, from)
		r.holds("what one of 16 threads copied", to.host, number+i)
		r.check(r.copying(64))
		r.stats()
		r.answers([]abi.OpQuery{{StructSize: uint32(sizeOf(abi.OpQuery{})), Op: uint32(abi.OpCopy), Version: 1, DType: uint32(abi.F32)}})
	}
	if r.hasPlans() {
		plan := r.plan(r.copyWork(to, from))
		r.submitted(queue, work{plan: plan, signals: []abi.TimelinePoint{point(done, 11)}})
		r.reached(done, 11)
		r.ok("plan_destroy", r.device, plan)
	}
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

func (r *rig) sixteen() { r.together((*rig).everything) }

func (r *rig) sixteenDevices() {
	r.together(func(r *rig, number int) {
		r.device = r.open(abi.DeviceOptions{Threads: 1})
		r.everything(number)
		r.ok("device_close", r.device)
	})
}

// handedOver makes everything here, uses it in a thread, and ends it in a third.
func (r *rig) handedOver() {
	from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
	locked := func(do func(*rig)) {
		r.joined(at(r, func(r *rig) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			do(r)
		}))
	}
	locked(func(r *rig) {
		pattern(from.host, 8)
		r.copied(queue, done, 1, to, from)
	})
	r.holds("what another thread copied", to.host, 8)
	locked(func(r *rig) {
		r.end([]uint64{queue}, []uint64{done})
		r.free(from, to)
	})
}
