package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// A benchmark names what bounds each op, what submitting takes, and whether ops are composed.
func TestBenchOfABackend(t *testing.T) {
	t.Parallel()
	r := trainer(t, "backend", "bench", realBackend(t), "--op", "copy,rope", "--models", "tiny", "--json")
	require.Equal(t, 0, r.code, r.err)
	var b BackendBench
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	require.Equal(t, "foo", b.Backend)
	require.Positive(t, b.GEMM)
	require.Positive(t, b.Copy)
	require.Positive(t, b.Cost.One)
	require.Positive(t, b.Cost.List)
	require.Positive(t, b.Cost.Plan)
	require.GreaterOrEqual(t, len(b.Ops), 3)
	for _, o := range b.Ops {
		require.True(t, o.Native)
		require.Positive(t, o.BoundShare)
		require.Len(t, o.Records, 1)
		require.Positive(t, o.Records[0])
	}
	require.Len(t, b.Models, 1)
	require.Positive(t, float64(b.Models[0].TokensPerSecond))

	example := filepath.Join(exampleBackend(t), "trainer-backend-example.so")
	r = trainer(t, "backend", "bench", example, "--op", "swiglu", "--models", "none", "--json")
	require.Equal(t, 0, r.code, r.err)
	b = BackendBench{}
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	require.False(t, b.Ops[0].Native)
	require.Greater(t, len(b.Ops[0].Records), 1, "those of its composition")
	require.Zero(t, b.Cost.Plan)
}

func TestBenchOfABackendRefuses(t *testing.T) {
	lib := realBackend(t)
	refused(t, fault.Usage, `--op: found "fly", expected an op, as matmul`, "backend", "bench", lib, "--op", "fly")
	refused(t, fault.Usage, `--models: found "huge", expected tiny, small or none`, "backend", "bench", lib, "--models", "huge")
	refused(t, fault.Usage, `--device_index: found 7, expected 0 to 0`, "backend", "bench", lib, "--device_index", "7")
	refused(t, fault.Usage, "FILE is missing: the library of a backend", "backend", "bench")
}
