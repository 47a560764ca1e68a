package training

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
	"trainer/fault"
	"trainer/training/data"
	"trainer/training/metrics"
)

// Dropout's random numbers belong to records and positions: neither what is recomputed
// nor how a batch is cut changes a loss.
func TestRecomputeAndBatchSplitDoNotChangeLosses(t *testing.T) {
	for _, method := range []string{"lora", "qlora", "bnb_dora"} {
		var want []float64
		for _, policy := range []string{"none", "selective", "block", "block:1", "lean"} {
			for _, split := range []struct{ batch, accumulation int }{{4, 1}, {2, 2}, {1, 4}} {
				tr := newTrial(method)
				tr.Recompute, tr.Batch, tr.Accumulation = policy, int64(split.batch), split.accumulation
				_, got := tr.run(t)
				if want == nil {
					want = got
				}
				requireSameLosses(t, want, got, fmt.Sprint(method, policy, split))
			}
		}
		tr := newTrial(method)
		tr.dropout = 0
		_, without := tr.run(t)
		require.NotEqual(t, want, without, "dropout does something")
	}
}

// Without adapters there is no dropout; the splits of a batch remain, in both ways to
// normalise.
func TestBatchSplitDoesNotChangeFullTraining(t *testing.T) {
	for _, perToken := range []bool{true, false} {
		tr := newTrial("full")
		tr.PerToken, tr.lr = perToken, 1e-3
		if !perToken {
			tr.rows = sameLabels(tr.rows, 5)
		}
		_, want := tr.run(t)
		tr.Batch, tr.Accumulation = 1, 4
		_, got := tr.run(t)
		requireSameLosses(t, want, got, fmt.Sprintf("normalised by token: %v", perToken))
	}
}

// Normalised by micro-batch, rows with few labels weigh as much as others: unequal rows
// give another loss, and that of the formula.
func TestMicroBatchNormalisationWeighsMicroBatchesAlike(t *testing.T) {
	tr := newTrial("full")
	tr.rows, tr.Batch, tr.Accumulation = tr.rows[:4], 1, 4
	e := tr.start(t)
	var micro []data.Batch
	mean := 0.0
	for _, row := range tr.rows {
		b := e.Collate([]data.Example{row}, 0)
		loss, _, err := e.Evaluate(context.Background(), []data.Batch{b})
		require.NoError(t, err)
		micro, mean = append(micro, b), mean+loss/4
	}
	byToken, err := e.Step(micro, 0, 0)
	require.NoError(t, err)
	e.Settings.PerToken = false
	byMicroBatch, err := e.Step(micro, 0, 1)
	require.NoError(t, err)
	require.InEpsilon(t, mean, byMicroBatch.Loss, 1e-6)
	require.Greater(t, math.Abs(byToken.Loss-byMicroBatch.Loss), 1e-4)
}

func TestRunsRepeatByteForByte(t *testing.T) {
	for _, c := range []struct{ method, precision string }{{"lora", "fp32"}, {"qlora", "fp32"}, {"lora", "bf16"}, {"qlora", "bf16_autocast"}, {"dora", "bf16"}} {
		tr := newTrial(c.method)
		tr.Precision = precision(t, c.precision)
		run := func(seed uint64, threads uint32) (map[string]string, []float64) {
			tr.Seed, tr.options.Threads = seed, threads
			e, losses := tr.run(t)
			return e.adapterBytes(t), losses
		}
		adapter, losses := run(42, 1)
		for _, threads := range []uint32{1, 2} {
			again, sameLosses := run(42, threads)
			require.Equal(t, losses, sameLosses)
			require.True(t, maps.Equal(adapter, again), "%v, %d threads", c, threads)
		}
		other, _ := run(43, 2)
		require.False(t, maps.Equal(adapter, other), "another seed is another run")
	}
}

// A gradient that is not finite changes nothing, and the next good one trains on.
func TestBrokenGradientIsSkipped(t *testing.T) {
	tr := newTrial("lora")
	e := tr.start(t)
	batch := []data.Batch{e.Collate(tr.rows[:4], 0)}
	step := func(n int) StepResult {
		r, err := e.Step(batch, tr.lr, n)
		require.NoError(t, err)
		return r
	}
	require.False(t, step(0).Skipped)
	b := e.Net.Trained[1].Value
	good, err := e.Session.Read(b)
	require.NoError(t, err)
	bad := make([]byte, 4)
	binary.LittleEndian.PutUint32(bad, math.Float32bits(float32(math.NaN())))
	require.NoError(t, e.Session.Write(nil, b, 0, bad))
	before := e.states(t)
	for i := range 2 {
		r := step(1 + i)
		require.True(t, r.Skipped)
		require.True(t, math.IsNaN(r.GradNorm) || math.IsInf(r.GradNorm, 0))
		require.Equal(t, before, e.states(t))
	}
	require.NoError(t, e.Session.Write(nil, b, 0, good))
	before = e.states(t)
	r := step(3)
	require.False(t, r.Skipped)
	require.False(t, math.IsNaN(r.Loss))
	require.NotEqual(t, before, e.states(t))
	taken, err := e.Session.Read(e.guarded.Steps)
	require.NoError(t, err)
	require.Equal(t, uint32(2), binary.LittleEndian.Uint32(taken), "steps that were skipped do not count")
}

