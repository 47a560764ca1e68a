package conformance

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"trainer/core/abi"
)

func memoryBehaviours() []Behaviour {
	return []Behaviour{
		{Group: "memory", Name: "staging is host-visible", Demand: "memory.host", Try: (*rig).hostMemory},
		{Group: "memory", Name: "device memory keeps what is written", Demand: "memory.host", Try: (*rig).deviceMemory},
		{Group: "memory", Name: "views beyond 2^31 elements", Demand: "op.value", Try: (*rig).farView},
		{Group: "memory", Name: "buffers lie apart", Demand: "memory.apart", Try: (*rig).apart},
		{Group: "memory", Name: "more than there can be", Demand: "memory.oom", Try: (*rig).tooMuch},
		{Group: "memory", Name: "up to memory_limit", Demand: "memory.limit", Try: (*rig).toTheLimit},
		{Group: "memory", Name: "plans at memory_limit", Demand: "memory.oom", Needs: planNeeds, Try: (*rig).planAtTheLimit},
		{Group: "memory", Name: "counted", Demand: "memory.stats", Needs: []string{"device_stats"}, Try: (*rig).counted},
		{Group: "memory", Name: "freed while it is used", Demand: "memory.use", Try: (*rig).freedInUse},
		{Group: "memory", Name: "1000 buffers, one after the other", Demand: "memory.leak", Try: func(r *rig) {
			r.cycles(1000, func() { r.free(r.staging(1 << 20)) })
		}},
		{Group: "memory", Name: "1000 timelines", Demand: "memory.leak", Try: func(r *rig) {
			r.cycles(1000, func() { r.end(nil, []uint64{r.timeline(1)}) })
		}},
		{Group: "memory", Name: "100 queues", Demand: "memory.leak", Try: func(r *rig) {
			r.cycles(100, func() { r.end([]uint64{r.queue()}, nil) })
		}},
		{Group: "memory", Name: "1000 submits", Demand: "memory.leak", Try: (*rig).manySubmits},
		{Group: "memory", Name: "1000 plans", Demand: "memory.leak", Needs: planNeeds, Try: func(r *rig) {
			from, to := r.staging(64), r.staging(64)
			r.cycles(1000, func() { r.ok("plan_destroy", r.device, r.plan(r.copyWork(to, from))) })
			r.free(from, to)
		}},
		{Group: "memory", Name: "1000 refusals", Demand: "memory.leak", Try: func(r *rig) {
			list := r.twoCopies()
			put32(list[secondRecord(list)+4:], 0xFFFF)
			r.cycles(1000, func() { r.check(list) })
		}},
	}
}

// copied moves bytes from one buffer to another.
func (r *rig) copied(queue, timeline uint64, value uint64, to, from buffer) {
	w := r.copyWork(to, from)
	w.signals = []abi.TimelinePoint{point(timeline, value)}
	r.submitted(queue, w)
	r.reached(timeline, value)
}

// pattern fills memory with bytes that depend on a number and their place.
func pattern(b []byte, number int) {
	for i := range b {
		b[i] = byte(31*number + 7*i + i>>8)
	}
}

func (r *rig) holds(what string, b []byte, number int) {
	want := make([]byte, len(b))
	pattern(want, number)
	if !bytes.Equal(b, want) {
		r.fail("%s of %d bytes does not hold what was written", what, len(b))
	}
}

func (r *rig) hostMemory() {
	queue, timeline := r.queue(), r.timeline(0)
	for i, n := range []uint64{1, 3, 4095, 4097, 1<<20 + 5} {
		from, to := r.staging(n), r.staging(n)
		pattern(from.host, i)
		pattern(to.host, i+1)
		r.holds("staging memory", from.host, i)
		r.copied(queue, timeline, uint64(i+1), to, from)
		r.holds("the copy of staging memory", to.host, i)
		r.free(from, to)
	}
	r.end([]uint64{queue}, []uint64{timeline})
}

func (r *rig) deviceMemory() {
	queue, timeline, clock := r.queue(), r.timeline(0), uint64(0)
	for i, n := range []uint64{1, 4095, 1<<20 + 5} {
		host := r.staging(n)
		device, a := r.alloc(abi.MemoryDevice, n)
		r.among("device memory", fine, "buffer_alloc", a.Status)
		pattern(host.host, i)
		r.copied(queue, timeline, clock+1, device, host)
		clear(host.host)
		r.copied(queue, timeline, clock+2, host, device)
		clock += 2
		r.holds("device memory", host.host, i)
		r.free(host, device)
	}
	r.end([]uint64{queue}, []uint64{timeline})
}

