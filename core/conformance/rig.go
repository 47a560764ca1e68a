package conformance

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"trainer/core/abi"
	"trainer/core/plugin"
)

// prompt is how soon what needs no work must be answered, lag how late a bounded wait may
// end, short how long a behaviour watches that something does not happen.
var (
	prompt = 10 * time.Second
	lag    = 5 * time.Second
	short  = 30 * time.Millisecond
)

// rig calls a backend as the header has it, rightly and wrongly. What is against the
// demand under test ends the behaviour, as a failed assertion ends a test.
type rig struct {
	*plugin.Caller
	backend *plugin.Backend
	path    string
	index   int
	info    abi.DeviceInfo
	device  uint64
	idle    [2]buffer // what work of no interest copies
	demand  string
	serial  uint64
	changed func(when string) error // what of the process, since before the device was opened
	rng     *rand.Rand
}

// newRig opens a device.
func newRig(b *plugin.Backend, path string, index int, seed uint64) (r *rig, err error) {
	r = &rig{Caller: b.Caller(), backend: b, path: path, index: index, demand: "device.reopen", rng: rand.New(rand.NewPCG(seed, 1))}
	defer r.rescue(&err)
	r.info.StructSize = uint32(sizeOf(r.info))
	r.ok("device_info", index, &r.info)
	r.device = r.open(abi.DeviceOptions{Deterministic: 1})
	r.idle = [2]buffer{r.staging(8), r.staging(8)}
	return r, nil
}

// close gives the device back.
func (r *rig) close() (err error) {
	defer r.rescue(&err)
	r.ok("device_close", r.device)
	r.Release()
	return nil
}

// twin is the rig for another thread.
func (r *rig) twin() *rig {
	t := *r
	t.Caller, t.rng = r.backend.Caller(), rand.New(rand.NewPCG(r.rng.Uint64(), 2))
	return &t
}

// skip ends the behaviour: it cannot be tried here.
func (r *rig) skip(reason string) { panic(&skipped{reason}) }

// skipped says why a behaviour was not tried.
type skipped struct{ reason string }

func (s *skipped) Error() string { return s.reason }

// rescue turns what fail or skip threw into an error.
func (r *rig) rescue(err *error) {
	switch e := recover().(type) {
	case nil:
	case *breach:
		*err = e
	case *skipped:
		*err = e
	default:
		panic(e)
	}
}

// fail ends the behaviour: the demand under test is not met.
func (r *rig) fail(format string, args ...any) { panic(&breach{r.demand, fmt.Errorf(format, args...)}) }

// ask calls and demands a whole error struct.
func (r *rig) ask(name string, args ...any) plugin.Answer {
	a := r.Call(name, args...)
	if a.Broken != "" {
		panic(&breach{"error.struct", fmt.Errorf("%s: %s", name, a.Broken)})
	}
	return a
}

// ok calls what must succeed.
func (r *rig) ok(name string, args ...any) {
	if a := r.ask(name, args...); a.Status != abi.StatusOK {
		r.fail("%s answers %s: %s", name, a.Status, a.Text())
	}
}

// refused calls what must be answered with one of some statuses. what describes the call.
func (r *rig) refused(what string, want []abi.Status, name string, args ...any) plugin.Answer {
	a := r.ask(name, args...)
	r.among(what, want, name, a.Status)
	return a
}

func (r *rig) among(what string, want []abi.Status, name string, got abi.Status) {
	if !slices.Contains(want, got) {
		r.fail("%s: %s answers %s, expected %s", what, name, got, alternatives(want))
	}
}

func alternatives(statuses []abi.Status) (text string) {
	for i, s := range statuses {
		if i > 0 {
			text += " or "
		}
		text += s.String()
	}
	return text
}

// Answers that are demanded.
var (
	fine    = []abi.Status{abi.StatusOK}
	invalid = []abi.Status{abi.StatusInvalid}
	stale   = []abi.Status{abi.StatusStale}
	oom     = []abi.Status{abi.StatusOOM}
	unknown = []abi.Status{abi.StatusUnsupported, abi.StatusInvalid}
)

func (r *rig) open(o abi.DeviceOptions) (device uint64) {
	o.StructSize = uint32(sizeOf(o))
	r.ok("device_open", r.index, &o, &device)
	return device
}

// buffer is memory and, of staging memory, the host's view of it.
type buffer struct {
	handle uint64
	bytes  uint64
	host   []byte
}

func (r *rig) alloc(memory uint32, bytes uint64) (buffer, plugin.Answer) {
	desc := abi.BufferDesc{Memory: memory, Bytes: bytes}
	desc.StructSize = uint32(sizeOf(desc))
	var out abi.Buffer
	out.StructSize = uint32(sizeOf(out))
	a := r.ask("buffer_alloc", r.device, &desc, &out)
	b := buffer{handle: out.Handle, bytes: bytes}
	if a.Status == abi.StatusOK && memory == abi.MemoryStaging {
		if out.HostPointer == 0 {
			r.fail("staging memory of %d bytes came without a host pointer", bytes)
		}
		b.host = plugin.HostBytes(out.HostPointer, bytes)
	}
	return b, a
}

// staging is host-visible memory that a behaviour needs.
func (r *rig) staging(bytes uint64) buffer {
	b, a := r.alloc(abi.MemoryStaging, bytes)
	if a.Status != abi.StatusOK {
		r.fail("buffer_alloc of %d bytes answers %s: %s", bytes, a.Status, a.Text())
	}
	return b
}

