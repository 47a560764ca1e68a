package surgery

import (
	"fmt"
	"math"
	"strings"

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
