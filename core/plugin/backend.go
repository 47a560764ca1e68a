package plugin

import (
	"fmt"
	"math/bits"

	"trainer/core/abi"
)

// Backend is one loaded library whose query was answered. Safe for concurrent use.
type Backend struct {
	Name  string
	table abi.BackendTable
}

// maxDevices bounds what a backend may claim to have.
const maxDevices = 1024

// Load opens a file and negotiates with it. It runs the library's code: a file that was
// not probed may end the process.
func Load(name, path string) (*Backend, error) {
	lib, err := open(path)
	if err != nil {
		return nil, err
	}
	p := newPinned()
	defer p.release()
	host := abi.HostInfo{StructSize: structSize[abi.HostInfo](), ABIMajor: abi.ABIMajor, ABIMinor: abi.ABIMinor}
	reply := abi.Reply{StructSize: structSize[abi.Reply]()}
	reply.Error.StructSize = structSize[abi.Error]()
	reply.Error.RecordIndex = noRecord
	if status := invoke(lib.query, nil, address(p, &host), address(p, &reply)); status != abi.StatusOK {
		return nil, newError(name, "query", status, &reply.Error)
	}
	if reply.ABIMajor != abi.ABIMajor || reply.ABIMinor > abi.ABIMinor {
		return nil, fmt.Errorf("backend %s speaks ABI %d.%d, expected %d.0 to %d.%d", name, reply.ABIMajor, reply.ABIMinor, abi.ABIMajor, abi.ABIMajor, abi.ABIMinor)
	}
	table, err := tableAt(reply.Table)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", name, err)
	}
	return &Backend{Name: name, table: table}, nil
}

// call runs fn with arguments and the error struct behind them.
func (b *Backend) call(p *pinned, name string, fn uintptr, args ...uintptr) error {
	e := abi.Error{StructSize: structSize[abi.Error](), RecordIndex: noRecord}
	status := invoke(fn, &e, append(args, address(p, &e))...)
	if status == abi.StatusOK {
		return nil
	}
	return newError(b.Name, name, status, &e)
}

// Devices describes every device of the backend.
func (b *Backend) Devices() ([]DeviceInfo, error) {
	p := newPinned()
	defer p.release()
	var count uint32
	if err := b.call(p, "device_count", b.table.DeviceCount, address(p, &count)); err != nil {
		return nil, err
	}
	if count > maxDevices {
		return nil, fmt.Errorf("backend %s claims %d devices, expected at most %d", b.Name, count, maxDevices)
	}
	infos := make([]DeviceInfo, 0, count)
	for i := range count {
		info := abi.DeviceInfo{StructSize: structSize[abi.DeviceInfo]()}
		if err := b.call(p, "device_info", b.table.DeviceInfo, uintptr(i), address(p, &info)); err != nil {
			return nil, err
		}
		d, err := newDeviceInfo(info)
		if err != nil {
			return nil, fmt.Errorf("backend %s, device %d: %w", b.Name, i, err)
		}
		infos = append(infos, d)
	}
	return infos, nil
}

// Shutdown ends the backend; nothing of it may be used afterwards.
func (b *Backend) Shutdown() error {
	p := newPinned()
	defer p.release()
	return b.call(p, "shutdown", b.table.Shutdown)
}

// DeviceInfo is what a backend says of a device, checked.
type DeviceInfo struct {
	Class         uint32 `json:"class"` // abi.DeviceCPU, …
	Flags         uint32 `json:"flags"`
	Numerics      uint32 `json:"numerics"`
	MemoryTotal   uint64 `json:"memory_total_bytes"`
	MemoryFree    uint64 `json:"memory_free_bytes"`
	BufferMax     uint64 `json:"buffer_max_bytes"`
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
		BufferMax: i.BufferMax, StorageDTypes: i.StorageDTypes, ComputeDTypes: i.ComputeDTypes, Alignment: i.Alignment, Lanes: i.Lanes,
		Threads: i.Threads, Name: text(i.Name[:]), UUID: text(i.UUID[:]), ISA: text(i.ISA[:])}
	if bits.OnesCount32(d.Alignment) != 1 || d.Alignment > 4096 {
		return d, fmt.Errorf("alignment is %d, expected a power of two up to 4096", d.Alignment)
	}
	if d.Class < abi.DeviceCPU || d.Class > abi.DeviceDiscrete {
		return d, fmt.Errorf("device class is %d, expected 1 to 3", d.Class)
	}
	if d.MemoryTotal == 0 || d.BufferMax == 0 || d.StorageDTypes>>abi.F32&1 == 0 {
		return d, fmt.Errorf("memory %d, largest buffer %d, storage dtypes %#x: each must be set, f32 among them", d.MemoryTotal, d.BufferMax, d.StorageDTypes)
	}
	return d, nil
}
