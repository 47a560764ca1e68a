package training

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/model"
	"trainer/files/quantised"
	"trainer/files/safetensors"
	"trainer/training/data"
)

// A base that is quantised as MLX does is, code for code, the checkpoint that mlx_lm wrote of
// it, and adapters on it train as they do there. mlx_lm quantises tables too, which are read
// back from its file.
func TestMLXStepOracle(t *testing.T) {
	text, err := os.ReadFile(oracles + "steps/mlx_lora.json")
	require.NoError(t, err)
	var want stepsRun
	require.NoError(t, json.Unmarshal(text, &want))
	checkpoint := oracles + "models/" + want.Model
	want.Model = "llama2"
	config, err := os.ReadFile(filepath.Join(checkpoint, "config.json"))
	require.NoError(t, err)
	folder, err := safetensors.OpenFolder(checkpoint)
	require.NoError(t, err)
	defer folder.Close()
	reader, err := quantised.NewReader(folder, config)
	require.NoError(t, err)

	e := stepEngine(t, "mlx_lora", "fp32", want)
	quantisedWeights := 0
	for _, spec := range e.Net.Model.Specs() {
		if !reader.Has(spec.Name) {
			continue
		}
		theirs, err := reader.Weight(spec.Name)
		require.NoError(t, err)
		ours := e.Net.matrices[spec.Name]
		if spec.Part != model.Projection {
			require.NoError(t, e.Session.Write(nil, ours.Dense(), 0, floatBytes(dequantised(theirs))))
			continue
		}
		quantisedWeights++
		for slot, operand := range theirs.Operands {
			if operand != nil {
				raw, err := e.Session.Read(ours.Operands[slot])
				require.NoError(t, err)
				require.Equal(t, operand, raw, "%s, operand %d", spec.Name, slot)
			}
		}
	}
	require.Equal(t, 12, quantisedWeights, "all but down_proj, whose rows are no whole groups")
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
