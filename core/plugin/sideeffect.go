package plugin

import (
	"math"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// processState is what a backend must leave alone: how signals are handled, the working
// directory, the mask of new files, and floating-point arithmetic of this thread.
type processState struct {
	signals [65]disposition
	folder  string
	umask   int
	float   [4]uint32
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
	s.float = floatState()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sigaction, err := purego.Dlsym(purego.RTLD_DEFAULT, "sigaction")
	if err != nil {
		return s
	}
	for i := 1; i < len(s.signals); i++ {
		buf := new([256]byte)
		var pin runtime.Pinner
		pin.Pin(buf)
		purego.SyscallN(sigaction, uintptr(i), 0, uintptr(unsafe.Pointer(buf)))
		pin.Unpin()
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
	if now.folder != s.folder {
		return refuse(ReasonSideEffects, "%s changed the working directory to %s", when, now.folder)
	}
	if now.umask != s.umask {
		return refuse(ReasonSideEffects, "%s changed the umask from %03o to %03o", when, s.umask, now.umask)
	}
	if now.float != s.float {
		return refuse(ReasonSideEffects, "%s changed floating-point arithmetic (denormals or rounding); link it without -ffast-math", when)
	}
	return nil
}

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
