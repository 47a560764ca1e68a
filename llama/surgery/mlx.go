package surgery

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// The files of an adapter folder of mlx_lm. Its matrices are transposed: lora_a [in, r],
// lora_b [r, out]; scale stands for alpha/r.
const (
	mlxWeightsName = "adapters.safetensors"
	mlxConfigName  = "adapter_config.json"
)

var mlxParts = map[string]string{peft.PartA: ".lora_a", peft.PartB: ".lora_b", peft.PartMagnitude: ".m"}

func (i *Import) readMLX(dir string) error {
	i.Format = "an mlx_lm adapter"
	d, err := modeldir.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	scale, err := i.readMLXConfig(d)
	if err != nil {
		return err
	}
	if i.file, err = safetensors.OpenIn(d, mlxWeightsName); err != nil {
		return err
	}
	for _, name := range i.file.Names() {
		info, _ := i.file.Tensor(name)
		found := false
		for part, ending := range mlxParts {
			if module, ok := strings.CutSuffix(name, ending); ok && (part != peft.PartMagnitude || i.Config.UseDoRA) {
				found = true
				if err := i.keep(module, part, stored{info, part != peft.PartMagnitude}); err != nil {
					return err
				}
			}
		}
		if !found {
			return i.refuse(name, "a tensor that is no part of a LoRA adapter", "names as MODULE.lora_a")
		}
	}
	i.rank()
	i.Config.Alpha = scale * float64(i.Config.R)
	i.Config.AlphaPattern = map[string]float64{}
	for module, r := range i.Config.RankPattern {
		i.Config.AlphaPattern[module] = scale * float64(r)
	}
	return nil
}

func (i *Import) readMLXConfig(d *modeldir.Dir) (scale float64, err error) {
	text, err := d.ReadFile(mlxConfigName, 1<<20)
	if err != nil {
		return 0, err
	}
	f, err := jsonstrict.ParseFields(d.Path(mlxConfigName), text, jsonstrict.Limits{Bytes: 1 << 20})
	if err != nil {
		return 0, err
	}
	kind := f.String("fine_tune_type", "lora")
	if kind != "lora" && kind != "dora" {
		f.Refuse("fine_tune_type", fmt.Sprintf("%.40q", kind), "lora or dora", "name an adapter")
	}
	i.Config.UseDoRA = kind == "dora"
	f.Require("lora_parameters")
	if p := f.Object("lora_parameters"); p != nil {
		p.Require("scale")
		scale = p.Float("scale", 1, -math.MaxFloat32, math.MaxFloat32)
		i.Config.Dropout = p.Float("dropout", 0, 0, 1)
	}
	i.Config.BaseModel = f.String("model", "")
	return scale, f.Err()
}

// WriteMLX writes an adapter of a model as mlx_lm's, durably. The folder exists. mlx_lm has
// one rank and one scale: lower ranks are filled up with zeros, and other scales go into B.
func WriteMLX(dir string, base *Base, a *Adapter) error {
	if err := a.checkModules(base); err != nil {
		return err
	}
	rank, scale := a.uniform()
	keys, err := a.mlxKeys()
	if err != nil {
		return err
	}
	var specs []safetensors.Spec
	for _, module := range a.Modules() {
		m := a.parts[module]
		specs = append(specs, safetensors.Spec{Name: module + mlxParts[peft.PartA], DType: m.A.DType, Shape: []int64{m.A.Shape[1], rank}},
			safetensors.Spec{Name: module + mlxParts[peft.PartB], DType: m.B.DType, Shape: []int64{rank, m.B.Shape[0]}})
		if a.Config.UseDoRA {
			specs = append(specs, safetensors.Spec{Name: module + mlxParts[peft.PartMagnitude], DType: m.Magnitude.DType, Shape: m.Magnitude.Shape})
		}
	}
	w, err := safetensors.Create(filepath.Join(dir, mlxWeightsName), specs, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, module := range a.Modules() {
		if err := a.writeMLXModule(w, module, rank, scale); err != nil {
			return err
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, mlxConfigName), a.mlxConfig(base, rank, scale, keys))
}

// mlxKeys are the adapted modules as mlx_lm names them, by their place in a layer.
func (a *Adapter) mlxKeys() ([]string, error) {
	keys := map[string]bool{}
	for _, module := range a.Modules() {
		_, rest, ok := splitLayer(module)
		if !ok {
			return nil, &fault.Error{Kind: fault.Files, Where: a.file.Path(), Field: "module " + module, Found: "an adapter of it",
				Want: "modules of layers only, as mlx_lm has", Remedy: "export to another format, or merge the adapter"}
		}
		keys[rest] = true
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

func (a *Adapter) writeMLXModule(w *safetensors.Writer, module string, rank int64, scale float64) error {
	p, err := a.read(module)
	if err != nil {
		return err
	}
	left, right := make([]float32, rank*p.in), make([]float32, rank*p.out)
	for k := range p.rank {
		for i := range p.in {
			left[i*rank+k] = p.a[k*p.in+i]
		}
	}
	for i, x := range p.scaledB(scale) {
		right[int64(i)%p.rank*p.out+int64(i)/p.rank] = x
	}
	m := a.parts[module]
	for _, t := range []struct {
		part   string
		dtype  string
		values []float32
	}{{peft.PartA, m.A.DType, left}, {peft.PartB, m.B.DType, right}, {peft.PartMagnitude, m.Magnitude.DType, p.magnitude}} {
		if err := w.Write(module+mlxParts[t.part], safetensors.AppendFloats(nil, t.values, t.dtype)); err != nil {
			return err
		}
	}
	return nil
}

func (a *Adapter) mlxConfig(base *Base, rank int64, scale float64, keys []string) []byte {
	kind := "lora"
	if a.Config.UseDoRA {
		kind = "dora"
	}
	var names []jsonstrict.Value
	for _, key := range keys {
		names = append(names, jsonstrict.Text(key))
	}
	return append(jsonstrict.Marshal(jsonstrict.Map(
		jsonstrict.Member{Key: "fine_tune_type", Value: jsonstrict.Text(kind)},
		jsonstrict.Member{Key: "model", Value: jsonstrict.Text(a.Config.BaseModel)},
		jsonstrict.Member{Key: "num_layers", Value: jsonstrict.Integer(int64(base.Config.NumLayers))},
		jsonstrict.Member{Key: "lora_parameters", Value: jsonstrict.Map(
			jsonstrict.Member{Key: "rank", Value: jsonstrict.Integer(rank)},
			jsonstrict.Member{Key: "scale", Value: jsonstrict.Float(scale)},
			jsonstrict.Member{Key: "dropout", Value: jsonstrict.Float(a.Config.Dropout)},
			jsonstrict.Member{Key: "keys", Value: jsonstrict.List(names...)})})), '\n')
}
