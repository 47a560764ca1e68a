package plugin

import (
	"errors"
	"time"

	"trainer/core/abi"
)

// Queue runs lists in order. Calls on one queue must not overlap.
type Queue struct {
	device *Device
	handle uint64
}

// NewQueue makes a queue: abi.QueueCompute or abi.QueueTransfer.
func (d *Device) NewQueue(kind uint32) (*Queue, error) {
	p := newPinned()
	defer p.release()
	q := &Queue{device: d}
	err := d.call(p, callQueue, d.backend.table.QueueCreate, uintptr(kind), address(p, &p.value))
	q.handle = p.take()
	if err := d.made(callQueue, q.handle, err); err != nil {
		return nil, err
	}
	return q, q.countRecords()
}

// Close ends the queue; what has not begun is cancelled.
func (q *Queue) Close() error {
	p := newPinned()
	defer p.release()
	q.device.gone(callQueue, q.handle)
	return q.device.call(p, "queue_destroy", q.device.backend.table.QueueDestroy, uintptr(q.handle))
}

// Binding is what a slot means: a range of a buffer.
type Binding struct {
	Buffer        *Buffer
	Offset, Bytes uint64
}

func (b Binding) encode() abi.Binding {
	if b.Buffer == nil {
		return abi.Binding{}
	}
	return abi.Binding{Buffer: b.Buffer.handle, Offset: b.Offset, Bytes: b.Bytes}
}

// Point is a value of a timeline.
type Point struct {
	Timeline *Timeline
	Value    uint64
}

func (p *pinned) encodePoints(points []Point) {
	for _, at := range points {
		p.points = append(p.points, abi.TimelinePoint{Timeline: at.Timeline.handle, Value: at.Value})
	}
}

// encodeBindings fills p.bindings.
func (p *pinned) encodeBindings(bindings []Binding) {
	p.bindings = p.bindings[:0]
	for _, b := range bindings {
		p.bindings = append(p.bindings, b.encode())
	}
}

// Plan is a list with its bindings, prepared to run many times.
type Plan struct {
	handle  uint64
	serial  uint64 // of its list
	records uint32
	Bytes   uint64 // memory it keeps beyond its bindings
}

// HasPlans reports whether the backend can prepare lists.
func (d *Device) HasPlans() bool {
	return d.backend.table.PlanCreate != 0 && d.backend.table.PlanDestroy != 0
}

// NewPlan prepares a list with fixed bindings.
func (d *Device) NewPlan(list []byte, bindings []Binding, workspace Binding) (*Plan, error) {
	p := newPinned()
	defer p.release()
	if !d.HasPlans() {
		return nil, &Error{Backend: d.backend.Name, Call: "plan_create", Status: abi.StatusUnsupported, Record: -1, Text: "this backend prepares no plans"}
	}
	p.encodeBindings(bindings)
	desc := abi.PlanDesc{StructSize: structSize[abi.PlanDesc](), BindingCount: uint32(len(p.bindings)), List: sliceAddress(p, list),
		Bindings: sliceAddress(p, p.bindings), Workspace: workspace.encode()}
	out := newGuarded(abi.Plan{StructSize: structSize[abi.Plan]()})
	err := d.call(p, callPlan, d.backend.table.PlanCreate, address(p, &desc), address(p, out))
	if err == nil {
		err = filled(d.backend, callPlan, "trainer_plan", out)
	}
	if err := d.made(callPlan, out.value.Handle, err); err != nil {
		return nil, err
	}
	if out.value.Bytes > maxMemory {
		return nil, d.backend.lied(callPlan, "made a plan of %d bytes, which no device has", out.value.Bytes)
	}
	serial, records := abi.ListIdentity(list)
	return &Plan{out.value.Handle, serial, records, out.value.Bytes}, nil
}

// FreePlan gives a plan back.
func (d *Device) FreePlan(plan *Plan) error {
	p := newPinned()
	defer p.release()
	d.gone(callPlan, plan.handle)
	return d.call(p, "plan_destroy", d.backend.table.PlanDestroy, uintptr(plan.handle))
}

// Submit is one submission: a plan, or a list with its bindings.
type Submit struct {
	Plan      *Plan
	List      []byte
	Bindings  []Binding
	Workspace Binding
	Params    []byte // copied before the call returns
	Waits     []Point
	Signals   []Point
	Times     *Times // where the device has times; nil: not wanted
}

// busyLimit is how long a full queue may stay full.
const busyLimit = time.Minute

// Submit queues work and returns at once; failures show when a signal is waited for. While
// the queue is full it waits for room.
func (q *Queue) Submit(s Submit) error {
	p := newPinned()
	defer p.release()
	p.encodeSubmit(s)
	d := q.device
	serial, records := s.identity()
	idle := !outstanding()
	handOver(serial, records, s.Signals)
	began := time.Now()
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		err := d.call(p, callSubmit, d.backend.table.Submit, uintptr(q.handle), address(p, &p.submit))
		if err == nil {
			return nil
		}
		var e *Error
		if !errors.As(err, &e) || e.Status != abi.StatusBusy || time.Since(began) > busyLimit {
			takeBack(records)
			return err
		}
		if idle {
			takeBack(records)
			return d.backend.lied(callSubmit, "is busy, though nothing is queued")
		}
		time.Sleep(pause)
	}
}

// identity is the serial of what is submitted, and its records.
func (s Submit) identity() (serial uint64, records uint32) {
	if s.Plan != nil {
		return s.Plan.serial, s.Plan.records
	}
	return abi.ListIdentity(s.List)
}

// encodeSubmit fills p.submit and pins what it points to.
func (p *pinned) encodeSubmit(s Submit) {
	p.points = p.points[:0]
	p.encodePoints(s.Waits)
	p.encodePoints(s.Signals)
	waits, signals := p.points[:len(s.Waits)], p.points[len(s.Waits):]
	p.submit = abi.Submit{StructSize: structSize[abi.Submit](), WaitCount: uint32(len(waits)), SignalCount: uint32(len(signals)),
		Params: sliceAddress(p, s.Params), ParamsBytes: uint64(len(s.Params)), Waits: sliceAddress(p, waits), Signals: sliceAddress(p, signals), Times: s.Times.address()}
	if s.Plan != nil {
		p.submit.Plan = s.Plan.handle
		return
	}
	p.encodeBindings(s.Bindings)
	p.submit.BindingCount, p.submit.Bindings = uint32(len(p.bindings)), sliceAddress(p, p.bindings)
	p.submit.List, p.submit.Workspace = sliceAddress(p, s.List), s.Workspace.encode()
}
