package llama

import (
	"maps"
	"slices"
)

// shapes are the published sizes of known models.
var shapes = map[string]Config{
	"llama-2-7b":     llama2(4096, 11008, 32, 32, 32),
	"llama-2-13b":    llama2(5120, 13824, 40, 40, 40),
	"llama-2-70b":    llama2(8192, 28672, 80, 64, 8),
	"llama-3-8b":     llama3(4096, 14336, 32, 32, 8),
	"llama-3-70b":    llama3(8192, 28672, 80, 64, 8),
	"tinyllama-1.1b": of("llama", Config{VocabSize: 32000, MaxPositions: 2048, RopeTheta: 10000, BOS: 1, EOS: []int{2}}, 2048, 5632, 22, 32, 4),
	"smollm2-135m":   smollm2(100000, 576, 1536, 30, 9, 3),
	"smollm2-360m":   smollm2(100000, 960, 2560, 32, 15, 5),
	"smollm2-1.7b":   smollm2(130000, 2048, 8192, 24, 32, 32),
	"mistral-7b":     mistral7B(),
	"qwen2.5-0.5b":   qwen2(151936, 32768, true, 896, 4864, 24, 14, 2),
	"qwen2.5-1.5b":   qwen2(151936, 131072, true, 1536, 8960, 28, 12, 2),
	"qwen2.5-7b":     qwen2(152064, 131072, false, 3584, 18944, 28, 28, 4),
	"qwen3-0.6b":     qwen3(true, 1024, 3072, 28, 16, 8),
	"qwen3-8b":       qwen3(false, 4096, 12288, 36, 32, 8),
	"phi-3-mini":     phi3Mini(),
}

func llama2(hidden, intermediate, layers, heads, kvHeads int) Config {
	return of("llama", Config{VocabSize: 32000, MaxPositions: 4096, RopeTheta: 10000, BOS: 1, EOS: []int{2}}, hidden, intermediate, layers, heads, kvHeads)
}

func llama3(hidden, intermediate, layers, heads, kvHeads int) Config {
	return of("llama", Config{VocabSize: 128256, MaxPositions: 8192, RopeTheta: 500000, BOS: 128000, EOS: []int{128001}}, hidden, intermediate, layers, heads, kvHeads)
}

func smollm2(theta float64, hidden, intermediate, layers, heads, kvHeads int) Config {
	return of("llama", Config{VocabSize: 49152, MaxPositions: 8192, RopeTheta: theta, TieWordEmbeddings: true, EOS: []int{0}}, hidden, intermediate, layers, heads, kvHeads)
}

// mistral7B is Mistral 7B v0.1: later versions have no window.
func mistral7B() Config {
	c := of("mistral", Config{VocabSize: 32000, MaxPositions: 32768, RopeTheta: 10000, BOS: 1, EOS: []int{2}}, 4096, 14336, 32, 32, 8)
	c.Windows = slices.Repeat([]int{4096}, c.NumLayers)
	return c
}

func qwen2(vocab, positions int, tied bool, hidden, intermediate, layers, heads, kvHeads int) Config {
	c := Config{VocabSize: vocab, MaxPositions: positions, RopeTheta: 1e6, TieWordEmbeddings: tied, BOS: 151643, EOS: []int{151643}}
	c = of("qwen2", c, hidden, intermediate, layers, heads, kvHeads)
	c.RMSNormEps = 1e-6
	return c
}

func qwen3(tied bool, hidden, intermediate, layers, heads, kvHeads int) Config {
	c := Config{VocabSize: 151936, MaxPositions: 40960, RopeTheta: 1e6, TieWordEmbeddings: tied, BOS: 151643, EOS: []int{151645}}
	c = of("qwen3", c, hidden, intermediate, layers, heads, kvHeads)
	c.HeadDim, c.RotaryDim, c.RMSNormEps = 128, 128, 1e-6
	return c
}

// phi3Mini is Phi-3-mini-4k-instruct.
func phi3Mini() Config {
	c := of("phi3", Config{VocabSize: 32064, MaxPositions: 4096, RopeTheta: 10000, BOS: 1, EOS: []int{32000}}, 3072, 8192, 32, 32, 32)
	c.Windows = slices.Repeat([]int{2047}, c.NumLayers)
	return c
}

// of completes a config of a family whose heads fill the hidden size.
func of(modelType string, c Config, hidden, intermediate, layers, heads, kvHeads int) Config {
	m := families[modelType]
	c.ModelType, c.Architectures = modelType, []string{m.architecture}
	c.QKVBias, c.QKNorm, c.Fused = m.qkvBias, m.qkNorm, m.fused
	c.HiddenSize, c.IntermediateSize, c.NumLayers = hidden, intermediate, layers
	c.NumHeads, c.NumKVHeads, c.HeadDim, c.RotaryDim = heads, kvHeads, hidden/heads, hidden/heads
	c.RMSNormEps, c.TorchDType, c.PAD = 1e-5, "bfloat16", -1
	c.RopeScaling.Type = "default"
	return c
}

// ShapeByName is the config of a known model, as llama-2-7b, without its weights.
func ShapeByName(name string) (Config, bool) {
	c, ok := shapes[name]
	c.EOS, c.Architectures, c.Windows = slices.Clone(c.EOS), slices.Clone(c.Architectures), slices.Clone(c.Windows)
	return c, ok
}

// ShapeNames lists what ShapeByName knows.
func ShapeNames() []string { return slices.Sorted(maps.Keys(shapes)) }
