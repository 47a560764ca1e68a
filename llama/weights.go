package llama

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/safetensors"
)

// TensorSpec is one parameter under its checkpoint name. Matrices are [out, in].
type TensorSpec struct {
	Name  string
	Shape []int64
}

// Tensors lists every parameter of the model: embedding, layers, final norm, and the head
// unless it is tied.
func (c Config) Tensors() []TensorSpec {
	hidden, vocab := int64(c.HiddenSize), int64(c.VocabSize)
	specs := make([]TensorSpec, 0, 9*c.NumLayers+3)
	specs = append(specs, TensorSpec{embedding, []int64{vocab, hidden}})
	for i := range c.NumLayers {
		for _, t := range c.layerTensors() {
			specs = append(specs, TensorSpec{fmt.Sprintf("model.layers.%d.%s.weight", i, t.Name), t.Shape})
		}
	}
	specs = append(specs, TensorSpec{"model.norm.weight", []int64{hidden}})
	if !c.TieWordEmbeddings {
		specs = append(specs, TensorSpec{head, []int64{vocab, hidden}})
	}
	return specs
}

// layerTensors are the parameters of one layer, in the order they are used.
func (c Config) layerTensors() []TensorSpec {
	hidden, inner, d := int64(c.HiddenSize), int64(c.IntermediateSize), int64(c.HeadDim)
	q, kv := int64(c.NumHeads)*d, int64(c.NumKVHeads)*d
	return []TensorSpec{
		{"input_layernorm", []int64{hidden}},
		{"self_attn.q_proj", []int64{q, hidden}},
		{"self_attn.k_proj", []int64{kv, hidden}},
		{"self_attn.v_proj", []int64{kv, hidden}},
		{"self_attn.o_proj", []int64{hidden, q}},
		{"post_attention_layernorm", []int64{hidden}},
		{"mlp.gate_proj", []int64{inner, hidden}},
		{"mlp.up_proj", []int64{inner, hidden}},
		{"mlp.down_proj", []int64{hidden, inner}},
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
// anything is allocated: every name, shape and a float dtype. A tensor the model does not
// have is refused, but for the rotary tables of old checkpoints and the head of a tied
// model. Mismatches are joined *fault.Error of kind Files, the first few.
func CheckWeights(c Config, folder *safetensors.Folder) error {
	var found []error
	known := map[string]bool{}
	check := func(t TensorSpec) {
		known[t.Name] = true
		if err := checkTensor(t, folder); err != nil {
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
		if !known[name] && !strings.HasSuffix(name, ".rotary_emb.inv_freq") && len(found) < maxMismatches {
			found = append(found, mismatch(folder.Path(name), name, "a tensor this model does not have", "the tensors "+ConfigName+" describes"))
		}
	}
	return errors.Join(found...)
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
