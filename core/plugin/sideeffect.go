package plugin

import (
	"math"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processState is what a backend must leave alone: how signals are handled and which this
// thread blocks, the working directory, the mask of new files, limits, descriptors, locale and
// environment as C sees them, and floating-point arithmetic of this thread.
type processState struct {
	signals     [65]disposition
	blocked     [128]byte
	folder      string
	umask       int
	limits      map[string]syscall.Rlimit
	descriptors map[int]descriptor
	locale      string
	environment map[string]string
	float       [4]uint32
}

// descriptor is what an open descriptor leads to.
type descriptor struct {
	device, inode uint64
	kind          uint32
}

// disposition is how a signal is handled: of a struct sigaction the handler, the signals
// blocked meanwhile, and the flags.
type disposition [20]byte

// dispositionOf reads a struct sigaction. On Linux the flags stand behind a mask of which
// the C library leaves all but the first word undefined; macOS has everything in front.
func dispositionOf(raw *[256]byte) (d disposition) {
	copy(d[:16], raw[:16])
	if runtime.GOOS == "linux" {
		copy(d[16:], raw[136:140])
	}
	return d
}

// observe reads the state. Only a trial may call it: for a moment it changes the umask.
func observe() processState {
	var s processState
	s.folder, _ = os.Getwd()
	s.umask = syscall.Umask(0)
	syscall.Umask(s.umask)
	s.limits, s.descriptors, s.float = limits(), descriptors(), floatState()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.locale, s.environment = cLocale(), cEnvironment()
	buf := new([256]byte)
	var pin runtime.Pinner
	pin.Pin(buf)
	defer pin.Unpin()
	at := uintptr(unsafe.Pointer(buf))
	callC("pthread_sigmask", 0, 0, at)
	copy(s.blocked[:], buf[:])
	for i := 1; i < len(s.signals); i++ {
		clear(buf[:])
		callC("sigaction", uintptr(i), 0, at)
		s.signals[i] = dispositionOf(buf)
	}
	return s
}

// compare refuses a library after which something is different. when names the act.
func (s processState) compare(when string) error {
	now := observe()
	for i := range now.signals {
		if now.signals[i] != s.signals[i] {
			return refuse(ReasonSideEffects, "%s changed how the program handles %s", when, signalWord(i))
		}
	}
	if now.blocked != s.blocked {
		return refuse(ReasonSideEffects, "%s changed which signals are blocked", when)
	}
	if now.folder != s.folder {
		return refuse(ReasonSideEffects, "%s changed the working directory to %s", when, now.folder)
	}
	if now.umask != s.umask {
		return refuse(ReasonSideEffects, "%s changed the umask from %03o to %03o", when, s.umask, now.umask)
	}
	for name, limit := range s.limits {
		if now.limits[name] != limit {
			return refuse(ReasonSideEffects, "%s changed the limit of %s from %d to %d", when, name, limit.Cur, now.limits[name].Cur)
		}
	}
	for number, before := range s.descriptors {
		if now, open := now.descriptors[number]; !open || now != before {
			return refuse(ReasonSideEffects, "%s closed or replaced descriptor %d", when, number)
		}
	}
	if now.locale != s.locale {
		return refuse(ReasonSideEffects, "%s changed the locale from %s to %s", when, s.locale, now.locale)
	}
	if name := differing(s.environment, now.environment); name != "" {
		return refuse(ReasonSideEffects, "%s changed the environment variable %s", when, name)
	}
	if now.float != s.float {
		return refuse(ReasonSideEffects, "%s changed floating-point arithmetic (denormals or rounding); link it without -ffast-math", when)
	}
	return nil
}

// localeAll is LC_ALL of the C library.
var localeAll = map[string]uintptr{"linux": 6}[runtime.GOOS]

func signalWord(i int) string {
	if name := unix.SignalName(syscall.Signal(i)); name != "" {
		return name
	}
	return "a real-time signal"
}

// Operands of floatState, variables so that the processor computes and not the compiler.
var (
	denormal  = math.Float32frombits(1 << 10)
	minNormal = math.Float32frombits(1 << 23)
	half      = float32(0.5)
	one       = float32(1)
	three     = float32(3)
)

// floatState shows how this thread computes: denormal operands, denormal results, and
// rounding of either sign.
func floatState() [4]uint32 {
	return [4]uint32{math.Float32bits(denormal * one), math.Float32bits(minNormal * half), math.Float32bits(one / three), math.Float32bits(-one / three)}
}