// farView copies to two rows that lie 2^31 + 8 elements apart, and back.
func (r *rig) farView() {
	const columns, pitch = 64, 1<<31 + 8
	far, a := r.alloc(abi.MemoryDevice, pitch+columns)
	if a.Status == abi.StatusOOM {
		r.skip("there is no room for a buffer of 2 GiB")
	}
	r.among("a buffer of 2 GiB", fine, "buffer_alloc", a.Status)
	host, queue, done := r.staging(2*columns), r.queue(), r.timeline(0)
	rows := func(slot uint32, kind uint8, stride int64) abi.Operand {
		o := flat(slot, abi.U8, kind, stride+columns)
		o.Rank, o.Shape, o.Stride = 2, [6]int64{2, columns}, [6]int64{stride, 1}
		return o
	}
	run := func(value uint64, to, from abi.Operand, bindings ...abi.Binding) {
		var b abi.ListBuilder
		r.serial++
		b.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{to}, []abi.Operand{from}, nil)
		r.submitted(queue, work{list: b.Finish(r.serial, 2, 0), bindings: bindings, signals: []abi.TimelinePoint{point(done, value)}})
		r.reached(done, value)
	}
	pattern(host.host, 6)
	run(1, rows(0, abi.KindOutput, pitch), rows(1, abi.KindInput, columns), whole(far), whole(host))
	clear(host.host)
	run(2, rows(0, abi.KindOutput, columns), rows(1, abi.KindInput, pitch), whole(host), whole(far))
	r.holds("rows that lie 2^31 + 8 elements apart", host.host, 6)
	r.end([]uint64{queue}, []uint64{done})
	r.free(host, far)
}

func (r *rig) apart() {
	var all []buffer
	for i := range 64 {
		all = append(all, r.staging(uint64(1+37*i)))
	}
	for i, b := range all {
		pattern(b.host, i)
	}
	for i, b := range all {
		r.holds("one of 64 buffers", b.host, i)
	}
	r.free(all...)
}

func (r *rig) tooMuch() {
	before, counted := r.stats()
	for _, n := range []uint64{1 << 62, 1<<63 + 4096, 1<<64 - 1, r.info.BufferMax + 1<<40} {
		for _, memory := range []uint32{abi.MemoryDevice, abi.MemoryStaging} {
			_, a := r.alloc(memory, n)
			r.among("a buffer that cannot be", []abi.Status{abi.StatusOOM, abi.StatusInvalid}, "buffer_alloc", a.Status)
		}
	}
	if after, _ := r.stats(); counted && after.MemoryUsed != before.MemoryUsed {
		r.fail("device_stats count %d bytes more after nothing was given", after.MemoryUsed-before.MemoryUsed)
	}
	r.free(r.staging(1 << 20))
}

const mebibyte = 1 << 20

// filled gives the device under test up to a limit of 16 MiB in buffers of 1 MiB.
func (r *rig) filled() (all []buffer) {
	for range 17 {
		before, counted := r.stats()
		b, a := r.alloc(abi.MemoryDevice, mebibyte)
		if a.Status == abi.StatusOK {
			all = append(all, b)
			continue
		}
		r.among("a buffer beyond memory_limit", oom, "buffer_alloc", a.Status)
		if after, _ := r.stats(); counted && after.MemoryUsed != before.MemoryUsed {
			r.fail("an allocation that failed changed memory_used from %d to %d", before.MemoryUsed, after.MemoryUsed)
		}
		return all
	}
	r.fail("with a memory_limit of 16 MiB the device gave 17 MiB")
	return nil
}

// limited does something on a device with a memory_limit of 16 MiB.
func (r *rig) limited(do func()) {
	first := r.device
	r.device = r.open(abi.DeviceOptions{MemoryLimit: 16 * mebibyte})
	do()
	r.ok("device_close", r.device)
	r.device = first
}

func (r *rig) toTheLimit() {
	r.limited(func() {
		for range 2 {
			all := r.filled()
			if len(all) < 8 {
				r.fail("with a memory_limit of 16 MiB the device gave only %d MiB", len(all))
			}
			if s, counted := r.stats(); counted && s.MemoryUsed > 16*mebibyte {
				r.fail("memory_used is %d, with a memory_limit of %d", s.MemoryUsed, 16*mebibyte)
			}
			r.free(all...)
		}
		_, a := r.alloc(abi.MemoryDevice, 17*mebibyte)
		r.among("a buffer larger than memory_limit", oom, "buffer_alloc", a.Status)
		b, a := r.alloc(abi.MemoryDevice, 8*mebibyte)
		r.among("a buffer within memory_limit, after others failed", fine, "buffer_alloc", a.Status)
		r.free(b)
	})
}

