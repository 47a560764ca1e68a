package plugin

import (
	"bytes"
	"errors"
	"fmt"

	"trainer/core/abi"
	"trainer/fault"
)

// Error is a failed call into a backend.
type Error struct {
	Backend string
	Call    string
	Status  abi.Status
	List    uint64 // serial of the list concerned; 0 = none
	Record  int    // index of the record concerned; -1 = none
	Text    string // the backend's sentence
	lie     bool   // the answer broke the border's rules; Text is ours
}

// Error names backend, call, list and record.
func (e *Error) Error() string {
	s := fmt.Sprintf("backend %s: %s: %s", e.Backend, e.Call, e.Status)
	if e.List != 0 {
		s += fmt.Sprintf(", list %d", e.List)
	}
	if e.Record >= 0 {
		s += fmt.Sprintf(", record %d", e.Record)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// answer is the error without the backend's name, which the reader knows.
func (e *Error) answer() string {
	if e.Text != "" {
		return fmt.Sprintf("%s answers %s: %s", e.Call, e.Status, e.Text)
	}
	return fmt.Sprintf("%s answers %s without a reason", e.Call, e.Status)
}

// As lets a failed call be read as the fault it is for the person who runs trainer.
func (e *Error) As(target any) bool {
	f, ok := target.(**fault.Error)
	if ok {
		kind := fault.Device
		if e.Status == abi.StatusOOM {
			kind = fault.Memory
		}
		*f = &fault.Error{Kind: kind, Err: errors.New(e.Error())}
	}
	return ok
}

// IsTimeout reports whether a bounded wait ended before its value was reached.
func IsTimeout(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == abi.StatusTimeout
}

// newError reads a filled error struct.
func newError(backend, call string, status abi.Status, e *abi.Error) *Error {
	out := &Error{Backend: backend, Call: call, Status: status, List: e.ListSerial, Record: -1, Text: text(e.Text[:])}
	if bytes.IndexByte(e.Text[:], 0) < 0 {
		out.Text = "its text does not end"
	}
	if e.RecordIndex != noRecord && e.ListSerial != 0 {
		out.Record = int(e.RecordIndex)
	}
	return out
}

const noRecord = 0xFFFFFFFF

// text is the string in a fixed field, whether it is terminated or not.
func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(bytes.ToValidUTF8(field, []byte("\uFFFD")))
}
