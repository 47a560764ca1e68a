package surgery

import (
	"context"
	"fmt"
	"strings"

	"trainer/fault"
	"trainer/files/gguf"
	"trainer/files/safetensors"
	"trainer/llama"
)

// GGUFTypes are what weights can be stored in, as GGUF files are named by them.
var GGUFTypes = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q80}

// ggufFileTypes are the numbers of general.file_type.
var ggufFileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q80: 7, gguf.BF16: 32}

// ggufArchitectures are the families as GGUF names them.
var ggufArchitectures = map[string]string{"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3"}

// ggufNames are the tensors of GGUF by ours; those of a layer without its prefix.
var ggufNames = map[string]string{
	"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

// ggufName is GGUF's name of a tensor of the model, as model.layers.0.mlp.up_proj.weight.
func ggufName(tensor string) (string, error) {
	module, ending, prefix := tensor, "", ""
	if i := strings.LastIndexByte(tensor, '.'); i >= 0 {
		module, ending = tensor[:i], tensor[i:]
	}
	if layer, rest, ok := splitLayer(module); ok {
		module, prefix = rest, fmt.Sprintf("blk.%d.", layer)
	}
	if ggufNames[module] == "" {
		return "", fmt.Errorf("tensor %s has no name in GGUF", tensor)
	}
	return prefix + ggufNames[module] + ending, nil
}

// rotatedHalves is the number of rows of a head in which GGUF's llama wants the two halves
// of the rotary embedding side by side; 0 for tensors that stay as they are.
func rotatedHalves(c llama.Config, tensor string) int64 {
	if ggufArchitectures[c.ModelType] == "llama" && (strings.Contains(tensor, ".self_attn.q_proj.") || strings.Contains(tensor, ".self_attn.k_proj.")) {
		return int64(c.HeadDim)
	}
	return 0
}

// interleave puts row i of the second half of each head behind row i of the first. values
// are whole heads of d rows.
func interleave(values []float32, d, width int64) {
	head := make([]float32, d*width)
	for ; len(values) > 0; values = values[d*width:] {
		copy(head, values)
		for row := range d {
			half, i := row/(d/2), row%(d/2)
			copy(values[(2*i+half)*width:][:width], head[row*width:])
		}
	}
}

// WriteGGUF writes a model, its tokenizer included, as one GGUF file, durably. name is what
// the file calls it. src is the base or the base with an adapter merged. Vectors are stored
// as F32, and so are, as F16, matrices whose rows are no whole blocks.
func WriteGGUF(ctx context.Context, path, name string, base *Base, src Source, t gguf.Type) error {
	metadata, err := ggufModel(base.Config, name, t)
	if err != nil {
		return err
	}
	vocabulary, err := ggufVocabulary(base)
	if err != nil {
		return err
	}
	var tensors []gguf.Tensor
	factors := base.Config.RopeScaling.Factors(base.Config)
	if factors != nil {
		tensors = append(tensors, gguf.Tensor{Name: "rope_freqs.weight", Type: gguf.F32, Shape: []int64{int64(len(factors))}})
	}
	specs := base.Config.Tensors()
	for _, s := range specs {
		tensor := gguf.Tensor{Type: storedType(t, s.Shape), Shape: s.Shape}
		if tensor.Name, err = ggufName(s.Name); err != nil {
			return err
		}
		tensors = append(tensors, tensor)
	}
	w, err := gguf.Create(path, append(metadata, vocabulary...), tensors)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.Write("rope_freqs.weight", factors); err != nil {
		return err
	}
	tensors = tensors[len(tensors)-len(specs):]
	for i, s := range specs {
		if err := ggufTensor(ctx, w, tensors[i], base.Config, src, s); err != nil {
			return err
		}
	}
	return w.Commit()
}

// storedType is the type of a tensor where matrices are to be stored as t.
func storedType(t gguf.Type, shape []int64) gguf.Type {
	switch {
	case len(shape) == 1:
		return gguf.F32
	case !t.Fits(shape[1]):
		return gguf.F16
	}
	return t
}

// ggufTensor streams one tensor.
func ggufTensor(ctx context.Context, w *gguf.Writer, t gguf.Tensor, c llama.Config, src Source, s llama.TensorSpec) error {
	d := rotatedHalves(c, s.Name)
	_, width := rowsOf(s.Shape)
	if len(s.Shape) == 1 {
		width = 1 // a vector holds an element for each row
	}
	group := int64(1)
	if d > 0 && len(s.Shape) > 1 {
		group = d
	}
	return eachGroup(src, s.Name, s.Shape, group, func(_ int64, values []float32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d > 0 {
			interleave(values, d, width)
		}
		spec := safetensors.Spec{Name: s.Name, DType: t.Type.String()}
		if err := checkFits(spec, values); err != nil {
			return err
		}
		return w.Write(t.Name, values)
	})
}

// ggufModel is the metadata of the model itself.
func ggufModel(c llama.Config, name string, t gguf.Type) ([]gguf.Pair, error) {
	architecture := ggufArchitectures[c.ModelType]
	switch {
	case architecture == "":
		return nil, unsupportedByGGUF("model type " + c.ModelType)
	case c.ModelType == "qwen3" && c.QKVBias:
		return nil, unsupportedByGGUF("qwen3 with attention_bias")
	case c.RopeScaling.Type == "llama3" && architecture != "llama", c.RopeScaling.Type == "yarn", c.RopeScaling.Type == "longrope":
		return nil, unsupportedByGGUF(c.ModelType + " with the rope_type " + c.RopeScaling.Type)
	}
	pairs := []gguf.Pair{{Key: "general.architecture", Value: architecture}, {Key: "general.type", Value: "model"}, {Key: "general.name", Value: name},
		{Key: "general.file_type", Value: ggufFileTypes[t]}, {Key: "general.quantization_version", Value: uint32(2)}}
	set := func(key string, value any) {
		pairs = append(pairs, gguf.Pair{Key: architecture + "." + key, Value: value})
	}
	count := func(key string, n int) { set(key, uint32(n)) }
	count("vocab_size", c.VocabSize)
	count("context_length", c.MaxPositions)
	count("embedding_length", c.HiddenSize)
	count("block_count", c.NumLayers)
	count("feed_forward_length", c.IntermediateSize)
	count("attention.head_count", c.NumHeads)
	count("attention.head_count_kv", c.NumKVHeads)
	count("attention.key_length", c.HeadDim)
	count("attention.value_length", c.HeadDim)
	set("attention.layer_norm_rms_epsilon", float32(c.RMSNormEps))
	count("rope.dimension_count", c.RotaryDim)
	set("rope.freq_base", float32(c.RopeTheta))
	if c.RopeScaling.Type == "linear" {
		set("rope.scaling.type", "linear")
		set("rope.scaling.factor", float32(c.RopeScaling.Factor))
	}
	if architecture == "phi3" {
		count("attention.sliding_window", c.Window())
	}
	return pairs, nil
}

func unsupportedByGGUF(what string) error {
	return &fault.Error{Kind: fault.Files, Where: llama.ConfigName, Found: what, Want: "a model that GGUF's programs compute", Remedy: "export to another format"}
}
