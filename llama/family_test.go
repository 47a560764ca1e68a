package llama

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// ofFamily is the smallest config of another model type, with members added.
func ofFamily(modelType, members string) string {
	return strings.Replace(with(members), `"model_type":"llama"`, fmt.Sprintf(`"model_type":%q`, modelType), 1)
}

func TestFamiliesOfTheOracles(t *testing.T) {
	read := func(name string) Config {
		c, err := ReadConfig(oracleModels + name)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, []int{8, 8}, read("mistral").Windows)
	require.True(t, read("qwen2").QKVBias)
	require.False(t, read("qwen2").OutBias)
	require.True(t, read("qwen3").QKNorm)
	require.Equal(t, 32, read("qwen3").HeadDim)
	require.Nil(t, read("qwen3").Windows)
	require.True(t, read("phi3").Fused)
	require.Equal(t, []string{"input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.qkv_proj.weight", "self_attn.o_proj.weight",
		"mlp.gate_up_proj.weight", "mlp.down_proj.weight"}, names(read("phi3").layerTensors()))
}

func names(specs []TensorSpec) (list []string) {
	for _, s := range specs {
		list = append(list, s.Name)
	}
	return list
}

// TestFamilyDefaults: what a config leaves out is what Transformers takes then.
func TestFamilyDefaults(t *testing.T) {
	heads := `"num_key_value_heads":2`
	for text, check := range map[string]func(Config) bool{
		ofFamily("mistral", heads):                                                                     func(c Config) bool { return slices.Equal(c.Windows, []int{4096, 4096}) && c.MaxPositions == 131072 },
		ofFamily("mistral", heads+`,"sliding_window":null`):                                            func(c Config) bool { return c.Windows == nil },
		ofFamily("mistral", `"num_key_value_heads":null`):                                              func(c Config) bool { return c.NumKVHeads == 4 },
		ofFamily("phi3", `"sliding_window":2047`):                                                      func(c Config) bool { return slices.Equal(c.Windows, []int{2047, 2047}) && c.RMSNormEps == 1e-5 },
		ofFamily("phi3", `"attention_bias":false`):                                                     func(c Config) bool { return c.Windows == nil && c.NumKVHeads == 4 && !c.QKVBias },
		ofFamily("qwen3", heads):                                                                       func(c Config) bool { return c.HeadDim == 128 && c.RotaryDim == 128 && c.MaxPositions == 32768 },
		ofFamily("qwen3", heads+`,"attention_bias":true`):                                              func(c Config) bool { return c.QKVBias && c.OutBias && !c.MLPBias },
		ofFamily("qwen2", heads+`,"sliding_window":131072`):                                            func(c Config) bool { return c.Windows == nil && c.QKVBias && !c.OutBias },
		with(`"sliding_window":0`):                                                                     func(c Config) bool { return c.Windows == nil },
		with(`"attention_bias":true,"mlp_bias":true`):                                                  func(c Config) bool { return c.QKVBias && c.OutBias && c.MLPBias },
		ofFamily("qwen2", heads+`,"use_sliding_window":true,"sliding_window":9,"max_window_layers":1`): func(c Config) bool { return slices.Equal(c.Windows, []int{0, 9}) },
		ofFamily("qwen3", heads+`,"use_sliding_window":true,"layer_types":["sliding_attention","full_attention"]`):             func(c Config) bool { return slices.Equal(c.Windows, []int{4096, 0}) },
		ofFamily("phi3", `"partial_rotary_factor":0.75`):                                                                       func(c Config) bool { return c.RotaryDim == 12 },
		ofFamily("phi3", `"partial_rotary_factor":0.75,"rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}`): func(c Config) bool { return c.RotaryDim == 8 },
	} {
		c, err := parse(text)
		require.NoError(t, err, text)
		require.True(t, check(c), "%s: %+v", text, c)
	}
}

func TestFamilyVariantsThatAreRefused(t *testing.T) {
	heads := `"num_key_value_heads":2`
	for text, message := range map[string]string{
		ofFamily("mistral", `"hidden_act":"silu"`):                                       "field num_key_value_heads: found 8, expected a divisor of num_attention_heads, 4",
		ofFamily("mistral", heads+`,"sliding_window":0`):                                 "field sliding_window: found 0, expected an integer from 1 to 67108864",
		ofFamily("mistral", heads+`,"attention_bias":true`):                              "field attention_bias: found true, expected false",
		ofFamily("phi3", `"mlp_bias":true`):                                              "field mlp_bias: found true, expected false",
		ofFamily("phi3", `"embd_pdrop":0.1`):                                             "field embd_pdrop: found 0.1, expected 0",
		ofFamily("phi3", `"partial_rotary_factor":0.45`):                                 "found 0.45, which rotates 7 of 16 features, expected an even number of them",
		ofFamily("phi3", `"partial_rotary_factor":0`):                                    "which rotates 0 of 16 features",
		ofFamily("phi3", `"rope_scaling":{"type":"longrope"}`):                           "field rope_scaling.short_factor: found nothing, expected a value",
		ofFamily("qwen2", heads+`,"partial_rotary_factor":0.5`):                          "field partial_rotary_factor: found 0.5, expected 1",
		ofFamily("qwen2", heads+`,"layer_types":["full_attention"]`):                     "field layer_types: found 1 entries, expected one for each of 2 layers",
		ofFamily("qwen2", heads+`,"layer_types":["full_attention","linear"]`):            `found "linear", expected full_attention or sliding_attention`,
		ofFamily("qwen2", heads+`,"layer_types":["sliding_attention","full_attention"]`): "found sliding_attention, expected a sliding_window",
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, message, text)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestTargetsAreTheProjectionsAFamilyHas(t *testing.T) {
	llama, phi, six := Config{ModelType: "llama"}, Config{ModelType: "phi3", Fused: true}, []string{"k_proj", "q_proj", "v_proj", "up_proj", "down_proj", "gate_proj"}
	got, err := llama.Targets(six)
	require.NoError(t, err)
	require.Equal(t, six, got)
	got, err = phi.Targets(append(six, "o_proj"))
	require.NoError(t, err)
	require.Equal(t, []string{"qkv_proj", "gate_up_proj", "down_proj", "o_proj"}, got)
	got, err = phi.Targets([]string{"qkv_proj", "q_proj"})
	require.NoError(t, err)
	require.Equal(t, []string{"qkv_proj"}, got)
	_, err = llama.Targets([]string{"q_proj", "qkv_proj"})
	require.EqualError(t, err, `--lora_target_modules: found "qkv_proj", expected projections of llama: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj`)
	require.Equal(t, int(fault.Usage), fault.ExitCode(err))
}

func TestPartOfAHeadIsRotated(t *testing.T) {
	got, _ := Config{HeadDim: 16, RotaryDim: 8, RopeTheta: 10000}.InvFreq(1)
	require.Len(t, got, 4)
	require.InDelta(t, math.Pow(10000, -0.75), got[3], 1e-9)
}
