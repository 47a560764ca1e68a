package plugin

import (
	"bytes"
	"fmt"
	"math/bits"
	"unicode/utf8"
	"unsafe"

	"trainer/core/abi"
)

// Backend is one loaded library whose query was answered. Safe for concurrent use.
type Backend struct {
	Name  string
	query uintptr
	table abi.BackendTable
}

// What a backend may claim to have: devices, and bytes of one.
const (
	maxDevices = 1024
	maxMemory  = 1 << 50
)

// Load opens a file and negotiates with it. It runs the library's code: a file that was
// not probed may end the process. Errors are *Refusal, or *Error where the backend refused.
func Load(name, path string) (*Backend, error) {
	lib, err := open(path)
	if err != nil {
		return nil, err
	}
	return lib.negotiate(name)
}

// negotiate asks the query and checks every word of the reply.
func (l *library) negotiate(name string) (*Backend, error) {
	p := newPinned()
	defer p.release()
	host := abi.HostInfo{StructSize: structSize[abi.HostInfo](), ABIMajor: abi.ABIMajor, ABIMinor: abi.ABIMinor}
	given := newGuarded(abi.Reply{StructSize: structSize[abi.Reply]()})
	reply := &given.value
	reply.Error.StructSize = structSize[abi.Error]()
	reply.Error.RecordIndex = noRecord
	enter(callQuery)
	status := invoke(l.query, nil, address(p, &host), address(p, given))
	leave(callQuery, status)
	if err := given.behind.check("trainer_reply"); err != nil {
		return nil, err
	}
	if status != abi.StatusOK {
		return nil, newError(name, "query", status, &reply.Error)
	}
	if smallest := uint32(unsafe.Offsetof(reply.Error)); reply.StructSize < smallest || reply.StructSize > maxStruct {
		return nil, refuse(ReasonStructSizes, "the struct_size of its reply is %d, expected %d to %d", reply.StructSize, smallest, maxStruct)
	}
	if reply.ABIMajor != abi.ABIMajor || reply.ABIMinor > abi.ABIMinor {
		return nil, refuse(ReasonABI, "answers with border version %d.%d, this program speaks %d.0 to %d.%d", reply.ABIMajor, reply.ABIMinor, abi.ABIMajor, abi.ABIMajor, abi.ABIMinor)
	}
	table, err := tableAt(reply.Table)
	if err != nil {
		return nil, err
	}
	return &Backend{Name: name, query: l.query, table: table}, nil
}

// call runs fn with at most six arguments and the error struct behind them.
func (b *Backend) call(p *pinned, name string, fn uintptr, args ...uintptr) error {
	p.err = abi.Error{StructSize: structSize[abi.Error](), RecordIndex: noRecord}
	n := copy(p.args[:], args)
	p.args[n] = address(p, &p.err)
	enter(name)
	status := invoke(fn, &p.err, p.args[:n+1]...)
	leave(name, status)
	if !p.intact() {
		p.behindErr, p.behindValue = untouched, untouched
		return b.lied(name, "writes beyond the end of what it was given to fill")
	}
	if status == abi.StatusOK {
		return nil
	}
	return newError(b.Name, name, status, &p.err)
}

// The calls that the watchdog of a process knows by name.
const (
	callLoad   = "load"
	callQuery  = "query"
	callOpen   = "device_open"
	callCheck  = "list_check"
	callPlan   = "plan_create"
	callWait   = "timeline_wait"
	callRead   = "timeline_read"
	callSubmit = "submit"
)

// lied is the error of a call that answered OK and broke the border's rules.
func (b *Backend) lied(call, format string, args ...any) error {
	return &Error{Backend: b.Name, Call: call, Status: abi.StatusInternal, Record: -1, Text: "it " + fmt.Sprintf(format, args...), lie: true}
}

// filled is the struct that a call wrote, unless it wrote too much.
func filled[T any](b *Backend, call, name string, g *guarded[T]) error {
	if g.behind != untouched {
		return b.lied(call, "writes beyond the end of %s: it ignores struct_size", name)
	}
	return nil
}

// Devices describes every device of the backend.
func (b *Backend) Devices() ([]DeviceInfo, error) {
	p := newPinned()
	defer p.release()
	given := newGuarded(uint32(0))
	if err := b.call(p, "device_count", b.table.DeviceCount, address(p, given)); err != nil {
		return nil, err
	}
	if err := filled(b, "device_count", "the count", given); err != nil {
		return nil, err
	}
	count := given.value
	if count > maxDevices {
		return nil, refuse(ReasonDeviceInfo, "claims %d devices, expected at most %d", count, maxDevices)
	}
	infos := make([]DeviceInfo, 0, count)
	for i := range count {
		d, err := b.deviceInfo(i)
		if err != nil {
			return nil, err
		}
		infos = append(infos, d)
	}
	return infos, nil
}

