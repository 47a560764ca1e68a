package training

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/files/peft"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/training/data"
)

// allLinear are the names of every projection of a model without fused ones.
var allLinear = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// familyModules are the modules of a layer that --lora_target_modules all_linear adapts, as
// PEFT's "all-linear" finds them.
var familyModules = map[string][]string{
	"mistral": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
	"qwen2":   {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
	"qwen3":   {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
	"phi3":    {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"},
}

// familyEngine trains adapters on every projection of a tiny model.
func familyEngine(t *testing.T, name, method string, change func(*Settings)) *Engine {
	t.Helper()
	config, err := llama.ReadConfig(oracles + "models/" + name)
	require.NoError(t, err)
	targets, err := config.Targets(allLinear)
	require.NoError(t, err)
	return testModel(t, name, trainType(t, method), LoRA{Rank: 4, Alpha: 8, Dropout: 0.1, Targets: targets}, change)
}

// trainSteps takes steps on the first two batches of the oracles, again and again.
func trainSteps(t *testing.T, e *Engine, steps int) (losses []float64) {
	t.Helper()
	batches := openOracle(t, "steps/batches.safetensors")
	micro := []data.Batch{batches.batch("step0.micro0."), batches.batch("step0.micro1.")}
	for i := range steps {
		step, err := e.Step(micro, 1e-2, i)
		require.NoError(t, err)
		require.False(t, step.Skipped)
		losses = append(losses, step.Loss)
	}
	return losses
}

func TestFamiliesTrainAdapters(t *testing.T) {
	for name, modules := range familyModules {
		for _, method := range []string{"lora", "qlora", "bnb_dora"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				e := familyEngine(t, name, method, nil)
				losses := trainSteps(t, e, 3)
				require.Less(t, losses[2], losses[0])
				dir := t.TempDir()
				require.NoError(t, e.SaveAdapter(dir, "base"))
				a, err := peft.ReadAdapter(dir)
				require.NoError(t, err)
				defer a.File.Close()
				require.Len(t, a.Modules, 2*len(modules))
				for _, module := range modules {
					require.Contains(t, a.Modules, "model.layers.1."+module)
				}
				require.ElementsMatch(t, e.Net.LoRA.Targets, a.Config.TargetModules)
				again := familyEngine(t, name, method, nil)
				require.NoError(t, again.LoadAdapter(dir))
				ids := []int32{1, 5, 9, 200}
				want, err := e.Logits(ids, false)
				require.NoError(t, err)
				got, err := again.Logits(ids, false)
				require.NoError(t, err)
				require.True(t, slices.Equal(want, got))
				base, err := again.Logits(ids, true)
				require.NoError(t, err)
				require.False(t, slices.Equal(base, got))
			})
		}
	}
}

// TestFullyTrainedFamiliesAreSavedWhole: biases and norms of heads included.
func TestFullyTrainedFamiliesAreSavedWhole(t *testing.T) {
	for name := range familyModules {
		t.Run(name, func(t *testing.T) {
			e := familyEngine(t, name, "full", nil)
			trainSteps(t, e, 1)
			dir := t.TempDir()
			require.NoError(t, e.SaveModel(dir))
			folder, err := safetensors.OpenFolder(dir)
			require.NoError(t, err)
			defer folder.Close()
			config, err := llama.ReadConfig(oracles + "models/" + name)
			require.NoError(t, err)
			require.NoError(t, llama.CheckWeights(config, folder))
			require.Len(t, folder.Names(), len(config.Tensors()))
		})
	}
}

// TestRecomputingFamilies: what is computed twice comes out the same.
func TestRecomputingFamilies(t *testing.T) {
	for name := range familyModules {
		for _, method := range []string{"full", "qlora", "dora"} {
			want := trainSteps(t, familyEngine(t, name, method, nil), 2)
			for _, policy := range []string{"selective", "block"} {
				got := trainSteps(t, familyEngine(t, name, method, func(s *Settings) { s.Recompute = policy }), 2)
				require.Equal(t, want, got, "%s %s %s", name, method, policy)
			}
		}
	}
}
