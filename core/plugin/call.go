package plugin

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"

	"trainer/core/abi"
)

// library is one opened shared library. It is never closed: threads and handlers a
// backend left behind must keep their code.
type library struct {
	path  string
	query uintptr
}

// open loads a file and finds the entry symbol. A file that misbehaves ends the process
// here; that is what the probe is for.
func open(path string) (*library, error) {
	// dlerror is per thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	query, err := purego.Dlsym(handle, "trainer_backend_query_v1")
	if err != nil {
		return nil, fmt.Errorf("%s has no symbol trainer_backend_query_v1: %w", path, err)
	}
	return &library{path: path, query: query}, nil
}

// pinned collects the Go memory that one call hands to C. The addresses stay valid until
// release; a backend keeps none of them.
type pinned struct{ runtime.Pinner }

var pinners = sync.Pool{New: func() any { return new(pinned) }}

func newPinned() *pinned { return pinners.Get().(*pinned) }

func (p *pinned) release() {
	p.Unpin()
	pinners.Put(p)
}

// address pins v and returns where it is.
func address[T any](p *pinned, v *T) uintptr {
	p.Pin(v)
	return uintptr(unsafe.Pointer(v))
}

// sliceAddress pins the elements of a slice; 0 for an empty one.
func sliceAddress[T any](p *pinned, v []T) uintptr {
	if len(v) == 0 {
		return 0
	}
	return address(p, &v[0])
}

// invoke calls a C function whose last argument is the error struct. It is the only
// place where Go enters a backend.
func invoke(fn uintptr, e *abi.Error, args ...uintptr) abi.Status {
	r, _, _ := purego.SyscallN(fn, args...)
	// C leaves the upper half of the register undefined.
	status := abi.Status(int32(uint32(r)))
	if status != abi.StatusOK && e != nil {
		e.Status = int32(status)
	}
	return status
}

// structSize is the size of a border struct.
func structSize[T any]() uint32 {
	var v T
	return uint32(unsafe.Sizeof(v))
}

// hostBytes views memory that a backend owns.
func hostBytes(pointer uintptr, n uint64) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&pointer)), n)
}

// tableAt copies a backend's table, of which it filled the first struct_size bytes.
func tableAt(pointer uintptr) (abi.BackendTable, error) {
	var table abi.BackendTable
	if pointer == 0 {
		return table, fmt.Errorf("the reply has no table")
	}
	size := *(*uint32)(unsafe.Pointer(*(**byte)(unsafe.Pointer(&pointer))))
	required := uint32(unsafe.Offsetof(table.DeviceStats))
	if size < required || size > 1<<16 {
		return table, fmt.Errorf("the table's struct_size is %d, expected at least %d", size, required)
	}
	full := uint32(unsafe.Sizeof(table))
	dst := unsafe.Slice((*byte)(unsafe.Pointer(&table)), full)
	copy(dst, hostBytes(pointer, uint64(min(size, full))))
	entries := unsafe.Slice((*uintptr)(unsafe.Pointer(&table.Shutdown)), (required-uint32(unsafe.Offsetof(table.Shutdown)))/uint32(unsafe.Sizeof(uintptr(0))))
	for i, f := range entries {
		if f == 0 {
			return table, fmt.Errorf("required entry %d of the table is NULL", i)
		}
	}
	return table, nil
}
