package llama

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/jsonstrict"
	"trainer/files/quantised"
	"trainer/files/safetensors"
)

// TensorSpec is one parameter under its checkpoint name. Matrices are [out, in], biases [out].
type TensorSpec struct {
	Name  string
	Shape []int64
}

// Tensors lists every parameter of the model: embedding, layers, final norm, and the head
// unless it is tied.
func (c Config) Tensors() []TensorSpec {
	hidden, vocab := int64(c.HiddenSize), int64(c.VocabSize)
	specs := make([]TensorSpec, 0, len(c.layerTensors())*c.NumLayers+3)
	specs = append(specs, TensorSpec{embedding, []int64{vocab, hidden}})
	for i := range c.NumLayers {
		for _, t := range c.layerTensors() {
			specs = append(specs, TensorSpec{layerName(i, t.Name), t.Shape})
		}
	}
	specs = append(specs, TensorSpec{"model.norm.weight", []int64{hidden}})
	if !c.TieWordEmbeddings {
		specs = append(specs, TensorSpec{head, []int64{vocab, hidden}})
	}
	return specs
}

// layerName is the checkpoint name of a layer's parameter.
func layerName(layer int, parameter string) string {
	return fmt.Sprintf("model.layers.%d.%s", layer, parameter)
}

// layerTensors are the parameters of one layer.
func (c Config) layerTensors() []TensorSpec {
	hidden, d := int64(c.HiddenSize), int64(c.HeadDim)
	specs := []TensorSpec{{"input_layernorm.weight", []int64{hidden}}, {"post_attention_layernorm.weight", []int64{hidden}}}
	if c.QKNorm {
		specs = append(specs, TensorSpec{"self_attn.q_norm.weight", []int64{d}}, TensorSpec{"self_attn.k_norm.weight", []int64{d}})
	}
	for _, p := range c.layerProjections() {
		specs = append(specs, TensorSpec{p.name + ".weight", []int64{p.out, p.in}})
		if p.bias {
			specs = append(specs, TensorSpec{p.name + ".bias", []int64{p.out}})
		}
	}
	return specs
}

// projection is one matrix of a layer, [out, in], with or without a bias.
type projection struct {
	name    string
	out, in int64
	bias    bool
}

// layerProjections are the matrices of one layer.
func (c Config) layerProjections() []projection {
	return slices.Concat(c.qkv(), []projection{c.out()}, c.gateUp(), []projection{c.down()})
}

// out is the matrix behind the heads.
func (c Config) out() projection {
	return projection{"self_attn.o_proj", int64(c.HiddenSize), int64(c.NumHeads) * int64(c.HeadDim), c.OutBias}
}

// down is the matrix behind SwiGLU.
func (c Config) down() projection {
	return projection{"mlp.down_proj", int64(c.HiddenSize), int64(c.IntermediateSize), c.MLPBias}
}

// qkv are the matrices that make queries, keys and values.
func (c Config) qkv() []projection {
	hidden, d := int64(c.HiddenSize), int64(c.HeadDim)
	q, kv := int64(c.NumHeads)*d, int64(c.NumKVHeads)*d
	if c.Fused {
		return []projection{{"self_attn.qkv_proj", q + 2*kv, hidden, c.QKVBias}}
	}
	return []projection{
		{"self_attn.q_proj", q, hidden, c.QKVBias},
		{"self_attn.k_proj", kv, hidden, c.QKVBias},
		{"self_attn.v_proj", kv, hidden, c.QKVBias},
	}
}

// gateUp are the matrices that SwiGLU reads.
func (c Config) gateUp() []projection {
	hidden, inner := int64(c.HiddenSize), int64(c.IntermediateSize)
	if c.Fused {
		return []projection{{"mlp.gate_up_proj", 2 * inner, hidden, c.MLPBias}}
	}
	return []projection{
		{"mlp.gate_proj", inner, hidden, c.MLPBias},
		{"mlp.up_proj", inner, hidden, c.MLPBias},
	}
}

// ParamCount is the number of parameters; a tied head counts once.
func (c Config) ParamCount() int64 {
	perLayer := int64(0)
	for _, t := range c.layerTensors() {
		perLayer += t.count()
	}
	table := int64(c.VocabSize) * int64(c.HiddenSize)
	total := table + int64(c.NumLayers)*perLayer + int64(c.HiddenSize)
	if !c.TieWordEmbeddings {
		total += table
	}
	return total
}

