package training

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
	"trainer/files/quantised"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/training/data"
)

func readMLXOracle(t *testing.T) (want stepsRun) {
	t.Helper()
	text, err := os.ReadFile(oracles + "steps/mlx_lora.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &want))
	return want
}

// openQuantised reads what a folder has quantised.
func openQuantised(t *testing.T, folder string) *quantised.Reader {
	t.Helper()
	config, err := llama.ReadConfig(folder)
	require.NoError(t, err)
	weights, err := safetensors.OpenFolder(folder)
	require.NoError(t, err)
	t.Cleanup(func() { weights.Close() })
	reader, err := llama.Quantised(config, weights)
	require.NoError(t, err)
	return reader
}

// A base that is quantised as MLX does is, code for code, the checkpoint that mlx_lm wrote of
// it.
func TestMLXCodesOracle(t *testing.T) {
	want := readMLXOracle(t)
	reader := openQuantised(t, oracles+"models/"+want.Model)
	want.Model = "llama2"
	e := stepEngine(t, "mlx_lora", "fp32", want)
	same := 0
	for _, spec := range e.Net.Model.Specs() {
		if spec.Part != model.Projection || !reader.Has(spec.Name) {
			continue
		}
		theirs, err := reader.Weight(spec.Name)
		require.NoError(t, err)
		same++
		for slot, operand := range theirs.Operands {
			if operand != nil {
				raw, err := e.Session.Read(e.Net.matrices[spec.Name].Operands[slot])
				require.NoError(t, err)
				require.Equal(t, operand, raw, "%s, operand %d", spec.Name, slot)
			}
		}
	}
	require.Equal(t, 12, same, "all but down_proj, whose rows are no whole groups")
}

// Adapters on a checkpoint of mlx_lm train as they do there: its projections stay as they are
// stored, its tables, which are quantised too, are dequantised.
func TestMLXStepOracle(t *testing.T) {
	want := readMLXOracle(t)
	e := stepEngine(t, "mlx_lora", "fp32", want)
	reader := openQuantised(t, oracles+"models/"+want.Model)
	for _, name := range []string{e.Net.Model.Head(), "model.embed_tokens.weight"} {
		table, err := reader.Weight(name)
		require.NoError(t, err)
		values := dequantised(table)
		closeTo(t, name, e.read(t, e.Net.matrices[name].Dense()), values, 1e-6, largest(values))
	}
	require.Equal(t, op.MLX(4, 32), e.Net.matrices["model.layers.0.mlp.up_proj.weight"].Format)
	require.Equal(t, abi.FormatDense, e.Net.matrices["model.layers.0.mlp.down_proj.weight"].Format.Format)
	require.NoError(t, e.LoadAdapter(oracles+"steps/mlx_lora.initial"))
	batches := openOracle(t, "steps/batches.safetensors")
	for i, step := range want.Steps {
		got, err := e.Step([]data.Batch{batches.batch(fmt.Sprintf("step%d.micro0.", i)), batches.batch(fmt.Sprintf("step%d.micro1.", i))}, want.Optimizer.LR, i)
		require.NoError(t, err)
		require.InEpsilon(t, step.Loss, got.Loss, 2e-5, "loss of step %d", i)
		require.InEpsilon(t, step.GradNorm, got.GradNorm, 1e-4, "gradient norm of step %d", i)
	}
}

// dequantised are the values of an MLX weight of 4 bits.
func dequantised(w *quantised.Weight) []float32 {
	scale, zero := floatsOf(w.Operands[quantised.Scale]), floatsOf(w.Operands[quantised.Zero])
	values := make([]float32, w.Out*w.In)
	for i := range values {
		code, group := w.Operands[quantised.Data][i/2]>>(4*(i%2))&15, int64(i)/w.Format.Group
		values[i] = float32(math.FMA(float64(code), float64(scale[group]), float64(zero[group])))
	}
	return values
}