func (r *rig) planAtTheLimit() {
	r.limited(func() {
		from, to := r.staging(64), r.staging(64)
		all := r.filled()
		var plans []uint64
		for range 10000 {
			before, counted := r.stats()
			a, plan := r.planned(r.copyWork(to, from))
			if a.Status == abi.StatusOK {
				plans = append(plans, plan)
				continue
			}
			r.among("a plan beyond memory_limit", oom, "plan_create", a.Status)
			if after, _ := r.stats(); counted && after.MemoryUsed != before.MemoryUsed {
				r.fail("a plan that failed changed memory_used from %d to %d", before.MemoryUsed, after.MemoryUsed)
			}
			break
		}
		for _, plan := range plans {
			r.ok("plan_destroy", r.device, plan)
		}
		r.free(all...)
		r.ok("plan_destroy", r.device, r.plan(r.copyWork(to, from)))
		r.free(from, to)
	})
}

// counted obtains 5 MiB, of which 3 of the host count on unified devices only.
func (r *rig) counted() {
	least := uint64(2 * mebibyte)
	if r.info.Flags&abi.FlagUnified != 0 {
		least = 5 * mebibyte
	}
	before, _ := r.stats()
	b := r.staging(3 * mebibyte)
	d, a := r.alloc(abi.MemoryDevice, 2*mebibyte)
	r.among("device memory", fine, "buffer_alloc", a.Status)
	during, _ := r.stats()
	if got := during.MemoryUsed - before.MemoryUsed; got < least || got > 16*mebibyte {
		r.fail("%d MiB were obtained, memory_used grew by %d bytes", least/mebibyte, got)
	}
	if during.MemoryPeak < during.MemoryUsed {
		r.fail("memory_peak is %d, below memory_used of %d", during.MemoryPeak, during.MemoryUsed)
	}
	r.free(b, d)
	after, _ := r.stats()
	if after.MemoryUsed != before.MemoryUsed {
		r.fail("memory_used is %d after everything was freed, %d before", after.MemoryUsed, before.MemoryUsed)
	}
	if after.MemoryPeak < during.MemoryUsed {
		r.fail("memory_peak is %d, though %d were in use", after.MemoryPeak, during.MemoryUsed)
	}
}

// freedInUse frees buffers while work that uses them waits.
func (r *rig) freedInUse() {
	gate, done, queue, other := r.timeline(0), r.timeline(0), r.queue(), r.queue()
	from, between, to := r.staging(1<<16), r.staging(1<<16), r.staging(1<<16)
	pattern(from.host, 1)
	first, second := r.copyWork(between, from), r.copyWork(to, between)
	first.waits = []abi.TimelinePoint{point(gate, 1)}
	second.signals = []abi.TimelinePoint{point(done, 1)}
	r.submitted(queue, first)
	r.submitted(queue, second)
	r.free(from, between)
	fresh := r.staging(1 << 16) // may come to lie where they were, if they were freed
	pattern(fresh.host, 9)
	r.signal(other, gate, 1)
	r.reached(done, 1)
	r.holds("what was copied from memory freed meanwhile", to.host, 1)
	r.holds("memory obtained meanwhile", fresh.host, 9)
	r.end([]uint64{queue, other}, []uint64{gate, done})
	r.free(fresh, to)
}

func (r *rig) manySubmits() {
	from, to, queue, done, clock := r.staging(64), r.staging(64), r.queue(), r.timeline(0), uint64(0)
	r.cycles(1000, func() {
		clock++
		r.copied(queue, done, clock, to, from)
	})
	r.end([]uint64{queue}, []uint64{done})
	r.free(from, to)
}

// leakRoom is what a process may grow by without a leak: allocators keep some.
const leakRoom = 32 << 20

// cycles does something again and again: afterwards the device has given nothing away, and
// neither the process nor its list of open files has grown.
func (r *rig) cycles(n int, do func()) {
	for range 20 {
		do()
	}
	before, counted := r.stats()
	resident, files := residentBytes(), len(openFiles())
	for range n {
		do()
	}
	if after, _ := r.stats(); counted && after.MemoryUsed != before.MemoryUsed {
		r.fail("memory_used grew from %d to %d bytes", before.MemoryUsed, after.MemoryUsed)
	}
	if grown := residentBytes() - resident; grown > leakRoom {
		r.fail("the process grew by %d MiB", grown>>20)
	}
	if now := len(openFiles()); now > files+8 {
		panic(&breach{"process.files", errorf("%d files are open, %d before", now, files)})
	}
}

// residentBytes is the memory of this process; 0 where the system does not tell.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// openFiles lists the descriptors of this process.
func openFiles() []string {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// threads counts the threads of this process; 0 where the system does not tell.
func threads() int {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0
	}
	return len(entries)
}
