package surgery

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/files/peft"
	"trainer/files/safetensors"
	"trainer/llama"
)

// openAdapter opens one of the oracles' adapters, with fields of its config changed.
func openAdapter(t *testing.T, name string, changes map[string]any) *Adapter {
	t.Helper()
	from, dir := filepath.Join(oracles, "steps", name), t.TempDir()
	for _, file := range []string{peft.ConfigName, peft.WeightsName} {
		text, err := os.ReadFile(filepath.Join(from, file))
		require.NoError(t, err)
		if file == peft.ConfigName {
			var config map[string]any
			require.NoError(t, json.Unmarshal(text, &config))
			for field, value := range changes {
				config[field] = value
			}
			text, err = json.Marshal(config)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o666))
	}
	a, err := OpenAdapter(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// mergedBy computes a merged weight as its definition says.
func mergedBy(t *testing.T, b *Base, a *Adapter, module string, scale float64) []float64 {
	t.Helper()
	w, m := values(t, b, b, module+".weight"), a.parts[module]
	left, err := a.file.ReadFloat32(m.B)
	require.NoError(t, err)
	right, err := a.file.ReadFloat32(m.A)
	require.NoError(t, err)
	rank, in := m.A.Shape[0], m.A.Shape[1]
	out := make([]float64, len(w))
	for i := range out {
		row, column := int64(i)/in, int64(i)%in
		for k := range rank {
			out[i] += scale * float64(left[row*rank+k]) * float64(right[k*in+column])
		}
		out[i] += float64(w[i])
	}
	if !a.Config.UseDoRA {
		return out
	}
	magnitude, err := a.file.ReadFloat32(m.Magnitude)
	require.NoError(t, err)
	for row := range magnitude {
		values, sum := out[int64(row)*in:][:in], 0.0
		for _, x := range values {
			sum += x * x
		}
		for i := range values {
			values[i] *= float64(magnitude[row]) / math.Sqrt(sum)
		}
	}
	return out
}

// A merged model holds what the definitions of LoRA, rsLoRA, patterns and DoRA say, and
// else the base's bytes.
func TestMergedWeightsAreThoseOfTheDefinition(t *testing.T) {
	for name, c := range map[string]struct {
		adapter string
		changes map[string]any
		scale   func(module string) float64
	}{
		"lora":   {"lora.final", nil, func(string) float64 { return 16.0 / 8 }},
		"rslora": {"lora.final", map[string]any{"use_rslora": true}, func(string) float64 { return 16 / math.Sqrt(8) }},
		"alphas": {"lora.final", map[string]any{"alpha_pattern": map[string]any{"layers.0.self_attn.q_proj": 4}}, func(module string) float64 {
			if module == "model.layers.0.self_attn.q_proj" {
				return 4.0 / 8
			}
			return 16.0 / 8
		}},
		"dora": {"dora.final", nil, func(string) float64 { return 16.0 / 8 }},
	} {
		t.Run(name, func(t *testing.T) {
			base, adapter, dir := open(t, filepath.Join(oracles, "models", "llama2")), openAdapter(t, c.adapter, c.changes), t.TempDir()
			m, err := NewMerged(base, adapter)
			require.NoError(t, err)
			require.NoError(t, m.Write(context.Background(), dir, ""))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), base.Config.JSON(base.DType()), 0o666))
			written := open(t, dir)
			adapted := 0
			for _, spec := range base.Config.Tensors() {
				got := values(t, written, written, spec.Name)
				module, ok := m.adapts(spec.Name)
				if !ok {
					require.Equal(t, values(t, base, base, spec.Name), got)
					continue
				}
				adapted++
				want := mergedBy(t, base, adapter, module, c.scale(module))
				for i := range got {
					require.InDelta(t, want[i], got[i], 1e-6, "%s, element %d", spec.Name, i)
				}
			}
			require.Equal(t, len(adapter.parts), adapted)
		})
	}
}

func TestAdapterOfAnotherModelIsRefused(t *testing.T) {
	adapter := openAdapter(t, "lora.final", nil)
	for model, sentence := range map[string]string{
		"llama3": "module model.layers.0.self_attn.k_proj: found an adapter of a [64, 64] matrix, expected one of [32 64], as in ",
		"phi3":   "module model.layers.0.mlp.gate_proj: found an adapter of it, expected a matrix of the model in ",
	} {
		_, err := NewMerged(open(t, filepath.Join(oracles, "models", model)), adapter)
		require.ErrorContains(t, err, sentence)
	}
	m, err := NewMerged(open(t, filepath.Join(oracles, "models", "llama2")), openAdapter(t, "lora.final", map[string]any{"rank_pattern": map[string]any{"q_proj": 4}}))
	require.NoError(t, err)
	err = m.Rows("model.layers.0.self_attn.q_proj.weight", 0, make([]float32, 64))
	require.ErrorContains(t, err, "found rank 8, expected 4, as adapter_config.json says")
}

// What float16 cannot hold is refused, not made infinite.
func TestMergedWeightsThatDoNotFit(t *testing.T) {
	dir := t.TempDir()
	base := open(t, filepath.Join(oracles, "models", "llama2"))
	m, err := NewMerged(base, openAdapter(t, "lora.final", map[string]any{"lora_alpha": 1e9}))
	require.NoError(t, err)
	require.ErrorContains(t, m.Write(context.Background(), dir, "float16"), `expected a dtype that holds it; choose bfloat16 or float32`)
	require.NoError(t, m.Write(context.Background(), dir, "bfloat16"))
	f, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	info, ok := f.Tensor(llama.Config{HiddenSize: 1, VocabSize: 1}.Tensors()[0].Name)
	require.True(t, ok)
	require.Equal(t, "BF16", info.DType)
}
