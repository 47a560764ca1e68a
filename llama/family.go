package llama

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/jsonstrict"
)

// family is what sets one kind of model apart: how its config is read, and the parts its
// layers have. The forward pass is one and the same.
type family struct {
	architecture  string
	attentionBias bool // attention_bias gives q, k, v and o biases
	mlpBias       bool // mlp_bias gives the three matrices behind attention biases
	qkvBias       bool // q, k and v have biases, whatever the config says
	qkNorm        bool // queries and keys are normalised by head before they are rotated
	fused         bool // one matrix makes q, k and v, one gate and up
	partialRotary bool // partial_rotary_factor may be less than 1
	windows       windowing
	absent        sizes
}

// sizes are what Transformers takes where a config says nothing; 0 = what follows from others.
type sizes struct {
	kvHeads, headDim, positions, window int
	eps                                 float64
}

// windowing is how a config says which keys a query sees.
type windowing uint8

const (
	unwindowed     windowing = iota // all up to its own
	oneWindow                       // sliding_window of them, in every layer
	windowByLayers                  // likewise in some layers, where use_sliding_window says so
)

// families are the model types read here.
var families = map[string]family{
	"llama": {architecture: "LlamaForCausalLM", attentionBias: true, mlpBias: true, absent: sizes{positions: 2048, eps: 1e-6}},
	"mistral": {architecture: "MistralForCausalLM", windows: oneWindow,
		absent: sizes{kvHeads: 8, positions: 131072, window: 4096, eps: 1e-6}},
	"qwen2": {architecture: "Qwen2ForCausalLM", qkvBias: true, windows: windowByLayers,
		absent: sizes{kvHeads: 32, positions: 32768, window: 4096, eps: 1e-6}},
	"qwen3": {architecture: "Qwen3ForCausalLM", attentionBias: true, qkNorm: true, windows: windowByLayers,
		absent: sizes{kvHeads: 32, headDim: 128, positions: 32768, window: 4096, eps: 1e-6}},
	"phi3": {architecture: "Phi3ForCausalLM", fused: true, partialRotary: true, windows: oneWindow, absent: sizes{positions: 4096, eps: 1e-5}},
}

// readFamily refuses models of another architecture.
func (c *Config) readFamily(f *jsonstrict.Fields) family {
	c.ModelType, c.Architectures = f.String("model_type", ""), f.Strings("architectures")
	m, ok := families[c.ModelType]
	if !ok || len(c.Architectures) > 0 && !slices.Contains(c.Architectures, m.architecture) {
		var known []string
		for _, modelType := range slices.Sorted(maps.Keys(families)) {
			known = append(known, fmt.Sprintf("%s (%s)", modelType, families[modelType].architecture))
		}
		f.Refuse("model_type", fmt.Sprintf("%.40q with architectures %.80q", c.ModelType, c.Architectures),
			"one of "+strings.Join(known, ", "), "choose a model of a supported architecture")
	}
	c.QKNorm, c.Fused = m.qkNorm, m.fused
	return m
}

// readBiases decides which projections have biases.
func (c *Config) readBiases(f *jsonstrict.Fields, m family) {
	stated := func(name string, supported bool) bool {
		yes := f.Bool(name, false)
		if yes && !supported {
			f.Refuse(name, "true", "false", unsupported)
		}
		return yes
	}
	attention := stated("attention_bias", m.attentionBias)
	c.QKVBias, c.OutBias, c.MLPBias = attention || m.qkvBias, attention, stated("mlp_bias", m.mlpBias)
}

// readWindows reads how many keys a query sees in each layer.
func (c *Config) readWindows(f *jsonstrict.Fields, m family) {
	if m.windows == unwindowed {
		return
	}
	window := int(f.Int("sliding_window", 0, 1, maxPositions))
	if _, stated := f.Value().Get("sliding_window"); !stated { // null says that there is none
		window = m.absent.window
	}
	isWindowed := func(int) bool { return true }
	if m.windows == windowByLayers {
		if !f.Bool("use_sliding_window", false) {
			window = 0
		}
		isWindowed = c.windowedLayers(f, window)
	}
	if window == 0 || f.Err() != nil {
		return
	}
	c.Windows = make([]int, c.NumLayers)
	for i := range c.Windows {
		if isWindowed(i) {
			c.Windows[i] = window
		}
	}
}

// defaultWindowed is the first layer with a window where a config does not say.
const defaultWindowed = 28

// windowedLayers reads layer_types, or else that layers from max_window_layers on have
// windows.
func (c *Config) windowedLayers(f *jsonstrict.Fields, window int) func(layer int) bool {
	first := int(f.Int("max_window_layers", defaultWindowed, 0, maxLayers))
	types := f.Strings("layer_types")
	if types == nil {
		return func(layer int) bool { return layer >= first }
	}
	const sliding, full = "sliding_attention", "full_attention"
	if len(types) != c.NumLayers {
		f.Refuse("layer_types", fmt.Sprintf("%d entries", len(types)), fmt.Sprintf("one for each of %d layers", c.NumLayers), "correct the file")
	}
	for _, name := range types {
		switch {
		case name != sliding && name != full:
			f.Refuse("layer_types", fmt.Sprintf("%.40q", name), full+" or "+sliding, unsupported)
		case name == sliding && window == 0:
			f.Refuse("layer_types", sliding, "a sliding_window, and use_sliding_window, to go with it", "correct the file")
		}
	}
	return func(layer int) bool { return types[layer] == sliding }
}

// window is how many keys a query of a layer sees, its own included; 0 = all up to its own.
func (c Config) window(layer int) int64 {
	if c.Windows == nil {
		return 0
	}
	return int64(c.Windows[layer])
}

// fusedParts maps projections to those that hold them in families that fuse.
var fusedParts = map[string]string{"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}

// Targets are the projections of this model that adapters named so attach to: a part of a
// fused one stands for the whole. The error for names it does not have is a *fault.Error of
// kind Usage.
func (c Config) Targets(names []string) ([]string, error) {
	var has, targets []string
	for _, p := range c.layerProjections() {
		has = append(has, p.name[strings.LastIndexByte(p.name, '.')+1:])
	}
	for _, name := range names {
		target := name
		if !slices.Contains(has, name) {
			target = fusedParts[name]
		}
		if !slices.Contains(has, target) {
			return nil, &fault.Error{Kind: fault.Usage, Where: "--lora_target_modules", Found: fmt.Sprintf("%.80q", name),
				Want: "projections of " + c.ModelType + ": " + strings.Join(has, ", ")}
		}
		if !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	return targets, nil
}
