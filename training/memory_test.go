package training

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/training/data"
)

// demoModel is larger than the tiny ones, so that its memory is not all staging.
const demoModel = "../cmd/trainer/demo/model"

// largeTrial is a trial whose activations weigh.
func largeTrial(method string) trial {
	tr := newTrial(method)
	tr.model, tr.rows = demoModel, madeUpRows(16, 320)
	tr.eval, tr.generate, tr.Batch, tr.Grain = tr.rows[:8], 40, 8, 16
	return tr
}

// The plan made before anything is allocated is what the backend counts at its peak,
// through training, evaluation and generation.
func TestPlannedMemoryIsWhatTheBackendCounts(t *testing.T) {
	for _, method := range []string{"lora", "qlora", "full", "bnb_dora", "bnb_llama_pro"} {
		arenas := map[int64]bool{}
		for _, policy := range []string{"none", "selective", "block:2", "block", "lean"} {
			t.Run(method+" "+policy, func(t *testing.T) {
				tr := largeTrial(method)
				tr.Recompute = policy
				e, err := tr.plan(t)
				require.NoError(t, err)
				planned := e.Session.Memory().Total()
				arenas[e.Session.Memory().Arena] = true
				require.NoError(t, e.Allocate())
				out, err := e.Train(context.Background(), tr.loop(), &seen{})
				require.NoError(t, err)
				_, err = e.Generate(context.Background(), Text{IDs: tr.rows[0].IDs, MaxNew: 10})
				require.NoError(t, err)
				_, peak, err := e.Session.Stats()
				require.NoError(t, err)
				t.Logf("planned %d, peak %d", planned, peak)
				require.InEpsilon(t, peak, planned, 0.03)
				require.Equal(t, planned, out.MemoryPlannedBytes, "what the run reports is what was planned")
			})
		}
		require.Greater(t, len(arenas), 2, "policies keep more or less")
	}
}

// With auto, as much is recomputed as the limit demands, and the backend, which has no
// more, is enough; below what every policy needs, planning says so.
func TestAutoRecomputeKeepsToTheLimit(t *testing.T) {
	tr := largeTrial("lora")
	need := func(policy string) int64 {
		tr.Recompute = policy
		e, err := tr.plan(t)
		require.NoError(t, err)
		return e.Session.Memory().Total()
	}
	most, least := need("none"), need("block")
	require.Greater(t, most, least)
	tr.Recompute = "auto"
	chosen := map[string]bool{}
	for _, limit := range []int64{most, most - 1, (most + least) / 2, least} {
		tr.MemoryLimit, tr.options.MemoryLimit = limit, uint64(limit)
		e, losses := tr.run(t)
		require.Len(t, losses, 2)
		_, peak, err := e.Session.Stats()
		require.NoError(t, err)
		require.LessOrEqual(t, peak, limit)
		chosen[e.RecomputeName()] = true
	}
	require.Contains(t, chosen, "none")
	require.Greater(t, len(chosen), 2, "%v", chosen)
	tr.MemoryLimit = least - 1
	_, err := tr.plan(t)
	require.ErrorContains(t, err, "memory plan: found ")
	require.ErrorContains(t, err, "lower --batch_size or --context_length, or raise --memory_limit")
	require.Equal(t, int(fault.Memory), fault.ExitCode(err))
}

// Rows of many lengths make many programs; what the backend keeps of them gives way.
func TestManyLengthsKeepToTheLimit(t *testing.T) {
	tr := newTrial("qlora")
	tr.Grain, tr.Batch, tr.Recompute, tr.eval = 1, 1, "auto", madeUpRows(12, 320)
	e, err := tr.plan(t)
	require.NoError(t, err)
	m := e.Session.Memory()
	require.Greater(t, m.Plans, int64(0))
	limit := m.Total() - m.Plans/2
	tr.MemoryLimit, tr.options.MemoryLimit = limit, uint64(limit)
	e, losses := tr.run(t)
	require.Len(t, losses, 12)
	require.Equal(t, "none", e.RecomputeName())
	require.LessOrEqual(t, e.Session.Memory().Total(), limit)
}

// Whatever the number of labelled rows, no program needs more than was planned.
func TestEveryBucketOfLabelsWasPlanned(t *testing.T) {
	for _, method := range []string{"full", "qlora"} {
		tr := newTrial(method)
		tr.rows = tr.rows[:4]
		tr.Grain = 64 // 256 positions: sixteen buckets
		e := tr.start(t)
		for labels := 1; labels <= len(tr.rows[0].IDs)-1; labels += 2 {
			batch := e.Collate(sameLabels(tr.rows[:4], labels), 0)
			_, err := e.Step([]data.Batch{batch}, tr.lr, labels)
			require.NoError(t, err)
		}
		_, peak, err := e.Session.Stats()
		require.NoError(t, err)
		require.LessOrEqual(t, float64(peak), 1.03*float64(e.Session.Memory().Total()))
	}
}
