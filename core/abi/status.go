package abi

import "fmt"

// Status is what every call of the border returns.
type Status int32

// The statuses of the header.
const (
	StatusOK          Status = 0
	StatusUnsupported Status = 1 // a valid request this backend cannot serve
	StatusUnavailable Status = 2 // driver or device absent; text says what to install
	StatusInvalid     Status = 3 // the caller's mistake
	StatusOOM         Status = 4 // out of memory; nothing changed
	StatusTimeout     Status = 5 // a bounded wait ended; nothing changed
	StatusDeviceLost  Status = 6 // final for this device
	StatusInternal    Status = 7 // a bug in the backend
	StatusBusy        Status = 8 // queue full; try again
	StatusStale       Status = 9 // a handle that is not alive
)

var statusNames = [...]string{"ok", "unsupported", "unavailable", "invalid", "out of memory", "timeout", "device lost", "internal", "busy", "stale handle"}

// String names the status in words.
func (s Status) String() string {
	if s >= 0 && int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", int32(s))
}

// The version of the border.
const (
	ABIMajor = 0
	ABIMinor = 3
)
