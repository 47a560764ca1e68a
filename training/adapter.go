package training

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// storedNames are the dtypes of safetensors files that states are written in and base
// weights are read from.
var storedNames = map[abi.DType]string{abi.F32: "F32", abi.BF16: "BF16", abi.F16: "F16", abi.F64: "F64"}

// storedTypes is the inverse.
var storedTypes = func() map[string]abi.DType {
	types := map[string]abi.DType{}
	for d, name := range storedNames {
		types[name] = d
	}
	return types
}()

// adapterPart takes a trained parameter's name apart; ok is false where it is none of an
// adapter.
func adapterPart(name string) (module, part string, ok bool) {
	return peft.ParseKey("base_model.model." + name)
}

// LoadAdapter fills the adapters from a PEFT folder that has exactly this network's
// modules, ranks and scale. Errors are *fault.Error.
func (e *Engine) LoadAdapter(dir string) error {
	a, err := peft.ReadAdapter(dir)
	if err != nil {
		return err
	}
	defer a.File.Close()
	if err := e.Net.checkAdapter(dir, a); err != nil {
		return err
	}
	for _, t := range e.Net.Trained {
		module, part, _ := adapterPart(t.Name)
		info := a.Modules[module].A
		if part == peft.PartB {
			info = a.Modules[module].B
		}
		values, err := a.File.ReadFloat32(info)
		if err != nil {
			return err
		}
		if err := checkFinite(a.File.Path(), info.Name, values, 0); err != nil {
			return err
		}
		if err := e.Session.Write(nil, t.Value, 0, encode(nil, values, t.Value.DType)); err != nil {
			return err
		}
	}
	return nil
}

// checkAdapter compares an adapter with the network's.
func (n *Network) checkAdapter(dir string, a *peft.Adapter) error {
	refuse := func(field, found, want, remedy string) error {
		return &fault.Error{Kind: fault.Files, Where: filepath.Join(dir, peft.ConfigName), Field: field, Found: found, Want: want, Remedy: remedy}
	}
	if a.Config.UseDoRA || a.Config.UseRSLoRA || len(a.Config.RankPattern)+len(a.Config.AlphaPattern) > 0 {
		return refuse("", "an adapter with DoRA, rsLoRA or patterns of ranks", "plain LoRA", "name a plain LoRA adapter")
	}
	if scale := a.Config.Alpha / float64(a.Config.R); scale != n.LoRA.Scale() || int64(a.Config.R) != n.LoRA.Rank {
		return refuse("r, lora_alpha", fmt.Sprintf("%d, %g", a.Config.R, a.Config.Alpha), fmt.Sprintf("%d, %g", n.LoRA.Rank, n.LoRA.Alpha),
			fmt.Sprintf("set --lora_rank %d --lora_alpha %g", a.Config.R, a.Config.Alpha))
	}
	want := map[string]*op.Adapter{}
	for name, adapter := range n.adapters {
		want[moduleOf(name)] = adapter
	}
	for _, name := range slices.Sorted(maps.Keys(a.Modules)) {
		adapter, m := want[name], a.Modules[name]
		switch {
		case adapter == nil:
			return refuse("target_modules", "an adapter of "+name, "one of "+strings.Join(n.LoRA.Targets, ", "), "set --lora_target_modules to the adapter's")
		case !slices.Equal(m.A.Shape, adapter.A.Shape) || !slices.Equal(m.B.Shape, adapter.B.Shape):
			return &fault.Error{Kind: fault.Files, Where: a.File.Path(), Field: "module " + name, Found: fmt.Sprintf("shapes %v and %v", m.A.Shape, m.B.Shape),
				Want: fmt.Sprintf("%v and %v", adapter.A.Shape, adapter.B.Shape), Remedy: "name an adapter of this model"}
		}
		delete(want, name)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		return refuse("target_modules", "no adapter of "+name, "one of every target", "set --lora_target_modules to the adapter's")
	}
	return nil
}

// SaveAdapter writes the adapters as a PEFT folder, durably; base is what its config names
// as the model. The folder exists.
func (e *Engine) SaveAdapter(dir, base string) error {
	c := peft.Config{R: int(e.Net.LoRA.Rank), Alpha: e.Net.LoRA.Alpha, Dropout: e.Net.LoRA.Dropout,
		TargetModules: e.Net.LoRA.Targets, BaseModel: base}
	var tensors []peft.Tensor
	for _, t := range e.Net.Trained {
		module, part, _ := adapterPart(t.Name)
		tensors = append(tensors, peft.Tensor{Module: module, Part: part, DType: storedNames[t.Value.DType], Shape: t.Value.Shape,
			Data: func() (io.Reader, error) {
				raw, err := e.Session.Read(t.Value)
				return bytes.NewReader(raw), err
			}})
	}
	return peft.Write(dir, c, tensors)
}

// shardBytes is the most a file of a saved model holds, as Transformers splits them.
const shardBytes = 5_000_000_000

// SaveModel writes every parameter of a fully trained model into the folder, durably, in
// the dtype it was trained in.
func (e *Engine) SaveModel(dir string) error {
	var specs []safetensors.Spec
	for _, t := range e.Net.Trained {
		specs = append(specs, safetensors.Spec{Name: t.Name, DType: storedNames[t.Value.DType], Shape: t.Value.Shape})
	}
	w, err := safetensors.WriteSharded(dir, specs, shardBytes)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, t := range e.Net.Trained {
		raw, err := e.Session.Read(t.Value)
		if err != nil {
			return err
		}
		if err := w.Write(t.Name, raw); err != nil {
			return err
		}
	}
	return w.Commit()
}
