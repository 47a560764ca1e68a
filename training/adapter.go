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
	"trainer/core/model"
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

// LoadAdapter fills the adapters from a PEFT folder that has exactly this network's
// modules, ranks and scales. Errors are *fault.Error.
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
		info, _ := a.File.Tensor(peft.KeyPrefix + t.Name)
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
	mine := n.adapterConfig()
	if a.Config.UseDoRA != mine.UseDoRA {
		return refuse("use_dora", fmt.Sprint(a.Config.UseDoRA), fmt.Sprint(mine.UseDoRA), "choose a --train_type of its kind: with dora in its name for DoRA, else with lora")
	}
	for _, module := range slices.Sorted(maps.Keys(a.Modules)) {
		rank, scale := n.LoRA.of(module)
		theirs, err := a.Config.Scale(module)
		if err != nil {
			return err
		}
		if a.Modules[module].A.Shape[0] != rank || theirs != scale {
			return refuse("r, lora_alpha", shapeText(a.Config), shapeText(mine), "set "+adapterFlags(a.Config))
		}
	}
	return n.checkTensors(refuse, a)
}

// checkTensors compares what an adapter's file holds with what is trained.
func (n *Network) checkTensors(refuse func(field, found, want, remedy string) error, a *peft.Adapter) error {
	const remedy = "set --lora_target_modules to the adapter's"
	want := map[string]*op.Value{}
	for _, t := range n.Trained {
		want[peft.KeyPrefix+t.Name] = t.Value
	}
	for _, key := range a.File.Names() {
		info, _ := a.File.Tensor(key)
		module, _, _ := peft.ParseKey(key)
		switch v := want[key]; {
		case v == nil:
			return refuse("target_modules", "an adapter of "+module, "one of "+strings.Join(n.LoRA.Targets, ", "), remedy)
		case !slices.Equal(info.Shape, v.Shape):
			return &fault.Error{Kind: fault.Files, Where: a.File.Path(), Field: fmt.Sprintf("tensor %.160q", key), Found: fmt.Sprintf("shape %v", info.Shape),
				Want: fmt.Sprint(v.Shape), Remedy: "name an adapter of this model"}
		}
		delete(want, key)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		module, _, _ := peft.ParseKey(key)
		return refuse("target_modules", "no adapter of "+module, "one of every target", remedy)
	}
	return nil
}

// shapeText is ranks and alphas for a sentence.
func shapeText(c peft.Config) string {
	return strings.NewReplacer("--lora_rank ", "", " --lora_alpha", ",", " --", ", ").Replace(adapterFlags(c))
}

// adapterFlags are the settings by which a run has an adapter's ranks and scales.
func adapterFlags(c peft.Config) string {
	flags := fmt.Sprintf("--lora_rank %d --lora_alpha %g", c.R, c.Alpha)
	if c.UseRSLoRA {
		flags += " --use_rslora"
	}
	if len(c.RankPattern) > 0 {
		flags += " --rank_pattern " + patternText(c.RankPattern)
	}
	if len(c.AlphaPattern) > 0 {
		flags += " --alpha_pattern " + patternText(c.AlphaPattern)
	}
	return flags
}

// patternText is a pattern as a person types it.
func patternText[T any](values map[string]T) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, fmt.Sprintf("%s=%v", name, values[name]))
	}
	return strings.Join(pairs, ",")
}

// adapterConfig is what PEFT's files say of the adapters.
func (n *Network) adapterConfig() peft.Config {
	c := n.LoRA.config()
	for _, t := range n.Trained {
		_, part, _ := peft.ParseKey(peft.KeyPrefix + t.Name)
		c.UseDoRA = c.UseDoRA || part == peft.PartMagnitude
	}
	return c
}

// SaveAdapter writes the adapters as a PEFT folder, durably; base is what its config names
// as the model. The folder exists.
func (e *Engine) SaveAdapter(dir, base string) error {
	c := e.Net.adapterConfig()
	c.BaseModel = base
	var tensors []peft.Tensor
	for _, t := range e.Net.Trained {
		module, part, ok := peft.ParseKey(peft.KeyPrefix + t.Name)
		if !ok {
			return fmt.Errorf("PEFT has no name for %s", t.Name)
		}
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

// SaveModel writes the whole model into the folder, durably: what was trained in the dtype it
// was trained in, the rest as its source has it, which is not quantised.
func (e *Engine) SaveModel(dir string) error {
	trained := map[string]*op.Value{}
	for _, t := range e.Net.Trained {
		trained[t.Name] = t.Value
	}
	dtype := func(name string) abi.DType {
		if v := trained[name]; v != nil {
			return v.DType
		}
		return e.uses.Source.DType(name)
	}
	var specs []safetensors.Spec
	for _, spec := range e.Net.Model.Specs() {
		specs = append(specs, safetensors.Spec{Name: spec.Name, DType: storedNames[dtype(spec.Name)], Shape: spec.Shape})
	}
	w, err := safetensors.WriteSharded(dir, specs, shardBytes)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, spec := range e.Net.Model.Specs() {
		raw, err := e.parameter(spec, trained[spec.Name])
		if err != nil {
			return err
		}
		if err := w.Write(spec.Name, raw); err != nil {
			return err
		}
	}
	return w.Commit()
}

// parameter is a tensor's bytes: of a trained value, else of the source.
func (e *Engine) parameter(spec model.Spec, trained *op.Value) ([]byte, error) {
	if trained != nil {
		return e.Session.Read(trained)
	}
	raw := make([]byte, spec.Count()*int64(e.uses.Source.DType(spec.Name).Size()))
	return raw, e.uses.Source.ReadAt(spec.Name, raw, 0)
}
