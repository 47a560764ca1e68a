package llama

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

const oracleModels = "../testdata/oracles/models/"

func TestReadConfigOfTheOracles(t *testing.T) {
	c, err := ReadConfig(oracleModels + "llama3")
	require.NoError(t, err)
	c.raw = Config{}.raw
	require.Equal(t, Config{ModelType: "llama", Architectures: []string{"LlamaForCausalLM"}, HiddenSize: 64, IntermediateSize: 172, NumLayers: 2,
		NumHeads: 8, NumKVHeads: 2, HeadDim: 16, RotaryDim: 16, VocabSize: 320, MaxPositions: 256, RMSNormEps: 1e-5, RopeTheta: 500000,
		RopeScaling:       RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 32},
		TieWordEmbeddings: true, TorchDType: "float32", BOS: 1, PAD: 0, EOS: []int{2}}, c)
	c, err = ReadConfig(oracleModels + "llama2")
	require.NoError(t, err)
	require.Equal(t, "default", c.RopeScaling.Type)
	require.False(t, c.TieWordEmbeddings)
	_, err = ReadConfig("../testdata/models/demo-2m")
	require.NoError(t, err)
}

func TestOtherArchitecturesAreRefused(t *testing.T) {
	_, err := parse(`{"model_type":"gemma","architectures":["GemmaForCausalLM"]}`)
	require.EqualError(t, err, `config.json: field model_type: found "gemma" with architectures ["GemmaForCausalLM"], expected one of llama (LlamaForCausalLM), `+
		`mistral (MistralForCausalLM), phi3 (Phi3ForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM); choose a model of a supported architecture`)
	require.Equal(t, int(fault.Files), fault.ExitCode(err))
	_, err = parse(`{"model_type":"qwen2","architectures":["LlamaForCausalLM"]}`)
	require.ErrorContains(t, err, `found "qwen2" with architectures ["LlamaForCausalLM"]`)
}

const smallest = `{"model_type":"llama","hidden_size":64,"intermediate_size":172,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":320}`

func parse(text string) (Config, error) { return ParseConfig("config.json", []byte(text)) }

// with is the smallest config with members added.
func with(members string) string { return strings.TrimSuffix(smallest, "}") + "," + members + "}" }

func TestDefaultsAreThoseOfTransformers(t *testing.T) {
	c, err := parse(smallest)
	require.NoError(t, err)
	c.raw = Config{}.raw
	require.Equal(t, Config{ModelType: "llama", HiddenSize: 64, IntermediateSize: 172, NumLayers: 2, NumHeads: 4, NumKVHeads: 4, HeadDim: 16, RotaryDim: 16, VocabSize: 320,
		MaxPositions: 2048, RMSNormEps: 1e-6, RopeTheta: 10000, RopeScaling: RopeScaling{Type: "default"}, BOS: -1, PAD: -1}, c)
}

func TestVariants(t *testing.T) {
	for members, check := range map[string]func(Config) bool{
		`"head_dim":128`: func(c Config) bool { return c.HeadDim == 128 },
		`"head_dim":null,"num_key_value_heads":null,"rope_scaling":null`: func(c Config) bool { return c.HeadDim == 16 && c.NumKVHeads == 4 },
		`"eos_token_id":[2,3]`:                                                 func(c Config) bool { return len(c.EOS) == 2 && c.EOS[1] == 3 },
		`"pad_token_id":-1,"eos_token_id":null`:                                func(c Config) bool { return c.PAD == -1 && c.EOS == nil },
		`"torch_dtype":"bfloat16"`:                                             func(c Config) bool { return c.TorchDType == "bfloat16" },
		`"auto_map":{"AutoModel":"x.Y"}`:                                       func(c Config) bool { return c.AutoMap },
		`"rope_theta":5e5`:                                                     func(c Config) bool { return c.RopeTheta == 500000 },
		`"rope_scaling":{"type":"linear","factor":2}`:                          func(c Config) bool { return reflect.DeepEqual(c.RopeScaling, RopeScaling{Type: "linear", Factor: 2}) },
		`"rope_theta":7,"rope_parameters":{"rope_type":"default"}`:             func(c Config) bool { return c.RopeTheta == 7 },
		`"rope_parameters":{"rope_theta":9,"rope_type":"linear","factor":4.0}`: func(c Config) bool { return c.RopeTheta == 9 && c.RopeScaling.Factor == 4 },
		`"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"linear","factor":2}`: func(c Config) bool { return c.RopeScaling.Factor == 2 },
		`"hidden_act":"silu","attention_bias":false,"mlp_bias":false,"attention_dropout":0.0,"new":[{}]`:  func(c Config) bool { return true },
	} {
		c, err := parse(with(members))
		require.NoError(t, err, members)
		require.True(t, check(c), members)
	}
}

