package surgery

import (
	"path/filepath"

	"trainer/fault"
	"trainer/files/gguf"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// WriteGGUFAdapter writes a LoRA adapter of a model as a GGUF file, durably. A program that
// runs it scales by alpha/rank, one alpha for all: rsLoRA's scales and alphas of single
// modules go into alpha and into B. Its A and B are stored as t, or as F16 where their rows
// are no whole blocks. An adapter with magnitudes cannot be written.
func WriteGGUFAdapter(path, name string, base *Base, a *Adapter, t gguf.Type) error {
	if err := a.checkModules(base); err != nil {
		return err
	}
	if a.Config.UseDoRA {
		return &fault.Error{Kind: fault.Files, Where: filepath.Join(a.Dir, peft.ConfigName), Field: "use_dora", Found: "true", Want: "false: GGUF has no DoRA",
			Remedy: "export the merged model with --merge"}
	}
	architecture := ggufArchitectures[base.Config.ModelType]
	if architecture == "" {
		return unsupportedByGGUF("model type " + base.Config.ModelType)
	}
	_, scale := a.uniform()
	alpha := scale * float64(a.Config.R)
	metadata := []gguf.Pair{{Key: "general.architecture", Value: architecture}, {Key: "general.type", Value: "adapter"}, {Key: "general.name", Value: name},
		{Key: "general.file_type", Value: ggufFileTypes[t]}, {Key: "adapter.type", Value: "lora"}, {Key: "adapter.lora.alpha", Value: float32(alpha)}}
	var tensors []gguf.Tensor
	for _, module := range a.Modules() {
		name, err := ggufName(module + ".weight")
		if err != nil {
			return err
		}
		m := a.parts[module]
		tensors = append(tensors, gguf.Tensor{Name: name + ".lora_a", Type: storedType(t, m.A.Shape), Shape: m.A.Shape},
			gguf.Tensor{Name: name + ".lora_b", Type: storedType(t, m.B.Shape), Shape: m.B.Shape})
	}
	w, err := gguf.Create(path, metadata, tensors)
	if err != nil {
		return err
	}
	defer w.Abort()
	for i, module := range a.Modules() {
		if err := a.writeGGUFModule(w, module, base, alpha, tensors[2*i:2*i+2]); err != nil {
			return err
		}
	}
	return w.Commit()
}

// writeGGUFModule writes A and B of a module as the two tensors.
func (a *Adapter) writeGGUFModule(w *gguf.Writer, module string, base *Base, alpha float64, tensors []gguf.Tensor) error {
	p, err := a.read(module)
	if err != nil {
		return err
	}
	b := p.scaledB(alpha / float64(p.rank))
	if d := rotatedHalves(base.Config, module+".weight"); d > 0 {
		interleave(b, d, p.rank)
	}
	for i, values := range [][]float32{p.a, b} {
		if err := checkFits(safetensors.Spec{Name: tensors[i].Name, DType: tensors[i].Type.String()}, values); err != nil {
			return err
		}
		if err := w.Write(tensors[i].Name, values); err != nil {
			return err
		}
	}
	return nil
}
