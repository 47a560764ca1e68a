package plugin

import "trainer/core/abi"

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
	err := d.call(p, "queue_create", d.backend.table.QueueCreate, uintptr(kind), address(p, &q.handle))
	return q, err
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

func encodePoints(points []Point) []abi.TimelinePoint {
	out := make([]abi.TimelinePoint, len(points))
	for i, p := range points {
		out[i] = abi.TimelinePoint{Timeline: p.Timeline.handle, Value: p.Value}
	}
	return out
}

func encodeBindings(bindings []Binding) []abi.Binding {
	out := make([]abi.Binding, len(bindings))
	for i, b := range bindings {
		out[i] = b.encode()
	}
	return out
}

// Plan is a list with its bindings, prepared to run many times.
type Plan struct {
	handle uint64
	Bytes  uint64 // memory it keeps beyond its bindings
}

// HasPlans reports whether the backend can prepare lists.
func (d *Device) HasPlans() bool {
	return d.backend.table.PlanCreate != 0 && d.backend.table.PlanDestroy != 0
}

// NewPlan prepares a list with fixed bindings.
func (d *Device) NewPlan(list []byte, bindings []Binding, workspace Binding) (*Plan, error) {
	p := newPinned()
	defer p.release()
	encoded := encodeBindings(bindings)
	desc := abi.PlanDesc{StructSize: structSize[abi.PlanDesc](), BindingCount: uint32(len(encoded)), List: sliceAddress(p, list),
		Bindings: sliceAddress(p, encoded), Workspace: workspace.encode()}
	out := abi.Plan{StructSize: structSize[abi.Plan]()}
	err := d.call(p, "plan_create", d.backend.table.PlanCreate, address(p, &desc), address(p, &out))
	return &Plan{out.Handle, out.Bytes}, err
}

// FreePlan gives a plan back.
func (d *Device) FreePlan(plan *Plan) error {
	p := newPinned()
	defer p.release()
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
}

// Submit queues work and returns at once; failures show when a signal is waited for.
func (q *Queue) Submit(s Submit) error {
	p := newPinned()
	defer p.release()
	waits, signals := encodePoints(s.Waits), encodePoints(s.Signals)
	a := abi.Submit{StructSize: structSize[abi.Submit](), WaitCount: uint32(len(waits)), SignalCount: uint32(len(signals)),
		Params: sliceAddress(p, s.Params), ParamsBytes: uint64(len(s.Params)), Waits: sliceAddress(p, waits), Signals: sliceAddress(p, signals)}
	if s.Plan != nil {
		a.Plan = s.Plan.handle
	} else {
		bindings := encodeBindings(s.Bindings)
		a.BindingCount, a.Bindings = uint32(len(bindings)), sliceAddress(p, bindings)
		a.List, a.Workspace = sliceAddress(p, s.List), s.Workspace.encode()
	}
	d := q.device
	return d.call(p, "submit", d.backend.table.Submit, uintptr(q.handle), address(p, &a))
}
