package surgery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// Import is an adapter of another program, as PEFT holds it. The caller closes it.
type Import struct {
	Format  string // what it is, for people
	Config  peft.Config
	Ignored int // tensors of the file that are no part of an adapter
	file    *safetensors.File
	parts   map[string]map[string]stored // by module and part
}

// stored is a tensor that may have to be transposed to be PEFT's.
type stored struct {
	safetensors.Info
	transposed bool
}

// shape is PEFT's.
func (s stored) shape() []int64 {
	if s.transposed && len(s.Shape) == 2 {
		return []int64{s.Shape[1], s.Shape[0]}
	}
	return s.Shape
}

// StateDictName is the file in which the original system left what it trained.
const StateDictName = "model_state_dict.safetensors"

// OpenImport opens an adapter by what lies at path: a PEFT folder, an mlx_lm folder, or a
// state dict of the original system, a file or its folder. alpha and dropout are those of a
// state dict, which holds neither. Errors are *fault.Error.
func OpenImport(path string, alpha, dropout float64) (*Import, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Err: fs.ErrNotExist, Remedy: "name an adapter folder, or a state dict"}
	}
	i := &Import{parts: map[string]map[string]stored{}}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case !info.IsDir():
		err = i.readStateDict(path, alpha, dropout)
	case has(mlxWeightsName):
		err = i.readMLX(path)
	case has(peft.ConfigName):
		err = i.readPEFT(path)
	case has(StateDictName):
		err = i.readStateDict(filepath.Join(path, StateDictName), alpha, dropout)
	default:
		err = &fault.Error{Kind: fault.Files, Where: path, Found: "no adapter", Want: fmt.Sprintf("%s of PEFT, %s of mlx_lm, or %s", peft.WeightsName, mlxWeightsName, StateDictName)}
	}
	if err == nil {
		i.target()
		err = i.check()
	}
	if err != nil && i.file != nil {
		err = errors.Join(err, i.file.Close())
	}
	return i, err
}

// Close closes the file.
func (i *Import) Close() error { return i.file.Close() }

// keep notes the tensor of a part of a module.
func (i *Import) keep(module, part string, s stored) error {
	if i.parts[module] == nil {
		i.parts[module] = map[string]stored{}
	}
	if old, twice := i.parts[module][part]; twice {
		return i.refuse(s.Name, "a second tensor of one part, beside "+old.Name, "one")
	}
	i.parts[module][part] = s
	return nil
}

func (i *Import) readPEFT(dir string) error {
	a, err := peft.ReadAdapter(dir)
	if err != nil {
		return err
	}
	i.Format, i.file, i.Config = "a PEFT adapter", a.File, a.Config
	for _, name := range a.File.Names() {
		info, _ := a.File.Tensor(name)
		module, part, _ := peft.ParseKey(name)
		if err := i.keep(module, part, stored{Info: info}); err != nil {
			return err
		}
	}
	return nil
}

// stateDictParts are the endings of the names of parts in the original's state dicts.
var stateDictParts = []struct{ ending, part string }{
	{".lora_AB.0.weight", peft.PartA}, {".lora_AB.1.weight", peft.PartB},
	{".dora_layer.lora_A.weight", peft.PartA}, {".dora_layer.lora_B.weight", peft.PartB}, {".magnitude_layer.magnitude", peft.PartMagnitude},
	{".lora_A.default.weight", peft.PartA}, {".lora_B.default.weight", peft.PartB}, {".lora_magnitude_vector.default.weight", peft.PartMagnitude},
	{".lora_A.weight", peft.PartA}, {".lora_B.weight", peft.PartB}, {".lora_magnitude_vector", peft.PartMagnitude},
}

// wrappers are what PyTorch's wrappers add to names.
var wrappers = strings.NewReplacer("_fsdp_wrapped_module.", "", "_checkpoint_wrapped_module.", "", "_offload_wrapped_module.", "", "_orig_mod.", "")

// parseStateDictKey takes a name of a state dict apart; ok is false for what is none of an
// adapter.
func parseStateDictKey(key string) (module, part string, ok bool) {
	key = strings.TrimPrefix(wrappers.Replace(key), "base_model.model.")
	for _, p := range stateDictParts {
		if module, found := strings.CutSuffix(key, p.ending); found {
			return strings.TrimSuffix(module, ".base_layer"), p.part, true
		}
	}
	return "", "", false
}

// readStateDict reads what the original saved. Its own DoRA has no alpha: the scale is 1.
func (i *Import) readStateDict(path string, alpha, dropout float64) (err error) {
	i.Format = "a state dict of LoRA"
	if i.file, err = safetensors.Open(path); err != nil {
		return err
	}
	unscaled := false
	for _, name := range i.file.Names() {
		info, _ := i.file.Tensor(name)
		module, part, ok := parseStateDictKey(name)
		if !ok {
			i.Ignored++
			continue
		}
		if part == peft.PartMagnitude {
			i.Config.UseDoRA, i.Format = true, "a state dict of DoRA"
			unscaled = unscaled || strings.HasSuffix(name, ".magnitude")
			info.Shape = flat(info.Shape)
		}
		if err := i.keep(module, part, stored{Info: info}); err != nil {
			return err
		}
	}
	i.rank()
	i.Config.Alpha, i.Config.Dropout = alpha, dropout
	if unscaled {
		i.Config.Alpha, i.Config.Dropout, i.Config.UseRSLoRA = float64(i.Config.R), 0, false
		i.Config.AlphaPattern = map[string]float64{}
		for module, r := range i.Config.RankPattern {
			i.Config.AlphaPattern[module] = float64(r)
		}
	}
	return nil
}

