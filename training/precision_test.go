package training

import (
	"context"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/program"
	"trainer/training/data"
)

// Every mode follows the losses of fp32, in every way to train and with accumulation.
func TestPrecisionsFollowFP32(t *testing.T) {
	for _, method := range []string{"full", "lora", "qlora"} {
		tr := newTrial(method)
		tr.lr = 1e-3
		_, want := tr.run(t)
		for _, mode := range program.PrecisionNames() {
			for _, accumulation := range []int{1, 2} {
				tr.Precision, tr.Batch, tr.Accumulation = precision(t, mode), int64(4/accumulation), accumulation
				_, got := tr.run(t)
				require.Len(t, got, len(want))
				for i := range want {
					require.InEpsilon(t, want[i], got[i], 2e-3, "%s in %s, step %d", method, mode, i+1)
				}
			}
		}
	}
}

// setScale writes the loss scale.
func (e *Engine) setScale(t *testing.T, scale float32) {
	t.Helper()
	raw := binary.LittleEndian.AppendUint32(nil, math.Float32bits(scale))
	require.NoError(t, e.Session.Write(nil, e.guarded.Scale, 0, raw))
}

// The loss scale changes neither the loss nor the gradient's norm that are reported.
func TestLossScaleIsNotSeen(t *testing.T) {
	for _, accumulation := range []int{1, 2} {
		tr := newTrial("lora")
		tr.Precision, tr.Batch, tr.Accumulation = precision(t, "fp16_autocast"), int64(4/accumulation), accumulation
		tr.Optimizer.MaxNorm = 0.01
		tr.dropout = 0
		e := tr.start(t)
		require.Equal(t, []float32{initialScale}, e.read(t, e.guarded.Scale))
		var micro []data.Batch
		for i := range accumulation {
			micro = append(micro, e.Collate(tr.rows[i*4/accumulation:(i+1)*4/accumulation], 0))
		}
		step := func() StepResult {
			r, err := e.Step(micro, 0, 0)
			require.NoError(t, err)
			require.False(t, r.Skipped)
			return r
		}
		scaled := step()
		require.EqualValues(t, initialScale, scaled.LossScale)
		e.setScale(t, 256)
		again := step()
		require.Equal(t, scaled.Loss, again.Loss)
		require.InEpsilon(t, scaled.GradNorm, again.GradNorm, 1e-3)
		loss, _, err := e.Evaluate(context.Background(), micro)
		require.NoError(t, err)
		require.InEpsilon(t, scaled.Loss, loss, 1e-6)
	}
}

// A scale under which gradients overflow halves until they do not; what was skipped is
// counted and changed nothing, and training goes on.
func TestOverflowHalvesTheLossScale(t *testing.T) {
	tr := newTrial("lora")
	tr.Precision, tr.rows = precision(t, "fp16_autocast"), madeUpRows(80, 320)
	e := tr.start(t)
	const huge = 1 << 28
	e.setScale(t, huge)
	before := e.states(t)
	var seen seen
	out, err := e.Train(context.Background(), tr.loop(), &seen)
	require.NoError(t, err)
	skipped := out.SkippedSteps
	require.Greater(t, skipped, maxSkipped, "more than a run with a broken gradient would bear")
	require.Less(t, skipped, 17)
	require.Len(t, seen.steps, 20)
	for i, s := range seen.steps {
		if i <= maxSkipped {
			require.Equal(t, i+1, s.SkippedSteps)
		}
		require.EqualValues(t, math.Ldexp(huge, -s.SkippedSteps), s.LossScale, "step %d", i+1)
		require.False(t, math.IsNaN(float64(s.Loss)))
	}
	require.Equal(t, skipped, seen.steps[19].SkippedSteps)
	require.NotEqual(t, before, e.states(t))
	raw, err := e.Session.Read(e.guarded.Steps)
	require.NoError(t, err)
	require.EqualValues(t, 20-skipped, binary.LittleEndian.Uint32(raw))
	require.Less(t, seen.losses()[19], seen.losses()[0])
}

// After growthInterval good steps in a row the scale doubles.
func TestLossScaleGrows(t *testing.T) {
	tr := newTrial("lora")
	tr.Precision = precision(t, "fp16_autocast")
	e := tr.start(t)
	require.NoError(t, e.Session.Write(nil, e.guarded.Growth, 0, binary.LittleEndian.AppendUint32(nil, growthInterval-2)))
	for i, want := range []float64{initialScale, 2 * initialScale, 2 * initialScale} {
		r, err := e.Step([]data.Batch{e.Collate(tr.rows[:4], 0)}, tr.lr, i)
		require.NoError(t, err)
		require.Equal(t, want, r.LossScale, "step %d", i+1)
	}
}

