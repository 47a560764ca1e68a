package plugin

import (
	"errors"
	"fmt"
	"sync"
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
	mu      sync.Mutex
	alive   map[object]bool
}

// object is what a handle names; call made it.
type object struct {
	call   string
	handle uint64
}

// made takes the handle that a call gave. A handle is not 0 and names one object at a time.
func (d *Device) made(call string, handle uint64, err error) error {
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	made := object{call, handle}
	switch {
	case handle == 0:
		return d.backend.lied(call, "gave a handle of 0")
	case d.alive[made]:
		return d.backend.lied(call, "gave the handle %d a second time", handle)
	case d.alive == nil:
		d.alive = map[object]bool{}
	}
	d.alive[made] = true
	return nil
}

// gone forgets what made took.
func (d *Device) gone(call string, handle uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.alive, object{call, handle})
}

// Lost reports whether the device is lost for good.
func (d *Device) Lost() bool { return d.lost.Load() != nil }

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
	err = b.call(p, callOpen, b.table.DeviceOpen, uintptr(index), address(p, &options), address(p, &p.value))
	if d.handle = p.take(); err == nil && d.handle == 0 {
		err = b.lied(callOpen, "gave a handle of 0")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// take is the number that a call wrote.
func (p *pinned) take() uint64 {
	v := p.value
	p.value = 0
	return v
}

// Info describes the device as it was when opened.
func (d *Device) Info() DeviceInfo { return d.info }

// Backend is the name of the backend.
func (d *Device) Backend() string { return d.backend.Name }

// Minor is that of the border which the backend speaks.
func (d *Device) Minor() uint32 { return d.backend.minor }

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
	if err := d.call(p, "query_ops", d.backend.table.QueryOps, sliceAddress(p, queries), uintptr(len(queries)), sliceAddress(p, answers)); err != nil {
		return nil, err
	}
	for i, a := range answers {
		if a.Level > abi.LevelFast {
			return nil, d.backend.lied("query_ops", "answered level %d for op %s, expected 0 to %d", a.Level, abi.Op(queries[i].Op), abi.LevelFast)
		}
	}
	return answers, nil
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
	out := newGuarded(abi.Buffer{StructSize: structSize[abi.Buffer]()})
	err := d.call(p, callAlloc, d.backend.table.BufferAlloc, address(p, &desc), address(p, out))
	if err == nil {
		err = filled(d.backend, callAlloc, "trainer_buffer", out)
	}
	if err := d.made(callAlloc, out.value.Handle, err); err != nil {
		return nil, err
	}
	b := &Buffer{handle: out.value.Handle, bytes: bytes}
	if memory == abi.MemoryStaging {
		at := out.value.HostPointer
		if at == 0 {
			return nil, d.backend.lied(callAlloc, "gave staging memory without a host pointer")
		}
		if bytes > 0 && (!readable(at, 1) || !readable(at+uintptr(bytes)-1, 1)) {
			return nil, d.backend.lied(callAlloc, "gave staging memory at %#x, where there is none", at)
		}
		b.host = hostBytes(at, bytes)
	}
	return b, nil
}

// The calls that make objects, besides opening a device and making a plan.
const (
	callAlloc    = "buffer_alloc"
	callQueue    = "queue_create"
	callTimeline = "timeline_create"
)

