package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// Every node is timed once, in order, on the inputs given, within its list and alone, and the
// session goes on working.
func TestProfile(t *testing.T) {
	s := openSession(t)
	require.True(t, s.device.HasTimes())
	const n = 1 << 12
	work := newScaled(n, nil)
	p := compile(t, s, work.graph)
	require.NoError(t, s.Allocate())
	run := work.run(3, 2, p)
	run.Parts = append(run.Parts, run.Parts[0])
	for i := range 2 * (ring + 1) {
		profile := s.Profile
		if i%2 == 1 {
			profile = s.profileAlone // on the inputs of the other
		}
		began := time.Now()
		timings, err := profile(run)
		took := time.Since(began).Seconds()
		require.NoError(t, err)
		require.Len(t, timings, 2)
		for _, part := range timings {
			require.Len(t, part, 2)
			require.Equal(t, []abi.Op{abi.OpCopy, abi.OpBinary}, []abi.Op{part[0].Node.Op, part[1].Node.Op})
			for _, timing := range part {
				require.Positive(t, timing.Seconds)
				require.Less(t, timing.Seconds, took)
			}
		}
		work.requireRun(t, s, p, 3, 2, 6)
	}
}

// A node that needs more workspace alone than its list did gets it.
func TestProfileHasRoomForWorkspaces(t *testing.T) {
	s := openSession(t)
	require.NoError(t, s.Allocate())
	p := profiler{session: s}
	before, _, err := s.Stats()
	require.NoError(t, err)
	for _, bytes := range []uint64{0, 1 << 10, 1 << 9, 1 << 20} {
		b, err := p.reserve(bytes)
		require.NoError(t, err)
		require.GreaterOrEqual(t, b.Bytes, bytes)
	}
	p.close()
	after, _, err := s.Stats()
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestMeasure(t *testing.T) {
	for _, p := range []Probe{{Compute: abi.F32, Room: 8 << 20}, {Compute: abi.BF16, Brief: true, Patience: time.Millisecond}} {
		rates, err := Measure(openDevice(t), p)
		require.NoError(t, err)
		require.Greater(t, rates.GEMM, 1e8)
		require.Equal(t, p.Brief, rates.Copy == 0)
	}
}

// The probe's product has the FLOPs of its matrices.
func TestProbeGraph(t *testing.T) {
	g := newProbeGraph(abi.BF16, 64, 1000)
	require.Equal(t, 2*64*64*64.0, op.FLOPs(g.product))
	require.Equal(t, 2000.0, op.Bytes(g.copy))
}
