package plugin

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// callC calls a function of the C library; 0 where there is none.
func callC(name string, args ...uintptr) uintptr {
	fn, err := purego.Dlsym(purego.RTLD_DEFAULT, name)
	if err != nil {
		return 0
	}
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}

// cString is the text at an address, of at most 64 KiB.
func cString(pointer uintptr) string {
	if pointer == 0 {
		return ""
	}
	p := *(**byte)(unsafe.Pointer(&pointer))
	for n := range 64 << 10 {
		if *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) == 0 {
			return string(unsafe.Slice(p, n))
		}
	}
	return ""
}

// cLocale is the locale of the C library; LC_ALL is 6 on Linux and 0 on macOS.
func cLocale() string { return cString(callC("setlocale", localeAll, 0)) }

// cEnvironment is the environment as C sees it, of which Go has a copy of its own.
func cEnvironment() map[string]string {
	variables := map[string]string{}
	at, err := purego.Dlsym(purego.RTLD_DEFAULT, "environ")
	if err != nil {
		return variables
	}
	list := **(**uintptr)(unsafe.Pointer(&at))
	for ; list != 0; list += unsafe.Sizeof(list) {
		entry := **(**uintptr)(unsafe.Pointer(&list))
		if entry == 0 {
			break
		}
		name, value, _ := strings.Cut(cString(entry), "=")
		variables[name] = value
	}
	return variables
}

// differing is the first variable that stands in one map alone or with two values; empty
// where there is none.
func differing(a, b map[string]string) string {
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, had := a[name]
		if now, has := b[name]; has != had || now != before {
			return name
		}
	}
	return ""
}

// limits are the soft and hard limits that matter to a program.
func limits() map[string]syscall.Rlimit {
	out := map[string]syscall.Rlimit{}
	for name, which := range map[string]int{"open files": unix.RLIMIT_NOFILE, "address space": unix.RLIMIT_AS, "core files": unix.RLIMIT_CORE,
		"processor time": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "file size": unix.RLIMIT_FSIZE, "stacks": unix.RLIMIT_STACK} {
		var l syscall.Rlimit
		if syscall.Getrlimit(which, &l) == nil {
			out[name] = l
		}
	}
	return out
}

// highestDescriptor is how far descriptors are looked at.
const highestDescriptor = 255

// descriptors are those that are open.
func descriptors() map[int]descriptor {
	open := map[int]descriptor{}
	for number := range highestDescriptor + 1 {
		var s syscall.Stat_t
		if syscall.Fstat(number, &s) == nil {
			open[number] = descriptor{uint64(s.Dev), uint64(s.Ino), uint32(s.Mode)}
		}
	}
	return open
}
