package telemetry

// Reading is a device's state at one moment. What a device does not tell is 0.
type Reading struct {
	MemoryUsedBytes    int64   `json:"memory_used_bytes"` // by all processes
	MemoryTotalBytes   int64   `json:"memory_total_bytes"`
	PowerWatts         float64 `json:"power_watts"`
	TemperatureCelsius int     `json:"temperature_celsius"`
	ClockMHz           int     `json:"clock_mhz"` // of the processors
	MemoryClockMHz     int     `json:"memory_clock_mhz"`
}
