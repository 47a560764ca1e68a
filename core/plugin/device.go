package plugin

import (
	"sync/atomic"
	"time"

	"trainer/core/abi"
)

// DeviceOptions are how a device is opened.
type DeviceOptions struct {
	Deterministic bool
	MemoryLimit   uint64 // bytes; 0 = none
	Threads       uint32 // 0 = the backend chooses
}

// Device is an opened device. Its methods may be called from any goroutine, except that
// calls on one Queue must not overlap.
type Device struct {
	backend *Backend
	handle  uint64
	info    DeviceInfo
	lost    atomic.Pointer[Error] // DEVICE_LOST is final
}

// OpenDevice opens a device by index.
func (b *Backend) OpenDevice(index int, o DeviceOptions) (*Device, error) {
	infos, err := b.Devices()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= len(infos) {
		return nil, &Error{Backend: b.Name, Call: "device_open", Status: abi.StatusInvalid, Record: -1, Text: "there is no such device"}
	}
	p := newPinned()
	defer p.release()
	options := abi.DeviceOptions{StructSize: structSize[abi.DeviceOptions](), MemoryLimit: o.MemoryLimit, Threads: o.Threads}
	if o.Deterministic {
		options.Deterministic = 1
	}
	d := &Device{backend: b, info: infos[index]}
	err = b.call(p, "device_open", b.table.DeviceOpen, uintptr(index), address(p, &options), address(p, &p.value))
	d.handle, err = b.handle("device_open", p, err)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// handle is the handle that a call wrote to p.value; a handle is never 0.
func (b *Backend) handle(call string, p *pinned, err error) (uint64, error) {
	h := p.value
	p.value = 0
	if err == nil && h == 0 {
		err = &Error{Backend: b.Name, Call: call, Status: abi.StatusInternal, Record: -1, Text: "it gave a handle of 0"}
	}
	return h, err
}

// Info describes the device as it was when opened.
func (d *Device) Info() DeviceInfo { return d.info }

// Backend is the name of the backend.
func (d *Device) Backend() string { return d.backend.Name }

// call enters the backend unless the device is lost.
func (d *Device) call(p *pinned, name string, fn uintptr, args ...uintptr) error {
	if lost := d.lost.Load(); lost != nil {
		return lost
	}
	all := [6]uintptr{uintptr(d.handle)}
	n := 1 + copy(all[1:], args)
	err := d.backend.call(p, name, fn, all[:n]...)
	if e, ok := err.(*Error); ok && e.Status == abi.StatusDeviceLost {
		d.lost.Store(e)
	}
	return err
}

// Close gives everything of the device back, a lost one too.
func (d *Device) Close() error {
	p := newPinned()
	defer p.release()
	return d.backend.call(p, "device_close", d.backend.table.DeviceClose, uintptr(d.handle))
}

// QueryOps asks which ops run natively; the answers are binding.
func (d *Device) QueryOps(queries []abi.OpQuery) ([]abi.OpAnswer, error) {
	p := newPinned()
	defer p.release()
	answers := make([]abi.OpAnswer, len(queries))
	for i := range queries {
		queries[i].StructSize = structSize[abi.OpQuery]()
		answers[i].StructSize = structSize[abi.OpAnswer]()
	}
	err := d.call(p, "query_ops", d.backend.table.QueryOps, sliceAddress(p, queries), uintptr(len(queries)), sliceAddress(p, answers))
	return answers, err
}

// Buffer is memory on the device, or staging memory the host can see.
type Buffer struct {
	handle uint64
	bytes  uint64
	host   []byte
}

// Size is the buffer's bytes.
func (b *Buffer) Size() uint64 { return b.bytes }

// Bytes is the host's view of staging memory, owned by the backend until Free; nil for
// device memory.
func (b *Buffer) Bytes() []byte { return b.host }

// Alloc obtains memory: abi.MemoryDevice or abi.MemoryStaging. Out of memory changes
// nothing.
func (d *Device) Alloc(memory uint32, bytes uint64) (*Buffer, error) {
	p := newPinned()
	defer p.release()
	desc := abi.BufferDesc{StructSize: structSize[abi.BufferDesc](), Memory: memory, Bytes: bytes}
	out := abi.Buffer{StructSize: structSize[abi.Buffer]()}
	if err := d.call(p, "buffer_alloc", d.backend.table.BufferAlloc, address(p, &desc), address(p, &out)); err != nil {
		return nil, err
	}
	p.value = out.Handle
	handle, err := d.backend.handle("buffer_alloc", p, nil)
	if err != nil {
		return nil, err
	}
	b := &Buffer{handle: handle, bytes: bytes}
	if memory == abi.MemoryStaging {
		if out.HostPointer == 0 {
			return nil, &Error{Backend: d.backend.Name, Call: "buffer_alloc", Status: abi.StatusInternal, Record: -1, Text: "staging memory came without a host pointer"}
		}
		b.host = hostBytes(out.HostPointer, bytes)
	}
	return b, nil
}

// Free gives a buffer back.
func (d *Device) Free(b *Buffer) error {
	p := newPinned()
	defer p.release()
	b.host = nil
	return d.call(p, "buffer_free", d.backend.table.BufferFree, uintptr(b.handle))
}

// Report is what list_check found out.
type Report struct {
	WorkspaceBytes uint64 // to bind when the list is submitted
	PlanBytes      uint64 // what a plan of it would keep
}

// CheckList validates a list without running it. An error names the first bad record.
func (d *Device) CheckList(list []byte) (Report, error) {
	p := newPinned()
	defer p.release()
	report := abi.ListReport{StructSize: structSize[abi.ListReport](), BadRecord: noRecord}
	err := d.call(p, "list_check", d.backend.table.ListCheck, sliceAddress(p, list), address(p, &report))
	return Report{report.WorkspaceBytes, report.PlanBytes}, err
}

// Stats is what the backend counts of the memory obtained through the border.
type Stats struct{ MemoryUsed, MemoryPeak uint64 }

// Stats reads the counters; zeros where the backend has none.
func (d *Device) Stats() (Stats, error) {
	if d.backend.table.DeviceStats == 0 {
		return Stats{}, nil
	}
	p := newPinned()
	defer p.release()
	s := abi.DeviceStats{StructSize: structSize[abi.DeviceStats]()}
	err := d.call(p, "device_stats", d.backend.table.DeviceStats, address(p, &s))
	return Stats{s.MemoryUsed, s.MemoryPeak}, err
}

// Timeline is a counter on the device that orders lists.
type Timeline struct {
	device *Device
	handle uint64
}

// NewTimeline makes a timeline that stands at value.
func (d *Device) NewTimeline(value uint64) (*Timeline, error) {
	p := newPinned()
	defer p.release()
	t := &Timeline{device: d}
	err := d.call(p, "timeline_create", d.backend.table.TimelineCreate, uintptr(value), address(p, &p.value))
	t.handle, err = d.backend.handle("timeline_create", p, err)
	return t, err
}

// Close gives the timeline back; who still waits for it gets an error.
func (t *Timeline) Close() error {
	p := newPinned()
	defer p.release()
	return t.device.call(p, "timeline_destroy", t.device.backend.table.TimelineDestroy, uintptr(t.handle))
}

// Read is the value reached, without waiting.
func (t *Timeline) Read() (uint64, error) {
	p := newPinned()
	defer p.release()
	err := t.device.call(p, "timeline_read", t.device.backend.table.TimelineRead, uintptr(t.handle), address(p, &p.value))
	value := p.value
	p.value = 0
	return value, err
}

// Wait blocks until value is reached or the timeout is over (IsTimeout). It reports the
// failure of the list that should have reached it.
func (t *Timeline) Wait(value uint64, timeout time.Duration) error {
	p := newPinned()
	defer p.release()
	return t.device.call(p, "timeline_wait", t.device.backend.table.TimelineWait, uintptr(t.handle), uintptr(value), uintptr(max(0, timeout.Nanoseconds())))
}
