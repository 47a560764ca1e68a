package plugin

import (
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unicode"
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
	enter(callLoad)
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	leave(callLoad, abi.StatusOK)
	if err != nil {
		return nil, refuse(ReasonLoad, "the system's loader refuses it: %v", err)
	}
	query, err := purego.Dlsym(handle, entrySymbol)
	if err != nil {
		return nil, refuse(ReasonEntrySymbol, "exports no function %s: %v", entrySymbol, err)
	}
	return &library{path: path, query: query}, nil
}

// pinned is the Go memory that one call hands to C. Its addresses stay valid until release;
// a backend keeps none of them. It is reused, so that a call in a step allocates nothing.
type pinned struct {
	runtime.Pinner
	err         abi.Error
	behindErr   margin
	value       uint64 // a handle or a count that a backend writes
	behindValue margin
	args        [7]uintptr // six, and the error struct
	submit      abi.Submit
	bindings    []abi.Binding
	points      []abi.TimelinePoint // waits, then signals
}

var pinners = sync.Pool{New: func() any { return &pinned{behindErr: untouched, behindValue: untouched} }}

// intact reports whether a backend kept to the structs of this call.
func (p *pinned) intact() bool { return p.behindErr == untouched && p.behindValue == untouched }

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

// readable reports whether n bytes at an address can be read: the system refuses to write
// them to a pipe where they cannot.
func readable(pointer uintptr, n int) bool {
	var pipe [2]int
	if syscall.Pipe(pipe[:]) != nil {
		return true // not known
	}
	defer syscall.Close(pipe[0])
	defer syscall.Close(pipe[1])
	written, err := syscall.Write(pipe[1], hostBytes(pointer, uint64(n)))
	return err == nil && written == n
}

// maxStruct is the largest struct_size that is believed.
const maxStruct = 64 << 10

// tableAt copies a backend's table, of which it filled the first struct_size bytes.
func tableAt(pointer uintptr) (abi.BackendTable, error) {
	var table abi.BackendTable
	required := uint32(unsafe.Offsetof(table.DeviceStats))
	if pointer == 0 {
		return table, refuse(ReasonTable, "answers the query without a table of functions")
	}
	if pointer%8 != 0 || !readable(pointer, int(required)) {
		return table, refuse(ReasonTable, "its table of functions lies at %#x, where there is no memory", pointer)
	}
	size := *(*uint32)(unsafe.Pointer(*(**byte)(unsafe.Pointer(&pointer))))
	if size < required || size > maxStruct {
		return table, refuse(ReasonStructSizes, "the struct_size of its table is %d, expected %d to %d", size, required, maxStruct)
	}
	full := uint32(unsafe.Sizeof(table))
	if !readable(pointer, int(min(size, full))) {
		return table, refuse(ReasonStructSizes, "the struct_size of its table is %d, but there is no memory of that size", size)
	}
	dst := unsafe.Slice((*byte)(unsafe.Pointer(&table)), full)
	copy(dst, hostBytes(pointer, uint64(min(size, full))))
	return table, checkTable(&table)
}

// checkTable refuses a table in which a required function is NULL.
func checkTable(table *abi.BackendTable) error {
	v := reflect.ValueOf(table).Elem()
	optional := unsafe.Offsetof(table.DeviceStats)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type.Kind() == reflect.Uintptr && field.Offset < optional && v.Field(i).Uint() == 0 {
			return refuse(ReasonTable, "the required function %s of its table is NULL", snakeCase(field.Name))
		}
	}
	return nil
}

// snakeCase is a field's name as the header writes it.
func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// margin lies behind a struct that a backend fills, to show whether it wrote too much.
type margin [512]byte

// untouched is what a margin holds as long as nobody wrote into it.
var untouched = func() (m margin) {
	for i := range m {
		m[i] = 0x5A
	}
	return m
}()

func (m *margin) check(structName string) error {
	if *m != untouched {
		return refuse(ReasonStructSizes, "writes beyond the end of %s: it ignores struct_size", structName)
	}
	return nil
}

// guarded is a struct that a backend fills, with a margin behind it.
type guarded[T any] struct {
	value  T
	behind margin
}

func newGuarded[T any](v T) *guarded[T] { return &guarded[T]{v, untouched} }
