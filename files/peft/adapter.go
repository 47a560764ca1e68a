package peft

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/modeldir"
	"trainer/files/safetensors"
)

// The parts of an adapter of one module.
const (
	PartA          = "A"           // lora_A.weight [r, in]
	PartB          = "B"           // lora_B.weight [out, r]
	PartMagnitude  = "magnitude"   // lora_magnitude_vector [out], DoRA only
	PartEmbeddingA = "embedding_A" // lora_embedding_A [r, vocab], of an embedding
	PartEmbeddingB = "embedding_B" // lora_embedding_B [hidden, r]
)

// KeyPrefix stands before the name of every tensor of an adapter.
const KeyPrefix = "base_model.model."

var keySuffixes = map[string]string{PartA: ".lora_A.weight", PartB: ".lora_B.weight", PartMagnitude: ".lora_magnitude_vector",
	PartEmbeddingA: ".lora_embedding_A", PartEmbeddingB: ".lora_embedding_B"}

// Key is the name of a tensor in adapter_model.safetensors: of the part of a module, as
// model.layers.0.self_attn.q_proj.
func Key(module, part string) string { return KeyPrefix + module + keySuffixes[part] }

// ParseKey takes such a name apart.
func ParseKey(key string) (module, part string, ok bool) {
	rest, ok := strings.CutPrefix(key, KeyPrefix)
	for part, suffix := range keySuffixes {
		if module, found := strings.CutSuffix(rest, suffix); ok && found && module != "" {
			return module, part, true
		}
	}
	return "", "", false
}

// Adapter is an open adapter folder. The caller closes File.
type Adapter struct {
	Config  Config
	File    *safetensors.File
	Modules map[string]Module // by name, as model.layers.0.self_attn.q_proj
}

// Module is what is stored for one module: float tensors A [r, in], B [out, r] and, for DoRA,
// Magnitude [out], else its zero value. Of an embedding, in is the vocabulary: B·A is
// the transpose of what is added to the table.
type Module struct {
	A, B, Magnitude safetensors.Info
	Embedding       bool
}

// ReadAdapter opens an adapter folder and checks that each module has its parts, in float
// dtypes and with shapes that fit each other and the rank. Whether they fit the base model
// is for the caller to check, as is that values are finite. Errors are *fault.Error of kind
// Files.
func ReadAdapter(dir string) (*Adapter, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	config, err := readConfig(d)
	if err != nil {
		return nil, err
	}
	file, err := safetensors.OpenIn(d, WeightsName)
	if err != nil {
		return nil, err
	}
	a := &Adapter{config, file, map[string]Module{}}
	if err := a.readModules(); err != nil {
		_ = file.Close() // only read
		return nil, err
	}
	return a, nil
}

// readModules sorts the tensors by module and checks them.
func (a *Adapter) readModules() error {
	for _, key := range a.File.Names() {
		info, _ := a.File.Tensor(key)
		name, part, ok := ParseKey(key)
		if !ok || part == PartMagnitude && !a.Config.UseDoRA {
			return a.refuse(key, "a tensor that is no part of this adapter", "names as "+Key("MODULE", PartA))
		}
		if !safetensors.IsFloat(info.DType) {
			return a.refuse(key, "dtype "+info.DType, "F32, BF16, F16 or F64")
		}
		m := a.Modules[name]
		m.Embedding = part == PartEmbeddingA || part == PartEmbeddingB
		switch part {
		case PartA, PartEmbeddingA:
			m.A = info
		case PartB, PartEmbeddingB:
			m.B = info
		default:
			m.Magnitude = info
		}
		a.Modules[name] = m
	}
	if len(a.Modules) == 0 {
		return &fault.Error{Kind: fault.Files, Where: a.File.Path(), Found: "no tensors", Want: "at least one adapted module"}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Modules)) {
		if err := a.checkModule(name, a.Modules[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *Adapter) checkModule(name string, m Module) error {
	for _, p := range []struct {
		part string
		info safetensors.Info
		rank int
	}{{PartA, m.A, 2}, {PartB, m.B, 2}, {PartMagnitude, m.Magnitude, 1}} {
		if p.part == PartMagnitude && !a.Config.UseDoRA {
			continue
		}
		if p.info.Name == "" {
			return a.refuse(Key(name, p.part), "no such tensor", "it beside the module's other part")
		}
		if len(p.info.Shape) != p.rank {
			return a.refuse(p.info.Name, fmt.Sprintf("shape %v", p.info.Shape), fmt.Sprintf("%d dimensions", p.rank))
		}
	}
	r, out := m.A.Shape[0], m.B.Shape[0]
	switch {
	case len(a.Config.RankPattern) == 0 && r != int64(a.Config.R):
		return a.refuse(m.A.Name, fmt.Sprintf("rank %d", r), fmt.Sprintf("%d, as %s says", a.Config.R, ConfigName))
	case m.B.Shape[1] != r:
		return a.refuse(m.B.Name, fmt.Sprintf("shape %v", m.B.Shape), fmt.Sprintf("[out, %d], as A has rank %d", r, r))
	case a.Config.UseDoRA && m.Magnitude.Shape[0] != out:
		return a.refuse(m.Magnitude.Name, fmt.Sprintf("shape %v", m.Magnitude.Shape), fmt.Sprintf("[%d]", out))
	}
	return nil
}

func (a *Adapter) refuse(key, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: a.File.Path(), Field: fmt.Sprintf("tensor %.160q", key), Found: found, Want: want,
		Remedy: "name an adapter folder as PEFT writes it"}
}

// Tensor is a part of a module to be written.
type Tensor struct {
	Module, Part string
	DType        string
	Shape        []int64
	// Data gives the bytes, little-endian and row-major, when their turn comes.
	Data func() (io.Reader, error)
}

// Write writes an adapter folder, durably: config and weights appear when both are on the
// disk, and until then an adapter that was there stays. The folder must exist. Tensors are
// written in the order of their names, as PEFT does. Errors of the disk are *fault.Error of
// kind Disk.
func Write(dir string, c Config, tensors []Tensor) error {
	if err := c.check(); err != nil {
		return err
	}
	config, err := atomicfile.Create(filepath.Join(dir, ConfigName))
	if err != nil {
		return err
	}
	defer config.Abort()
	if _, err := config.Write(c.text()); err != nil {
		return err
	}
	weights, err := writeWeights(filepath.Join(dir, WeightsName), tensors)
	if err != nil {
		return err
	}
	defer weights.Abort()
	if err := config.Sync(); err != nil {
		return err
	}
	if err := config.Rename(); err != nil {
		return err
	}
	if err := weights.Rename(); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// writeWeights puts the tensors on the disk, under a temporary name.
func writeWeights(path string, tensors []Tensor) (*safetensors.Writer, error) {
	tensors = slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int {
		return strings.Compare(Key(a.Module, a.Part), Key(b.Module, b.Part))
	})
	var specs []safetensors.Spec
	for _, t := range tensors {
		specs = append(specs, safetensors.Spec{Name: Key(t.Module, t.Part), DType: t.DType, Shape: t.Shape})
	}
	w, err := safetensors.Create(path, specs, safetensors.PyTorchMetadata())
	if err != nil {
		return nil, err
	}
	for i, t := range tensors {
		r, err := t.Data()
		if err == nil {
			err = w.WriteFrom(specs[i].Name, r)
		}
		if err != nil {
			w.Abort()
			return nil, err
		}
	}
	return w, w.Sync()
}