// Free gives a buffer back.
func (d *Device) Free(b *Buffer) error {
	p := newPinned()
	defer p.release()
	b.host = nil
	d.gone(callAlloc, b.handle)
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
	if most := d.info.ListBytesMax; most > 0 && uint64(len(list)) > most {
		return Report{}, &Error{Backend: d.backend.Name, Call: callCheck, Status: abi.StatusUnsupported, Record: -1,
			Text: fmt.Sprintf("a list of %d bytes, of which the device takes at most %d", len(list), most)}
	}
	given := newGuarded(abi.ListReport{StructSize: structSize[abi.ListReport](), BadRecord: noRecord})
	err := d.call(p, callCheck, d.backend.table.ListCheck, sliceAddress(p, list), address(p, given))
	if err == nil {
		err = filled(d.backend, callCheck, "trainer_list_report", given)
	}
	report := given.value
	switch {
	case err != nil:
	case report.BadRecord != noRecord:
		err = d.backend.lied(callCheck, "accepts a list and calls its record %d bad", report.BadRecord)
	case report.WorkspaceBytes > maxMemory || d.info.BufferMax > 0 && report.WorkspaceBytes > d.info.BufferMax:
		err = d.backend.lied(callCheck, "asks for %d bytes of workspace, more than any of its buffers has", report.WorkspaceBytes)
	case report.PlanBytes > maxMemory:
		err = d.backend.lied(callCheck, "says that a plan keeps %d bytes, which no device has", report.PlanBytes)
	}
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
	given := newGuarded(abi.DeviceStats{StructSize: structSize[abi.DeviceStats]()})
	err := d.call(p, "device_stats", d.backend.table.DeviceStats, address(p, given))
	if err == nil {
		err = filled(d.backend, "device_stats", "trainer_device_stats", given)
	}
	s := given.value
	if err == nil && max(s.MemoryUsed, s.MemoryPeak) > maxMemory {
		err = d.backend.lied("device_stats", "counts %d bytes in use and %d at most, which no device has", s.MemoryUsed, s.MemoryPeak)
	}
	return Stats{s.MemoryUsed, s.MemoryPeak}, err
}

// Timeline is a counter on the device that orders lists.
type Timeline struct {
	device *Device
	handle uint64
	seen   atomic.Uint64 // the highest value that was read
}

// NewTimeline makes a timeline that stands at value.
func (d *Device) NewTimeline(value uint64) (*Timeline, error) {
	p := newPinned()
	defer p.release()
	t := &Timeline{device: d}
	err := d.call(p, callTimeline, d.backend.table.TimelineCreate, uintptr(value), address(p, &p.value))
	t.handle = p.take()
	return t, d.made(callTimeline, t.handle, err)
}

// Close gives the timeline back; who still waits for it gets an error.
func (t *Timeline) Close() error {
	p := newPinned()
	defer p.release()
	t.device.gone(callTimeline, t.handle)
	return t.device.call(p, "timeline_destroy", t.device.backend.table.TimelineDestroy, uintptr(t.handle))
}

// Read is the value reached, without waiting.
func (t *Timeline) Read() (uint64, error) {
	p := newPinned()
	defer p.release()
	err := t.device.call(p, callRead, t.device.backend.table.TimelineRead, uintptr(t.handle), address(p, &p.value))
	value := p.take()
	if err != nil {
		return 0, err
	}
	for seen := t.seen.Load(); value > seen && !t.seen.CompareAndSwap(seen, value); seen = t.seen.Load() {
	}
	if seen := t.seen.Load(); value < seen {
		return value, t.device.backend.lied(callRead, "has a timeline that went back from %d to %d", seen, value)
	}
	return value, nil
}

// Wait blocks until value is reached or the timeout is over (IsTimeout). It reports the
// failure of the list that should have reached it.
func (t *Timeline) Wait(value uint64, timeout time.Duration) error {
	p := newPinned()
	defer p.release()
	timeout = max(0, timeout)
	began := time.Now()
	err := t.device.call(p, callWait, t.device.backend.table.TimelineWait, uintptr(t.handle), uintptr(value), uintptr(timeout.Nanoseconds()))
	if took := time.Since(began); IsTimeout(err) && took < timeout/2 {
		return t.device.backend.lied(callWait, "gave up after %s, where %s were given", took.Round(time.Microsecond), timeout)
	}
	if err != nil {
		return err
	}
	if now, err := t.Read(); err == nil && now < value {
		return t.device.backend.lied(callWait, "says that its timeline reached %d, where timeline_read says %d", value, now)
	} else if isLie(err) {
		return err
	}
	reached(Point{t, value})
	return nil
}

// isLie reports whether an error is about a backend's answer, not the backend's own.
func isLie(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.lie
}
