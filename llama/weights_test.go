package llama

import (
	"bytes"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/safetensors"
)

func TestParamCountsOfKnownModels(t *testing.T) {
	want := map[string]int64{
		"llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192,
		"llama-3-8b": 8_030_261_248, "llama-3-70b": 70_553_706_496, "tinyllama-1.1b": 1_100_048_384,
		"smollm2-135m": 134_515_008, "smollm2-360m": 361_821_120, "smollm2-1.7b": 1_711_376_384,
		"mistral-7b": 7_241_732_096, "qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-7b": 7_615_616_512,
		"qwen3-0.6b": 596_049_920, "qwen3-8b": 8_190_735_360, "phi-3-mini": 3_821_079_552,
	}
	require.Len(t, ShapeNames(), len(want))
	for _, name := range ShapeNames() {
		c, ok := ShapeByName(name)
		require.True(t, ok)
		require.Equal(t, want[name], c.ParamCount(), name)
		sum := int64(0)
		for _, spec := range c.Tensors() {
			sum += spec.count()
		}
		require.Equal(t, want[name], sum, name)
	}
	_, ok := ShapeByName("llama-9")
	require.False(t, ok)
}

func TestTheLargestConfigDoesNotOverflow(t *testing.T) {
	c := Config{HiddenSize: maxHidden, IntermediateSize: maxInner, NumLayers: maxLayers, NumHeads: 1, NumKVHeads: 1, HeadDim: maxInner, VocabSize: maxVocab}
	exact := 7*math.Pow(2, 44+12) + 2*math.Pow(2, 44) + 2*math.Pow(2, 20+12) + math.Pow(2, 20)
	require.Equal(t, exact, float64(c.ParamCount()))
	require.Less(t, c.ParamCount(), int64(math.MaxInt64/8))
}

func TestWeightsOfTheModelsHere(t *testing.T) {
	for _, dir := range []string{oracleModels + "llama2", oracleModels + "llama3", oracleModels + "mistral", oracleModels + "qwen2", oracleModels + "qwen3",
		oracleModels + "phi3", oracleModels + "llama2-mlx4", "../testdata/models/demo-2m"} {
		c, err := ReadConfig(dir)
		require.NoError(t, err)
		folder, err := safetensors.OpenFolder(dir)
		require.NoError(t, err)
		require.NoError(t, CheckWeights(c, folder))
		stored, err := Quantised(c, folder)
		require.NoError(t, err)
		tensors := 0
		for _, spec := range c.Tensors() {
			if tensors++; stored.Has(spec.Name) {
				tensors += 2 // scales and biases
			}
		}
		require.Len(t, folder.Names(), tensors)
		require.NoError(t, folder.Close())
	}
}