// Three broken gradients in a row end the run, with the weights of the last good step.
func TestRunThatStaysBrokenEnds(t *testing.T) {
	tr := newTrial("full")
	tr.lr, tr.rows = 1e30, madeUpRows(40, 320)
	e := tr.start(t)
	var seen seen
	_, err := e.Train(context.Background(), tr.loop(), &seen)
	require.ErrorContains(t, err, "for 3 steps in a row, expected a finite one; lower --lr")
	require.Equal(t, int(fault.Usage), fault.ExitCode(err))
	require.Len(t, seen.steps, 4, "one that trained, three that did not")
	for name, values := range trainedValues(t, e) {
		require.NoError(t, checkFinite("", name, values, 0))
	}
}

// An interrupted run finishes its step, evaluates no more, and says so.
func TestInterruptedRun(t *testing.T) {
	tr := newTrial("lora")
	tr.eval = tr.rows
	for after := range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events := &interrupter{after: after, cancel: cancel}
		if after == 0 {
			cancel()
		}
		out, err := tr.start(t).Train(ctx, tr.loop(), events)
		require.NoError(t, err)
		require.True(t, out.Interrupted)
		require.Equal(t, after, out.Steps)
		require.Len(t, events.steps, after)
		require.Len(t, events.evals, min(after, 1))
	}
}

// interrupter cancels a run after so many steps.
type interrupter struct {
	seen
	after  int
	cancel func()
}

func (i *interrupter) Step(m metrics.Step) error {
	if m.Step == i.after {
		i.cancel()
	}
	return i.seen.Step(m)
}

func precision(t *testing.T, name string) program.Precision {
	t.Helper()
	p, err := program.PrecisionByName(name)
	require.NoError(t, err)
	return p
}

// What is computed again is computed to the same bits, in every precision.
func TestRecomputeChangesNoBit(t *testing.T) {
	for _, mode := range program.PrecisionNames() {
		var want map[string][]byte
		for _, policy := range []string{"none", "selective", "block"} {
			tr := newTrial("lora")
			tr.Recompute, tr.Precision = policy, precision(t, mode)
			e, _ := tr.run(t)
			if want == nil {
				want = e.states(t)
			}
			require.True(t, maps.EqualFunc(want, e.states(t), bytes.Equal), "%s in %s", policy, mode)
		}
	}
}

// What waits on the host comes back as it was, with every policy of recompute.
func TestOffloadChangesNoBit(t *testing.T) {
	for _, method := range []string{"lora", "full"} {
		tr := newTrial(method)
		base, _ := tr.run(t)
		want := base.states(t)
		for _, policy := range []string{"none", "selective", "block:1"} {
			tr.Recompute, tr.Offload = policy, "true"
			e, _ := tr.run(t)
			require.True(t, maps.EqualFunc(want, e.states(t), bytes.Equal), "%s in %s", method, policy)
			require.Positive(t, e.Session.Memory().Host)
		}
	}
}

// With lean only checkpoints are left to wait, and the arena shrinks by them.
func TestCheckpointsWaitOnTheHost(t *testing.T) {
	tr := largeTrial("lora")
	tr.Recompute = lean
	here, _ := tr.run(t)
	want, arena := here.states(t), here.Session.Memory().Arena
	tr.Offload = "true"
	e, _ := tr.run(t)
	require.True(t, maps.EqualFunc(want, e.states(t), bytes.Equal))
	m := e.Session.Memory()
	require.Positive(t, m.Host)
	require.Less(t, m.Arena, arena)
	for _, n := range e.bodies[shape{tr.Batch, longest(e.uses.Train)[0], true}].Graph.Nodes {
		if n.Lane == program.CopyLane && n.Phase == op.Forward {
			require.True(t, n.In[0].Root.Keep, "%s waits", n.In[0].Root.Name)
		}
	}
}

// Each precision keeps what it promises to keep, in its own type.
func TestPrecisionsDecideTypes(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		accumulation                          int
		frozen, trained, gradient, moment, in abi.DType
	}{
		{"fp32", 1, abi.F32, abi.F32, abi.F32, abi.F32, abi.F32},
		{"bf16", 1, abi.BF16, abi.BF16, abi.BF16, abi.BF16, abi.BF16},
		{"bf16", 4, abi.BF16, abi.BF16, abi.F32, abi.BF16, abi.BF16},
		{"bf16_autocast", 1, abi.BF16, abi.F32, abi.F32, abi.F32, abi.BF16},
		{"fp16_autocast", 1, abi.F16, abi.F32, abi.F32, abi.F32, abi.F16},
		{"fp16_autocast", 4, abi.F16, abi.F32, abi.F32, abi.F32, abi.F16},
		{"bf16_buffers_autocast", 1, abi.BF16, abi.F32, abi.F32, abi.F32, abi.BF16},
	} {
		tr := newTrial("lora")
		tr.Precision, tr.Accumulation, tr.Batch = precision(t, c.name), c.accumulation, int64(4/c.accumulation)
		e, err := tr.plan(t)
		require.NoError(t, err)
		for _, p := range e.Net.Trained {
			require.Equal(t, []abi.DType{c.trained, c.gradient, c.moment, c.moment},
				[]abi.DType{p.Value.DType, p.Grad.DType, p.Moments[0].DType, p.Moments[1].DType}, c.name)
		}
		products := 0
		for _, body := range e.bodies {
			for _, n := range body.Graph.Nodes {
				if n.Op != abi.OpLinear {
					continue
				}
				products++
				require.Equal(t, c.in, n.In[0].Type(), "what a product reads in %s", c.name)
				require.Equal(t, c.in, n.Out[0].Type(), "what a product writes in %s", c.name)
			}
		}
		require.Positive(t, products)
		for _, w := range e.Net.matrices {
			require.Equal(t, c.frozen, w.Dense().DType, c.name)
		}
	}
}