func TestValuesOutOfBounds(t *testing.T) {
	sizes := []string{"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}
	required := []string{"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}
	for _, name := range sizes {
		for _, value := range []string{"-1", "0", "1.5", "1e3", "1e308", "2147483648", "9223372036854775808", "18446744073709551616", `"12"`, "[]", "{}", "true"} {
			_, err := parse(set(name, value))
			require.ErrorContains(t, err, "config.json: field "+name+": found ", "%s=%s", name, value)
			require.Equal(t, int(fault.Files), fault.ExitCode(err))
		}
		_, err := parse(strings.TrimSuffix(set(name, "4"), "}") + `,"` + name + `":4}`)
		require.ErrorContains(t, err, "duplicate key")
	}
	for _, name := range required {
		for _, other := range []string{name + "X", strings.ToUpper(name)} {
			_, err := parse(strings.Replace(smallest, name, other, 1))
			require.ErrorContains(t, err, "field "+name+": found nothing", other)
		}
		_, err := parse(set(name, "null"))
		require.ErrorContains(t, err, "field "+name+": found nothing")
	}
}

// set is the smallest config with a member replaced or added.
func set(name, value string) string {
	var out []string
	for _, member := range strings.Split(strings.Trim(smallest, "{}"), ",") {
		if !strings.HasPrefix(member, `"`+name+`"`) {
			out = append(out, member)
		}
	}
	return "{" + strings.Join(append(out, fmt.Sprintf(`"%s":%s`, name, value)), ",") + "}"
}

func TestConfigsThatAreRefused(t *testing.T) {
	for text, message := range map[string]string{
		``:                           "config.json: line 1, column 1: the text ends",
		`[]`:                         "config.json: found a list, expected an object",
		`{}`:                         `field model_type: found ""`,
		with(`"model_type":"llama"`): `duplicate key "model_type"`,
		with(`"architectures":["LlamaForTokenClassification"]`):     `with architectures ["LlamaForTokenClassification"]`,
		with(`"architectures":"LlamaForCausalLM"`):                  "field architectures: found",
		with(`"num_key_value_heads":3`):                             "field num_key_value_heads: found 3, expected a divisor of num_attention_heads, 4",
		set("num_attention_heads", "5"):                             "field num_attention_heads: found 5, expected a divisor of hidden_size, 64",
		with(`"head_dim":15`):                                       "field head_dim: found 15, expected an even number",
		with(`"head_dim":4194306`):                                  "expected at most 16777216 in all 4 heads",
		set("vocab_size", "16777217"):                               "found 16777217, expected an integer from 1 to 16777216",
		set("hidden_size", "1048577"):                               "expected an integer from 1 to 1048576",
		set("num_hidden_layers", "4097"):                            "expected an integer from 1 to 4096",
		set("num_attention_heads", "65537"):                         "expected an integer from 1 to 65536",
		with(`"max_position_embeddings":67108865`):                  "expected an integer from 1 to 67108864",
		with(`"rms_norm_eps":0`):                                    "field rms_norm_eps: found 0",
		with(`"rms_norm_eps":1e999`):                                "field rms_norm_eps: found 1e999",
		with(`"rope_theta":-1`):                                     "field rope_theta: found -1",
		with(`"hidden_act":"gelu"`):                                 `field hidden_act: found "gelu", expected "silu"`,
		with(`"resid_pdrop":0.1,"attention_bias":true`):             "field resid_pdrop: found 0.1",
		with(`"attention_dropout":0.1`):                             "field attention_dropout: found 0.1",
		with(`"quantization_config":{"quant_method":"gptq"}`):       `field quantization_config: found a checkpoint quantised by "gptq", expected bitsandbytes, hqq or MLX's quantization`,
		with(`"tie_word_embeddings":1`):                             "field tie_word_embeddings: found 1, expected true or false",
		with(`"torch_dtype":"int8"`):                                `field torch_dtype: found "int8"`,
		with(`"dtype":"x","torch_dtype":"float32"`):                 `field dtype: found "x"`,
		with(`"bos_token_id":320`):                                  "field bos_token_id: found 320, expected an integer from -1 to 319",
		with(`"eos_token_id":[2,320]`):                              "field eos_token_id: found 320",
		with(`"eos_token_id":["2"]`):                                `field eos_token_id: found "2"`,
		with(`"eos_token_id":"2"`):                                  `field eos_token_id: found "2"`,
		with(`"rope_scaling":[]`):                                   "field rope_scaling: found a list, expected an object",
		with(`"rope_scaling":{"type":"dynamic","factor":2}`):        `found "dynamic"`,
		with(`"rope_scaling":{"type":"linear"}`):                    "field rope_scaling.factor: found nothing",
		with(`"rope_scaling":{"type":"linear","factor":0}`):         "field rope_scaling.factor: found 0",
		with(`"rope_parameters":{"rope_type":"llama3","factor":8}`): "field rope_parameters.low_freq_factor: found nothing",
		with(`"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":32}`): "field rope_scaling.high_freq_factor: found 4, expected more than low_freq_factor, 4",
		with(`"rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}`):                                                           "partial_rotary_factor: found 0.5",
		with(`"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"default"}`):                                           "field rope_scaling: found something else than in rope_parameters",
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, message, "%.200s", text)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestFoldersWithoutConfig(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadConfig(dir)
	require.ErrorContains(t, err, "config.json: file does not exist")
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigName), make([]byte, 1<<20+1), 0o666))
	_, err = ReadConfig(dir)
	require.ErrorContains(t, err, "found 1048577 bytes")
}

