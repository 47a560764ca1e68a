package main

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/plugin"
	"trainer/core/telemetry"
	"trainer/training/metrics"
)

// telemetryReport is what the devices found measure of themselves, by UUID.
type telemetryReport struct {
	None    string                       `json:"none,omitempty"` // why there is nothing
	Devices map[string]telemetry.Reading `json:"devices"`
}

// readTelemetry asks for every device that is no processor.
func readTelemetry(all []plugin.Candidate) telemetryReport {
	t := telemetryReport{Devices: map[string]telemetry.Reading{}}
	monitor, err := telemetry.Open()
	if err != nil {
		t.None = err.Error()
		return t
	}
	defer monitor.Close()
	for _, c := range all {
		for _, d := range c.Devices {
			if d.Class == abi.DeviceCPU || d.UUID == "" {
				continue
			}
			if r, err := monitor.Read(d.UUID); err == nil {
				t.Devices[d.UUID] = r
			} else {
				t.None = err.Error()
			}
		}
	}
	return t
}

// readingLine writes a reading for people.
func readingLine(r telemetry.Reading) string {
	return fmt.Sprintf("%s of %s in use, %.0f W, %d °C, %d MHz, memory %d MHz", gib(r.MemoryUsedBytes), gib(r.MemoryTotalBytes), r.PowerWatts, r.TemperatureCelsius, r.ClockMHz, r.MemoryClockMHz)
}

// watched are events whose steps carry what the device measures of itself.
type watched struct {
	Events
	monitor *telemetry.Monitor
	uuid    string
}

// watch adds telemetry to the steps of a job that asks for it. Where there is none, one line
// says why and the run goes on without. Call done behind the last step.
func watch(events Events, job Job) (out Events, done func(), err error) {
	done = func() {}
	if !job.Config.LogTelemetry {
		return events, done, nil
	}
	monitor, err := telemetry.Open()
	if err != nil {
		return events, done, events.Log("metrics without telemetry: %v", err)
	}
	w := watched{events, monitor, job.Device.Info().UUID}
	if _, err := monitor.Read(w.uuid); err != nil {
		monitor.Close()
		return events, done, events.Log("metrics without telemetry: %v", err)
	}
	return w, monitor.Close, nil
}

// Step implements Events.
func (w watched) Step(s metrics.Step) error {
	if r, err := w.monitor.Read(w.uuid); err == nil { // a reading that fails once is left out
		s.Telemetry = &r
	}
	return w.Events.Step(s)
}
