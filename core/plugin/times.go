package plugin

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"trainer/core/abi"
)

// TimesMinor is the minor of the border with which the times of a submission came.
const TimesMinor = 3

// HasTimes reports whether a device of the backend with such flags times the records of a
// submission.
func (b *Backend) HasTimes(flags uint32) bool {
	return b.minor >= TimesMinor && flags&abi.FlagTimes != 0
}

// HasTimes reports whether the device times the records of a submission.
func (d *Device) HasTimes() bool { return d.backend.HasTimes(d.info.Flags) }

// Timed is how many seconds each of so many records took that run submits, with the times it is
// given, and waits for.
func (d *Device) Timed(records int, run func(*Times) error) ([]float64, error) {
	t, err := d.newTimes(records)
	if err != nil {
		return nil, err
	}
	if err := run(t); err != nil {
		return nil, err // the records may still run, and then write their times
	}
	seconds, err := t.seconds()
	return seconds, errors.Join(err, t.close())
}

// Times takes down when the records of one submission were done, which then run one after the
// other. A backend writes to it behind Submit's return, so it is no memory of Go's.
type Times struct {
	device *Device
	memory []byte
	marks  []uint64 // one more than records, then a margin
}

// timesMargin marks lie behind those of the records; they and a mark that was not written hold
// unwritten.
const (
	timesMargin = 16
	unwritten   = 0x5A5A5A5A5A5A5A5A
)

// newTimes makes room for the times of so many records.
func (d *Device) newTimes(records int) (*Times, error) {
	n := records + 1 + timesMargin
	memory, err := syscall.Mmap(-1, 0, 8*n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("memory for the times of %d records: %w", records, err)
	}
	t := &Times{d, memory, unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), n)}
	for i := range t.marks {
		t.marks[i] = unwritten
	}
	return t, nil
}

// close gives the memory back.
func (t *Times) close() error {
	memory := t.memory
	t.memory, t.marks = nil, nil
	return syscall.Munmap(memory)
}

// address is where the backend writes; 0 for nil.
func (t *Times) address() uintptr {
	if t == nil {
		return 0
	}
	return uintptr(unsafe.Pointer(&t.memory[0]))
}

// seconds is how long each record took, once a signal of the submission was reached.
func (t *Times) seconds() ([]float64, error) {
	n := len(t.marks) - timesMargin
	for i, mark := range t.marks {
		switch {
		case i >= n && mark != unwritten:
			return nil, t.device.backend.lied(callSubmit, "writes beyond the end of the times of %d records", n-1)
		case i < n && mark == unwritten:
			return nil, t.device.backend.lied(callSubmit, "left out time %d of those of %d records", i, n-1)
		case i > 0 && i < n && mark < t.marks[i-1]:
			return nil, t.device.backend.lied(callSubmit, "has times that go back from %d to %d ns at record %d", t.marks[i-1], mark, i-1)
		}
	}
	seconds := make([]float64, n-1)
	for i := range seconds {
		seconds[i] = float64(t.marks[i+1]-t.marks[i]) / 1e9
	}
	return seconds, nil
}