// flat is the shape of a magnitude that was kept as a row or column.
func flat(shape []int64) []int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return []int64{n}
}

// rank takes ranks from the tensors: the most frequent one is the usual one.
func (i *Import) rank() {
	count, ranks := map[int]int{}, map[string]int{}
	for module, parts := range i.parts {
		if shape := parts[peft.PartA].shape(); len(shape) == 2 {
			ranks[module] = int(shape[0])
			count[ranks[module]]++
		}
	}
	for _, r := range slices.Sorted(maps.Keys(count)) {
		if count[r] > count[i.Config.R] {
			i.Config.R = r
		}
	}
	i.Config.RankPattern = map[string]int{}
	for module, r := range ranks {
		if r != i.Config.R {
			i.Config.RankPattern[module] = r
		}
	}
}

// lastPart is the name of a module within its layer's part, as q_proj.
func lastPart(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

// target names the adapted modules: by their last parts where every layer from the first on
// has all of them, else in full, so that PEFT adapts no others.
func (i *Import) target() {
	names, layers := map[string]bool{}, map[int]bool{}
	for module := range i.parts {
		layer, _, ok := splitLayer(module)
		if !ok {
			layer = -1
		}
		names[lastPart(module)], layers[layer] = true, true
	}
	regular := len(names)*len(layers) == len(i.parts)
	for layer := range layers {
		regular = regular && layer >= 0 && layer < len(layers)
	}
	switch {
	case !regular:
		i.Config.TargetModules, i.Config.TargetPattern = slices.Sorted(maps.Keys(i.parts)), ""
	case i.Config.TargetPattern == "":
		i.Config.TargetModules = slices.Sorted(maps.Keys(names))
	}
}

// check refuses modules that lack a part, or whose parts do not fit each other.
func (i *Import) check() error {
	if len(i.parts) == 0 {
		return &fault.Error{Kind: fault.Files, Where: i.file.Path(), Found: fmt.Sprintf("none among %d tensors", i.Ignored), Want: "tensors of an adapter, as MODULE.lora_AB.0.weight",
			Remedy: "name what a LoRA or DoRA run saved"}
	}
	wanted := []string{peft.PartA, peft.PartB}
	if i.Config.UseDoRA {
		wanted = append(wanted, peft.PartMagnitude)
	}
	for _, module := range slices.Sorted(maps.Keys(i.parts)) {
		parts := i.parts[module]
		for _, part := range wanted {
			if parts[part].Name == "" {
				return &fault.Error{Kind: fault.Files, Where: i.file.Path(), Field: fmt.Sprintf("module %.120s", module), Found: "no part " + part, Want: "the parts " + strings.Join(wanted, ", ")}
			}
			if !safetensors.IsFloat(parts[part].DType) {
				return i.refuse(parts[part].Name, "dtype "+parts[part].DType, "F32, BF16, F16 or F64")
			}
		}
		a, b := parts[peft.PartA].shape(), parts[peft.PartB].shape()
		if len(a) != 2 || len(b) != 2 || a[0] != b[1] || a[0] == 0 {
			return i.refuse(parts[peft.PartB].Name, fmt.Sprintf("shape %v beside %v", b, a), "[out, rank] and [rank, in]")
		}
		if m := parts[peft.PartMagnitude]; i.Config.UseDoRA && (len(m.shape()) != 1 || m.shape()[0] != b[0]) {
			return i.refuse(m.Name, fmt.Sprintf("shape %v", m.shape()), fmt.Sprintf("[%d]", b[0]))
		}
	}
	return nil
}

func (i *Import) refuse(tensor, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: i.file.Path(), Field: fmt.Sprintf("tensor %.160q", tensor), Found: found, Want: want}
}

// Fits refuses an adapter of another model than b.
func (i *Import) Fits(b *Base) error {
	a := &Adapter{file: i.file, parts: map[string]peft.Module{}}
	for module, parts := range i.parts {
		left, right := parts[peft.PartA].Info, parts[peft.PartB].Info
		left.Shape, right.Shape = parts[peft.PartA].shape(), parts[peft.PartB].shape()
		a.parts[module] = peft.Module{A: left, B: right}
	}
	return a.checkModules(b)
}

// Modules is the number of adapted modules.
func (i *Import) Modules() int { return len(i.parts) }

// Write writes the adapter as a PEFT folder, durably. The folder exists.
func (i *Import) Write(dir string) error {
	var tensors []peft.Tensor
	for module, parts := range i.parts {
		for part, s := range parts {
			tensors = append(tensors, peft.Tensor{Module: module, Part: part, DType: s.DType, Shape: s.shape(),
				Data: func() (io.Reader, error) { return i.read(s) }})
		}
	}
	return peft.Write(dir, i.Config, tensors)
}

// read is the bytes of a tensor in PEFT's order.
func (i *Import) read(s stored) (io.Reader, error) {
	raw := make([]byte, s.Bytes)
	if err := i.file.Read(s.Info, raw, 0); err != nil {
		return nil, err
	}
	if s.transposed && len(s.Shape) == 2 {
		size, _ := safetensors.DTypeSize(s.DType)
		raw = transpose(raw, s.Shape[0], s.Shape[1], size)
	}
	return bytes.NewReader(raw), nil
}

// transpose turns rows × columns elements of size bytes.
func transpose(raw []byte, rows, columns, size int64) []byte {
	out := make([]byte, len(raw))
	for r := range rows {
		for c := range columns {
			copy(out[(c*rows+r)*size:][:size], raw[(r*columns+c)*size:])
		}
	}
	return out
}
