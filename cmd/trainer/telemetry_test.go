package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/telemetry"
)

// A run that asks for telemetry where there is none says so and goes on; its lines are as ever.
func TestTelemetryIsNoConditionOfARun(t *testing.T) {
	r := newRealRun(t, "lora", "--log_telemetry", "--backend", "foo")
	result := trainer(t, r.args...)
	require.Equal(t, 0, result.code, result.err)
	assert.Contains(t, result.err, "metrics without telemetry: ")
	checkMetrics(t, metricsOf(t, r.out))
}

func TestDevicesTellOfTelemetry(t *testing.T) {
	r := trainer(t, "devices", "--json", "--backend_path", filepath.Dir(realBackend(t)))
	var listed struct{ Telemetry *telemetryReport }
	require.NoError(t, json.Unmarshal([]byte(r.out), &listed), r.err)
	require.NotNil(t, listed.Telemetry)
	_, err := telemetry.Open()
	if err != nil {
		assert.Equal(t, err.Error(), listed.Telemetry.None)
	}
	assert.Equal(t, "2.00 GiB of 80.00 GiB in use, 351 W, 60 °C, 1980 MHz, memory 2619 MHz",
		readingLine(telemetry.Reading{MemoryUsedBytes: 2 << 30, MemoryTotalBytes: 80 << 30, PowerWatts: 350.6, TemperatureCelsius: 60, ClockMHz: 1980, MemoryClockMHz: 2619}))
}