func (t TensorSpec) count() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// maxMismatches is how many sentences CheckWeights returns at most.
const maxMismatches = 5

// CheckWeights compares the tensors of a folder with what the config asks for, before
// anything is allocated: every name, shape and, but for matrices stored quantised, a float
// dtype. A tensor the model does not
// have is refused, but for the rotary tables of old checkpoints and the head of a tied
// model. Mismatches are joined *fault.Error of kind Files, the first few.
func CheckWeights(c Config, folder *safetensors.Folder) error {
	stored, err := Quantised(c, folder)
	if err != nil {
		return err
	}
	var found []error
	known, parts := map[string]bool{}, map[string]bool{} // tensors, and modules of which there may be more
	check := func(t TensorSpec) {
		known[t.Name] = true
		var err error
		if stored.Has(t.Name) {
			parts[strings.TrimSuffix(t.Name, ".weight")] = true
			err = checkQuantised(t, folder, stored)
		} else {
			err = checkTensor(t, folder)
		}
		if err != nil {
			found = append(found, err)
		}
	}
	for _, t := range c.Tensors() {
		if check(t); len(found) == maxMismatches {
			return errors.Join(found...)
		}
	}
	if _, ok := folder.Tensor(head); ok && c.TieWordEmbeddings {
		check(TensorSpec{head, []int64{int64(c.VocabSize), int64(c.HiddenSize)}})
	}
	for _, name := range folder.Names() {
		if !known[name] && !isPart(name, parts) && !strings.HasSuffix(name, ".rotary_emb.inv_freq") && len(found) < maxMismatches {
			found = append(found, mismatch(folder.Path(name), name, "a tensor this model does not have", "the tensors "+ConfigName+" describes"))
		}
	}
	return errors.Join(found...)
}

// Quantised reads the parameters that a folder has quantised.
func Quantised(c Config, folder *safetensors.Folder) (*quantised.Reader, error) {
	text := []byte("{}")
	if c.raw.Kind() == jsonstrict.Object {
		text = jsonstrict.Marshal(c.raw)
	}
	return quantised.NewReader(folder, text)
}

// isPart tells whether a tensor lies beside the codes of a quantised module. Its bias does not.
func isPart(tensor string, modules map[string]bool) bool {
	for i, c := range tensor {
		if c == '.' && modules[tensor[:i]] {
			return tensor[i:] != ".bias"
		}
	}
	return false
}

func checkQuantised(t TensorSpec, folder *safetensors.Folder, stored *quantised.Reader) error {
	w, err := stored.Describe(t.Name)
	if err == nil && !slices.Equal([]int64{w.Out, w.In}, t.Shape) {
		err = mismatch(folder.Path(stored.Codes(t.Name)), t.Name, fmt.Sprintf("shape [%d %d]", w.Out, w.In), fmt.Sprintf("%v, as %s says", t.Shape, ConfigName))
	}
	return err
}

func checkTensor(t TensorSpec, folder *safetensors.Folder) error {
	info, ok := folder.Tensor(t.Name)
	switch {
	case !ok:
		return mismatch(strings.Join(clip(folder.Files()), ", "), t.Name, "no such tensor", fmt.Sprintf("shape %v", t.Shape))
	case !slices.Equal(info.Shape, t.Shape):
		return mismatch(folder.Path(t.Name), t.Name, fmt.Sprintf("shape %v", info.Shape), fmt.Sprintf("%v, as %s says", t.Shape, ConfigName))
	case !safetensors.IsFloat(info.DType):
		return mismatch(folder.Path(t.Name), t.Name, "dtype "+info.DType, "F32, BF16, F16 or F64")
	}
	return nil
}

// clip shortens a long list of files for a sentence.
func clip(files []string) []string {
	if len(files) > 3 {
		return append(files[:2:2], fmt.Sprintf("… (%d files)", len(files)))
	}
	return files
}

func mismatch(where, tensor, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: where, Field: fmt.Sprintf("tensor %q", tensor), Found: found, Want: want,
		Remedy: "fetch config and weights of one and the same model"}
}
