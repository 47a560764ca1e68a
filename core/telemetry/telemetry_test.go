package telemetry

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Where there are no readings, a sentence says why.
func TestOpen(t *testing.T) {
	m, err := Open()
	if err != nil {
		require.Regexp(t, "no telemetry", err.Error())
		require.Nil(t, m)
		return
	}
	defer m.Close()
	_, err = m.Read("GPU-00000000-0000-0000-0000-000000000000")
	require.ErrorContains(t, err, "no telemetry of GPU-0")
}