func (r *rig) free(bs ...buffer) {
	for _, b := range bs {
		r.ok("buffer_free", r.device, b.handle)
	}
}

func (r *rig) queue() (queue uint64) {
	r.ok("queue_create", r.device, abi.QueueCompute, &queue)
	return queue
}

func (r *rig) timeline(value uint64) (timeline uint64) {
	r.ok("timeline_create", r.device, value, &timeline)
	return timeline
}

// end gives queues and timelines back.
func (r *rig) end(queues, timelines []uint64) {
	for _, q := range queues {
		r.ok("queue_destroy", r.device, q)
	}
	for _, t := range timelines {
		r.ok("timeline_destroy", r.device, t)
	}
}

// wait is timeline_wait.
func (r *rig) wait(timeline, value uint64, limit time.Duration) plugin.Answer {
	return r.ask("timeline_wait", r.device, timeline, value, uint64(limit.Nanoseconds()))
}

// reached demands that a timeline gets to a value soon.
func (r *rig) reached(timeline, value uint64) {
	if a := r.wait(timeline, value, prompt); a.Status != abi.StatusOK {
		r.fail("waiting for a timeline to reach %d: %s: %s", value, a.Status, a.Text())
	}
}

// notYet demands that a timeline stays below a value for a while.
func (r *rig) notYet(why string, timeline, value uint64) {
	if a := r.wait(timeline, value, short); a.Status != abi.StatusTimeout {
		r.fail("%s: timeline_wait answers %s, expected %s", why, a.Status, abi.StatusTimeout)
	}
}

// work is a submission in the making.
type work struct {
	list           []byte
	plan           uint64
	bindings       []abi.Binding
	params         []byte
	waits, signals []abi.TimelinePoint
	times          []uint64
}

func point(timeline, value uint64) abi.TimelinePoint {
	return abi.TimelinePoint{Timeline: timeline, Value: value}
}

// submit hands work to a queue.
func (r *rig) submit(queue uint64, w work) plugin.Answer {
	s := r.encode(w)
	return r.ask("submit", r.device, queue, &s)
}

func (r *rig) encode(w work) abi.Submit {
	s := abi.Submit{Plan: w.plan, WaitCount: uint32(len(w.waits)), SignalCount: uint32(len(w.signals)), BindingCount: uint32(len(w.bindings)),
		List: r.Address(w.list), Bindings: r.Address(w.bindings), Params: r.Address(w.params), ParamsBytes: uint64(len(w.params)),
		Waits: r.Address(w.waits), Signals: r.Address(w.signals), Times: r.Address(w.times)}
	s.StructSize = uint32(sizeOf(s))
	return s
}

// submitted demands that work is taken; a full queue is given time.
func (r *rig) submitted(queue uint64, w work) {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		a := r.submit(queue, w)
		if a.Status == abi.StatusOK {
			return
		}
		if a.Status != abi.StatusBusy || time.Since(began) > prompt {
			r.fail("submit answers %s: %s", a.Status, a.Text())
		}
	}
}

// flat is an operand of n elements that lie side by side.
func flat(slot uint32, dtype abi.DType, kind uint8, n int64) abi.Operand {
	o := abi.Operand{Slot: slot, DType: uint32(dtype), ValueID: slot + 1, Kind: kind, Rank: 1, Bytes: uint64(n) * uint64(dtype.Size())}
	o.Shape[0], o.Stride[0] = n, 1
	return o
}

// copying is a list that copies n bytes from slot 1 to slot 0.
func (r *rig) copying(n int64) []byte {
	r.serial++
	var b abi.ListBuilder
	b.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{flat(0, abi.U8, abi.KindOutput, n)}, []abi.Operand{flat(1, abi.U8, abi.KindInput, n)}, nil)
	return b.Finish(r.serial, 2, 0)
}

// copyWork copies a buffer to another of its size.
func (r *rig) copyWork(to, from buffer) work {
	return work{list: r.copying(int64(to.bytes)), bindings: []abi.Binding{whole(to), whole(from)}}
}

func whole(b buffer) abi.Binding { return abi.Binding{Buffer: b.handle, Bytes: b.bytes} }

// check asks list_check.
func (r *rig) check(list []byte) (plugin.Answer, abi.ListReport) {
	report := abi.ListReport{BadRecord: noRecord}
	report.StructSize = uint32(sizeOf(report))
	return r.ask("list_check", r.device, list, &report), report
}

const noRecord = 0xFFFFFFFF

// stats reads the counters; false where the backend has none.
func (r *rig) stats() (abi.DeviceStats, bool) {
	var s abi.DeviceStats
	s.StructSize = uint32(sizeOf(s))
	if !r.backend.Has("device_stats") {
		return s, false
	}
	r.ok("device_stats", r.device, &s)
	return s, true
}

// at does something at another thread while the caller goes on; the result is received.
func at(r *rig, do func(*rig)) <-chan error {
	done := make(chan error, 1)
	go func() {
		t := r.twin()
		var err error
		defer func() { t.Release(); done <- err }()
		defer t.rescue(&err)
		do(t)
	}()
	return done
}

// outcome is what another thread found, once it is done.
func (r *rig) outcome(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return &breach{"process.ends", fmt.Errorf("a call in another thread did not return within %s", patience)}
	}
}

// joined waits for another thread, and ends the behaviour with what ended that.
func (r *rig) joined(done <-chan error) {
	if err := r.outcome(done); err != nil {
		panic(err)
	}
}

// sizeOf is the size of a struct of the border.
func sizeOf(v any) int { return int(reflect.TypeOf(v).Size()) }