// A loss that is no number is not the scale's doing: the run ends as in every mode.
func TestScaledRunThatStaysBrokenEnds(t *testing.T) {
	tr := newTrial("full")
	tr.Precision, tr.lr, tr.rows = precision(t, "fp16_autocast"), 1e30, madeUpRows(40, 320)
	e := tr.start(t)
	var seen seen
	_, err := e.Train(context.Background(), tr.loop(), &seen)
	require.ErrorContains(t, err, "for 3 steps in a row")
	require.Len(t, seen.steps, 4, "one that trained, three that did not")
}

// bf16_buffers_autocast rounds the frequencies of the rotary embedding to bf16.
func TestTablesAreRounded(t *testing.T) {
	for _, mode := range program.PrecisionNames() {
		tr := newTrial("lora")
		tr.Precision = precision(t, mode)
		e := tr.start(t)
		require.NotEmpty(t, e.Net.data)
		for v, exact := range e.Net.data {
			if mode == "bf16_buffers_autocast" {
				require.NotEqual(t, exact, e.read(t, v))
			}
			require.Equal(t, roundedTo(tr.Precision.Table, exact), e.read(t, v))
		}
	}
}

// Every optimizer trains in bf16, where steps are far below a unit of the weights, to
// about the losses of fp32.
func TestOptimizersInBF16(t *testing.T) {
	rates := map[string]float64{"adamw": 1e-3, "adam": 1e-3, "adamw_8bit": 1e-3, "sgd": 0.05, "adadelta": 0.5}
	for _, rule := range rules {
		tr := newTrial("full")
		tr.Optimizer.Rule, tr.lr = rule, rates[rule.Name]
		_, want := tr.run(t)
		tr.Precision = precision(t, "bf16")
		_, got := tr.run(t)
		for i := range want {
			require.InEpsilon(t, want[i], got[i], 3e-3, "%s, step %d", rule.Name, i+1)
		}
	}
}

func rule(t *testing.T, name string) Rule {
	t.Helper()
	r, err := RuleByName(name)
	require.NoError(t, err)
	return r
}

// Moments in 8 bits train like moments in 32, in a third of the memory; a run repeats.
func TestAdamWIn8Bits(t *testing.T) {
	tr := newTrial("full")
	tr.lr, tr.rows = 1e-3, madeUpRows(120, 320)
	moments := func(e *Engine) int64 {
		for _, u := range e.MemoryByKind() {
			if u.Name == "optimizer state" {
				return u.Bytes
			}
		}
		return 0
	}
	e, want := tr.run(t)
	exact := moments(e)
	tr.Optimizer.Rule = rule(t, "adamw_8bit")
	e, got := tr.run(t)
	require.Less(t, moments(e), exact/3)
	require.NotEqual(t, want, got)
	for i := range want {
		require.InEpsilon(t, want[i], got[i], 5e-3, "step %d", i+1)
	}
	_, again := tr.run(t)
	require.Equal(t, got, again)
}

// A weight that f16 cannot hold is refused, not made infinite.
func TestWeightsBeyondHalf(t *testing.T) {
	src := oneTensor{values: []float32{1, 65519, -1e5, 2}}
	require.NoError(t, convert(src, "w", make([]byte, 4), 0, abi.F32, abi.F16))
	err := convert(src, "w", make([]byte, 8), 0, abi.F32, abi.F16)
	require.EqualError(t, err, `w.safetensors: tensor "w": element 2: found -100000, expected at most 65504, as fp16_autocast keeps weights in 16 bits; set --precision bf16_autocast or fp32`)
}

// oneTensor is a source of one f32 tensor.
type oneTensor struct{ values []float32 }

func (s oneTensor) DType(string) abi.DType        { return abi.F32 }
func (s oneTensor) Path(string) string            { return "w.safetensors" }
func (s oneTensor) Format(string) abi.QuantFormat { return abi.QuantFormat{} }
func (s oneTensor) Operands(string) (o [abi.WeightOperands][]byte, err error) {
	return o, nil
}
func (s oneTensor) ReadAt(_ string, dst []byte, offset int64) error {
	copy(dst, encode(nil, s.values, abi.F32)[offset:])
	return nil
}