func (b *Backend) deviceInfo(i uint32) (DeviceInfo, error) {
	p := newPinned()
	defer p.release()
	given := newGuarded(abi.DeviceInfo{StructSize: structSize[abi.DeviceInfo]()})
	if err := b.call(p, "device_info", b.table.DeviceInfo, uintptr(i), address(p, given)); err != nil {
		return DeviceInfo{}, err
	}
	if err := given.behind.check("trainer_device_info"); err != nil {
		return DeviceInfo{}, err
	}
	d, err := newDeviceInfo(given.value)
	if err != nil {
		return d, refuse(ReasonDeviceInfo, "device %d: %v", i, err)
	}
	return d, nil
}

// Shutdown ends the backend; nothing of it may be used afterwards.
func (b *Backend) Shutdown() error {
	p := newPinned()
	defer p.release()
	return b.call(p, "shutdown", b.table.Shutdown)
}

// DeviceInfo is what a backend says of a device, checked for sense. A device may have no
// memory and no dtypes: then it cannot train.
type DeviceInfo struct {
	Class         uint32 `json:"class"` // abi.DeviceCPU, …
	Flags         uint32 `json:"flags"`
	Numerics      uint32 `json:"numerics"`
	MemoryTotal   uint64 `json:"memory_total_bytes"`
	MemoryFree    uint64 `json:"memory_free_bytes"`
	BufferMax     uint64 `json:"buffer_max_bytes"`
	ListBytesMax  uint64 `json:"list_bytes_max"` // 0 = no limit
	StorageDTypes uint64 `json:"storage_dtypes"` // bit 1 << dtype
	ComputeDTypes uint64 `json:"compute_dtypes"`
	Alignment     uint32 `json:"alignment"`
	Lanes         uint32 `json:"lanes"`
	Threads       uint32 `json:"threads"`
	Name          string `json:"name"`
	UUID          string `json:"uuid"`
	ISA           string `json:"isa"`
}

// Computes reports whether the device computes natively in a dtype.
func (d DeviceInfo) Computes(t abi.DType) bool { return d.ComputeDTypes>>t&1 != 0 }

func newDeviceInfo(i abi.DeviceInfo) (DeviceInfo, error) {
	d := DeviceInfo{Class: i.DeviceClass, Flags: i.Flags, Numerics: i.Numerics, MemoryTotal: i.MemoryTotal, MemoryFree: i.MemoryFree,
		BufferMax: min(i.BufferMax, maxMemory), ListBytesMax: i.ListBytesMax, StorageDTypes: i.StorageDTypes, ComputeDTypes: i.ComputeDTypes, Alignment: i.Alignment, Lanes: i.Lanes,
		Threads: i.Threads, Name: text(i.Name[:]), UUID: text(i.UUID[:]), ISA: text(i.ISA[:])}
	switch {
	case i.StructSize < uint32(unsafe.Offsetof(i.Name)) || i.StructSize > maxStruct:
		return d, fmt.Errorf("struct_size is %d, expected up to %d", i.StructSize, structSize[abi.DeviceInfo]())
	case d.Class < abi.DeviceCPU || d.Class > abi.DeviceDiscrete:
		return d, fmt.Errorf("device_class is %d, expected 1 to 3", d.Class)
	case bits.OnesCount32(d.Alignment) != 1 || d.Alignment > 4096:
		return d, fmt.Errorf("alignment is %d, expected a power of two up to 4096", d.Alignment)
	case d.Lanes < 1 || d.Lanes > 1024:
		return d, fmt.Errorf("lanes is %d, expected 1 or more", d.Lanes)
	case d.Numerics > abi.NumericsBF16X3:
		return d, fmt.Errorf("numerics is %d, expected 0 to %d", d.Numerics, abi.NumericsBF16X3)
	case d.MemoryTotal > maxMemory:
		return d, fmt.Errorf("memory_total is %d bytes, which no device has", d.MemoryTotal)
	case d.MemoryFree > d.MemoryTotal:
		return d, fmt.Errorf("memory_free is %d bytes, of a memory_total of %d", d.MemoryFree, d.MemoryTotal)
	}
	for name, field := range map[string][]byte{"name": i.Name[:], "uuid": i.UUID[:], "isa": i.ISA[:]} {
		if end := bytes.IndexByte(field, 0); end < 0 || !utf8.Valid(field[:end]) {
			return d, fmt.Errorf("%s is not UTF-8 that ends with NUL within %d bytes", name, len(field))
		}
	}
	return d, nil
}
