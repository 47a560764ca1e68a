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
	"tinyllama-1.1b": sized(Config{VocabSize: 32000, MaxPositions: 2048, RopeTheta: 10000, BOS: 1, EOS: []int{2}}, 2048, 5632, 22, 32, 4),
	"smollm2-135m":   smollm2(100000, 576, 1536, 30, 9, 3),
	"smollm2-360m":   smollm2(100000, 960, 2560, 32, 15, 5),
	"smollm2-1.7b":   smollm2(130000, 2048, 8192, 24, 32, 32),
}

func llama2(hidden, intermediate, layers, heads, kvHeads int) Config {
	return sized(Config{VocabSize: 32000, MaxPositions: 4096, RopeTheta: 10000, BOS: 1, EOS: []int{2}}, hidden, intermediate, layers, heads, kvHeads)
}

func llama3(hidden, intermediate, layers, heads, kvHeads int) Config {
	return sized(Config{VocabSize: 128256, MaxPositions: 8192, RopeTheta: 500000, BOS: 128000, EOS: []int{128001}}, hidden, intermediate, layers, heads, kvHeads)
}

func smollm2(theta float64, hidden, intermediate, layers, heads, kvHeads int) Config {
	return sized(Config{VocabSize: 49152, MaxPositions: 8192, RopeTheta: theta, TieWordEmbeddings: true, EOS: []int{0}}, hidden, intermediate, layers, heads, kvHeads)
}

// sized completes a config whose heads fill the hidden size.
func sized(c Config, hidden, intermediate, layers, heads, kvHeads int) Config {
	c.ModelType, c.Architectures = "llama", []string{families["llama"]}
	c.HiddenSize, c.IntermediateSize, c.NumLayers = hidden, intermediate, layers
	c.NumHeads, c.NumKVHeads, c.HeadDim = heads, kvHeads, hidden/heads
	c.RMSNormEps, c.TorchDType, c.PAD = 1e-5, "bfloat16", -1
	c.RopeScaling.Type = "default"
	return c
}

// ShapeByName is the config of a known model, as llama-2-7b, without its weights.
func ShapeByName(name string) (Config, bool) {
	c, ok := shapes[name]
	c.EOS, c.Architectures = slices.Clone(c.EOS), slices.Clone(c.Architectures)
	return c, ok
}

// ShapeNames lists what ShapeByName knows.
func ShapeNames() []string { return slices.Sorted(maps.Keys(shapes)) }