// folderOf writes a folder of zeros.
func folderOf(t *testing.T, specs []safetensors.Spec) *safetensors.Folder {
	t.Helper()
	dir := t.TempDir()
	w, err := safetensors.WriteSharded(dir, specs, math.MaxInt64)
	require.NoError(t, err)
	for _, s := range specs {
		size, _ := safetensors.DTypeSize(s.DType)
		for _, d := range s.Shape {
			size *= d
		}
		require.NoError(t, w.Write(s.Name, bytes.Repeat([]byte{0}, int(size))))
	}
	require.NoError(t, w.Commit())
	folder, err := safetensors.OpenFolder(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	return folder
}

func TestWeightsThatDoNotFit(t *testing.T) {
	tiny := Config{HiddenSize: 4, IntermediateSize: 6, NumLayers: 2, NumHeads: 2, NumKVHeads: 1, HeadDim: 2, VocabSize: 8}
	tied := tiny
	tied.TieWordEmbeddings = true
	const q, norm = "model.layers.1.self_attn.q_proj.weight", "model.norm.weight"
	edit := func(name string, change func(*safetensors.Spec)) func([]safetensors.Spec) []safetensors.Spec {
		return func(specs []safetensors.Spec) []safetensors.Spec {
			for i := range specs {
				if specs[i].Name == name {
					change(&specs[i])
				}
			}
			return specs
		}
	}
	add := func(name string, shape ...int64) func([]safetensors.Spec) []safetensors.Spec {
		return func(specs []safetensors.Spec) []safetensors.Spec {
			return append(specs, safetensors.Spec{Name: name, DType: "F16", Shape: shape})
		}
	}
	for _, c := range []struct {
		name    string
		config  Config
		change  func([]safetensors.Spec) []safetensors.Spec
		message string
	}{
		{"as they are", tiny, add("model.layers.0.self_attn.rotary_emb.inv_freq", 1), ""},
		{"a tied head that is stored", tied, add(head, 8, 4), ""},
		{"a tied head of another shape", tied, add(head, 8, 5), `tensor "lm_head.weight": found shape [8 5], expected [8 4], as config.json says`},
		{"no head", tiny, func(s []safetensors.Spec) []safetensors.Spec { return s[:len(s)-1] }, `tensor "lm_head.weight": found no such tensor, expected shape [8 4]`},
		{"another shape", tiny, edit(q, func(s *safetensors.Spec) { s.Shape = []int64{5, 4} }), `tensor "` + q + `": found shape [5 4], expected [4 4]`},
		{"transposed", tiny, edit("model.layers.0.mlp.down_proj.weight", func(s *safetensors.Spec) { s.Shape = []int64{6, 4} }), "found shape [6 4], expected [4 6]"},
		{"another rank", tiny, edit(norm, func(s *safetensors.Spec) { s.Shape = []int64{4, 1} }), `tensor "model.norm.weight": found shape [4 1], expected [4]`},
		{"integers", tiny, edit(q, func(s *safetensors.Spec) { s.DType = "I8" }), "found dtype I8, expected F32, BF16, F16 or F64"},
		{"another name", tiny, edit(q, func(s *safetensors.Spec) { s.Name = "x" }), `tensor "x": found a tensor this model does not have`},
		{"a bias", tiny, add("model.layers.0.self_attn.q_proj.bias", 4), `q_proj.bias": found a tensor this model does not have`},
		{"a layer too many", tiny, add("model.layers.2.input_layernorm.weight", 4), "found a tensor this model does not have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var specs []safetensors.Spec
			for _, s := range c.config.Tensors() {
				specs = append(specs, safetensors.Spec{Name: s.Name, DType: "BF16", Shape: s.Shape})
			}
			err := CheckWeights(c.config, folderOf(t, c.change(specs)))
			if c.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.message)
			require.Contains(t, err.Error(), "model.safetensors: ")
			require.Equal(t, int(fault.Files), fault.ExitCode(err))
		})
	}
}

func TestOnlyTheFirstMismatchesAreListed(t *testing.T) {
	c, ok := ShapeByName("llama-2-7b")
	require.True(t, ok)
	folder, err := safetensors.OpenFolder(oracleModels + "llama2")
	require.NoError(t, err)
	defer folder.Close()
	err = CheckWeights(c, folder)
	require.Equal(t, maxMismatches-1, bytes.Count([]byte(err.Error()), []byte("\n")))
	require.Contains(t, err.Error(), filepath.Join(oracleModels, "llama2", "model.safetensors"))
}

func TestInverseFrequencies(t *testing.T) {
	llama3 := RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 32}
	for name, c := range map[string]struct {
		config Config
		want   []uint32 // bits of the float32 steps, worked out apart
	}{
		"default": {Config{RotaryDim: 16, RopeTheta: 10000}, []uint32{0x3f800000, 0x3ea1e89b, 0x3dcccccd, 0x3d0186e3, 0x3c23d70a, 0x3b4f3e38, 0x3a83126f, 0x39a5cb60}},
		"llama3": {Config{RotaryDim: 16, RopeTheta: 500000, RopeScaling: llama3},
			[]uint32{0x3f800000, 0x3cc693b0, 0x3b9a08c8, 0x3a6ef74f, 0x39395d21, 0x380fc8f8, 0x36df10c4, 0x35ad07a7}},
	} {
		got, scale := c.config.InvFreq(1)
		require.Equal(t, 1.0, scale)
		require.Len(t, got, len(c.want), name)
		for i := range got {
			require.Equal(t, c.want[i], math.Float32bits(got[i]), "%s %d", name, i)
		}
	}
}

func TestSmoothInverseFrequencies(t *testing.T) {
	c := Config{RotaryDim: 128, RopeTheta: 500000, RopeScaling: RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}}
	got, _ := c.InvFreq(1)
	want := []uint32{0x3b9e9402, 0x3b812e35, 0x3b527720, 0x3b0dfd06, 0x3ab3d11d, 0x3a60979e, 0x3a0995d2, 0x39a3f108, 0x393b2dd2, 0x38c86886}
	for i, bits := range want {
		require.Equal(t, bits, math.Float32bits(got[26+i]), "%d", 26+i)
	}
	c.RopeScaling = RopeScaling{Type: "linear", Factor: 4}
	linear, _ := c.InvFreq(1)
	c.RopeScaling = RopeScaling{Type: "default"}
	plain, _ := c.InvFreq(1)
	for i := range plain {
		require.Equal(t, plain[i]/4, linear[i])
	}
}