func TestJSONChangesTheDTypeOnly(t *testing.T) {
	for _, name := range []string{"llama2", "llama3"} {
		c, err := ReadConfig(oracleModels + name)
		require.NoError(t, err)
		want, err := os.ReadFile(oracleModels + name + "/" + ConfigName)
		require.NoError(t, err)
		require.Equal(t, string(want), string(c.JSON("float32")))
		require.Equal(t, strings.Replace(string(want), `"float32"`, `"bfloat16"`, 1), string(c.JSON("bfloat16")))
	}
	for members, want := range map[string]string{`"torch_dtype":"float32"`: `"torch_dtype": "bfloat16"`, `"x":1.50`: `"x": 1.50`} {
		c, err := parse(with(members))
		require.NoError(t, err)
		require.Contains(t, string(c.JSON("bfloat16")), want)
		again, err := ParseConfig("x", c.JSON("bfloat16"))
		require.NoError(t, err)
		require.Equal(t, "bfloat16", again.TorchDType)
	}
	require.Nil(t, Config{}.JSON("float32"))
}

// FuzzConfig: a config is refused with a sentence, or its sizes are usable and it survives
// writing.
func FuzzConfig(f *testing.F) {
	for _, name := range []string{"llama2", "llama3", "mistral", "qwen2", "qwen3", "phi3", "llama2-mlx4"} {
		seed, err := os.ReadFile(oracleModels + name + "/" + ConfigName)
		require.NoError(f, err)
		f.Add(seed)
	}
	f.Add([]byte(with(`"rope_scaling":{"type":"linear","factor":2},"eos_token_id":[1,2]`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("x", text)
		if err != nil {
			var sentence *fault.Error
			if !errors.As(err, &sentence) || sentence.Kind != fault.Files {
				t.Fatalf("not a sentence: %v", err)
			}
			return
		}
		if c.ParamCount() <= 0 || c.NumHeads%c.NumKVHeads != 0 || c.RotaryDim%2 != 0 || c.RotaryDim < 2 || c.RotaryDim > c.HeadDim {
			t.Fatalf("accepted %+v", c)
		}
		again, err := ParseConfig("x", c.JSON("float16"))
		if err != nil || again.TorchDType != "float16" || again.ParamCount() != c.ParamCount() {
			t.Fatalf("%s became %s: %v", text, c.JSON("float16"), err)
		}
	})
}

// What is written for a published shape reads back as it.
func TestShapesHaveAConfig(t *testing.T) {
	for _, name := range ShapeNames() {
		want, _ := ShapeByName(name)
		got, err := ParseConfig(name, want.JSON("bfloat16"))
		require.NoError(t, err, name)
		got.raw = want.raw
		require.Equal(t, want, got, name)
	}
}
