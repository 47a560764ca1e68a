//go:build telemetry && cgo && linux

package telemetry

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Monitor reads devices. It is for one goroutine.
type Monitor struct {
	devices map[string]nvml.Device // by UUID, those asked for
}

// Open loads the vendor's library. The error says why there are no readings on this machine.
func Open() (*Monitor, error) {
	if ret := nvml.Init(); ret != nvml.SUCCESS {
		return nil, fmt.Errorf("no telemetry: %s", message(ret))
	}
	return &Monitor{map[string]nvml.Device{}}, nil
}

// message is what a code means. Without the library not even that can be asked.
func message(ret nvml.Return) string {
	if ret == nvml.ERROR_LIBRARY_NOT_FOUND {
		return "libnvidia-ml.so.1 is not found; it comes with the NVIDIA driver"
	}
	return nvml.ErrorString(ret)
}

// Read is the state of the device of a UUID.
func (m *Monitor) Read(uuid string) (r Reading, err error) {
	d, known := m.devices[uuid]
	if !known {
		var ret nvml.Return
		if d, ret = nvml.DeviceGetHandleByUUID(uuid); ret != nvml.SUCCESS {
			return r, fmt.Errorf("no telemetry of %s: %s", uuid, message(ret))
		}
		m.devices[uuid] = d
	}
	memory, ret := d.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return r, fmt.Errorf("no telemetry of %s: %s", uuid, message(ret))
	}
	r.MemoryUsedBytes, r.MemoryTotalBytes = int64(memory.Used), int64(memory.Total)
	if milliwatts, ret := d.GetPowerUsage(); ret == nvml.SUCCESS {
		r.PowerWatts = float64(milliwatts) / 1000
	}
	if celsius, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ret == nvml.SUCCESS {
		r.TemperatureCelsius = int(celsius)
	}
	if mhz, ret := d.GetClockInfo(nvml.CLOCK_SM); ret == nvml.SUCCESS {
		r.ClockMHz = int(mhz)
	}
	if mhz, ret := d.GetClockInfo(nvml.CLOCK_MEM); ret == nvml.SUCCESS {
		r.MemoryClockMHz = int(mhz)
	}
	return r, nil
}

// Close ends the readings.
func (m *Monitor) Close() { _ = nvml.Shutdown() } // nothing is left to be done about it
