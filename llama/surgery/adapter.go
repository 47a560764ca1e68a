package surgery

import (
	"fmt"
	"maps"
	"slices"

	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// Adapter is an open LoRA or DoRA adapter. The caller closes it.
type Adapter struct {
	Dir    string
	Config peft.Config
	file   *safetensors.File
	parts  map[string]peft.Module // by module
}

// OpenAdapter opens an adapter folder as PEFT writes it. Errors are *fault.Error of kind
// Files.
func OpenAdapter(dir string) (*Adapter, error) {
	a, err := peft.ReadAdapter(dir)
	if err != nil {
		return nil, err
	}
	return &Adapter{Dir: dir, Config: a.Config, file: a.File, parts: a.Modules}, nil
}

// Close closes the files.
func (a *Adapter) Close() error { return a.file.Close() }

// Modules are the names of the adapted modules, sorted.
func (a *Adapter) Modules() []string { return slices.Sorted(maps.Keys(a.parts)) }

// pair is the adapter of one module: its weight becomes W + Scale·B·A, and with a magnitude
// each row of that is then given the length the magnitude says. (Hu et al. 2021; Liu et al.
// 2024)
type pair struct {
	out, rank, in int64
	a, b          []float32 // [rank, in], [out, rank]
	magnitude     []float32 // [out]; nil without DoRA
	scale         float32
}

// read reads the adapter of a module and refuses values that are not finite.
func (a *Adapter) read(module string) (p pair, err error) {
	m := a.parts[module]
	p.out, p.rank, p.in = m.B.Shape[0], m.A.Shape[0], m.A.Shape[1]
	rank, err := a.Config.RankOf(module)
	if err != nil {
		return p, err
	}
	if int64(rank) != p.rank {
		return p, &fault.Error{Kind: fault.Files, Where: a.file.Path(), Field: fmt.Sprintf("tensor %.160q", m.A.Name), Found: fmt.Sprintf("rank %d", p.rank),
			Want: fmt.Sprintf("%d, as %s says", rank, peft.ConfigName)}
	}
	scale, err := a.Config.Scale(module)
	if err != nil {
		return p, err
	}
	p.scale = float32(scale)
	if p.a, err = a.values(m.A); err != nil {
		return p, err
	}
	if p.b, err = a.values(m.B); err != nil {
		return p, err
	}
	if a.Config.UseDoRA {
		p.magnitude, err = a.values(m.Magnitude)
	}
	return p, err
}

func (a *Adapter) values(info safetensors.Info) ([]float32, error) {
	values, err := a.file.ReadFloat32(info)
	if err != nil {
		return nil, err
	}
	return values, checkFinite(a.file.Path(), info.Name, values, 0)
}

// checkModules refuses an adapter of modules that the model does not have.
func (a *Adapter) checkModules(b *Base) error {
	for _, module := range a.Modules() {
		m, shape := a.parts[module], b.shapes[module+".weight"]
		field := fmt.Sprintf("module %.120s", module)
		switch {
		case m.Embedding:
			return &fault.Error{Kind: fault.Files, Where: a.file.Path(), Field: field, Found: "an adapter of an embedding", Want: "adapters of projections"}
		case len(shape) != 2:
			return &fault.Error{Kind: fault.Files, Where: a.file.Path(), Field: field, Found: "an adapter of it", Want: "a matrix of the model in " + b.Dir,
				Remedy: "name the model the adapter was trained on"}
		case m.B.Shape[0] != shape[0] || m.A.Shape[1] != shape[1]:
			return &fault.Error{Kind: fault.Files, Where: a.file.Path(), Field: field, Found: fmt.Sprintf("an adapter of a [%d, %d] matrix", m.B.Shape[0], m.A.Shape[1]),
				Want: fmt.Sprintf("one of %v, as in %s", shape, b.Dir), Remedy: "name the model the adapter was trained on"}
		}
	}
	return nil
}
