//go:build !(telemetry && cgo && linux)

package telemetry

import "errors"

// Monitor reads devices. It is for one goroutine.
type Monitor struct{}

// Open says that this build has no telemetry.
func Open() (*Monitor, error) {
	return nil, errors.New("this build has no telemetry; `make telemetry` makes one that has")
}

// Read is the state of the device of a UUID.
func (m *Monitor) Read(string) (Reading, error) { return Reading{}, errors.New("no telemetry") }

// Close ends the readings.
func (m *Monitor) Close() {}
