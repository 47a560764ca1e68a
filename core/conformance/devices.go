package conformance

import (
	"time"

	"trainer/core/abi"
)

// shutdownGroup comes last: nothing works after it.
const shutdownGroup = "shutdown"

func deviceBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "devices", Name: "described", Demand: "info.sense", Try: (*rig).described},
		{Group: "devices", Name: "opened twice at once", Demand: "device.reopen", Try: (*rig).openedTwice},
		{Group: "devices", Name: "closed with everything they own", Demand: "device.close", Try: (*rig).closedFull},
		{Group: "devices", Name: "closed while work waits", Demand: "device.close", Try: (*rig).closedBusy},
		{Group: "devices", Name: "closed twice", Demand: "handle.stale", Try: func(r *rig) {
			device := r.open(abi.DeviceOptions{})
			r.ok("device_close", device)
			r.refused("a device that was closed", stale, "device_close", device)
		}},
		{Group: "devices", Name: "opened and closed 24 times", Demand: "device.reopen", Try: (*rig).reopened},
	}
}

func shutdownBehaviours() []Behaviour {
	return []Behaviour{{Group: shutdownGroup, Name: "with a device that works", Demand: "device.shutdown", Try: (*rig).shutDown}}
}

func (r *rig) described() {
	i := r.info
	if i.StructSize != uint32(sizeOf(i)) {
		r.fail("device_info changes struct_size to %d", i.StructSize)
	}
	if a := i.Alignment; a == 0 || a > 4096 || a&(a-1) != 0 {
		r.fail("alignment is %d, expected a power of two up to 4096", a)
	}
	if i.Lanes == 0 {
		r.fail("lanes is 0, expected 1 or more")
	}
	if i.DeviceClass < abi.DeviceCPU || i.DeviceClass > abi.DeviceDiscrete {
		r.fail("device_class is %d", i.DeviceClass)
	}
	if i.Numerics > abi.NumericsBF16X3 {
		r.fail("numerics is %d", i.Numerics)
	}
	for _, d := range storages {
		if i.StorageDTypes>>d&1 == 0 {
			r.fail("storage_dtypes lacks %s", d)
		}
	}
	if i.MemoryTotal == 0 || i.MemoryFree > i.MemoryTotal || i.BufferMax == 0 {
		r.fail("memory_total is %d, memory_free %d, buffer_max %d", i.MemoryTotal, i.MemoryFree, i.BufferMax)
	}
	if i.ListBytesMax < 1<<20 {
		r.fail("list_bytes_max is %d, expected 1 MiB or more", i.ListBytesMax)
	}
	r.textField("name", i.Name[:], true)
	r.textField("uuid", i.UUID[:], false)
	r.textField("isa", i.ISA[:], false)
}

func (r *rig) openedTwice() {
	first := r.device
	r.device = r.open(abi.DeviceOptions{})
	if r.device == first {
		r.fail("a device opened twice has one handle")
	}
	r.everything(1)
	r.ok("device_close", r.device)
	r.device = first
	r.everything(2)
}

// other does something on another opening of the device, which it closes.
func (r *rig) other(do func()) {
	first := r.device
	r.device = r.open(abi.DeviceOptions{})
	do()
	began := time.Now()
	r.ok("device_close", r.device)
	if took := time.Since(began); took > prompt {
		r.fail("device_close took %s", took)
	}
	r.device = first
}

func (r *rig) closedFull() {
	for range 3 {
		r.other(func() {
			for range 10 {
				r.objects()
			}
			if r.hasPlans() {
				r.plan(r.copyWork(r.staging(64), r.staging(64)))
			}
		})
	}
	r.everything(3)
}

func (r *rig) closedBusy() {
	for range 3 {
		r.other(func() {
			gate, queue := r.timeline(0), r.queue()
			from, to := r.staging(64), r.staging(64)
			for range 4 {
				w := r.copyWork(to, from)
				w.waits = []abi.TimelinePoint{point(gate, 1)}
				r.submitted(queue, w)
			}
		})
	}
	r.everything(4)
}

// reopened uses the device again and again: threads and files end with it.
func (r *rig) reopened() {
	cycle := func() {
		r.other(func() {
			from, to, queue, done := r.staging(64), r.staging(64), r.queue(), r.timeline(0)
			r.copied(queue, done, 1, to, from)
		})
	}
	for range 4 {
		cycle()
	}
	running, files := threads(), len(openFiles())
	const cycles = 20
	for range cycles {
		cycle()
	}
	time.Sleep(100 * time.Millisecond) // threads that are on their way out
	if now := threads(); now >= running+cycles {
		panic(&breach{"process.threads", errorf("%d threads run after the device was closed %d times more, %d before", now, cycles, running)})
	}
	if now := len(openFiles()); now >= files+cycles {
		panic(&breach{"process.files", errorf("%d files are open after the device was closed %d times more, %d before", now, cycles, files)})
	}
}

func (r *rig) shutDown() {
	gate, queue := r.timeline(0), r.queue()
	w := r.copyWork(r.idle[0], r.idle[1])
	w.waits = []abi.TimelinePoint{point(gate, 1)}
	r.submitted(queue, w)
	began := time.Now()
	r.ok("shutdown")
	if took := time.Since(began); took > prompt {
		r.fail("shutdown took %s", took)
	}
	time.Sleep(short) // what it left behind would run now
}
