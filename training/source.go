package training

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
	"trainer/files/quantised"
	"trainer/files/safetensors"
)

// folderSource reads base weights from a model folder.
type folderSource struct {
	folder  *safetensors.Folder
	stored  *quantised.Reader
	formats map[string]abi.QuantFormat // of what is stored quantised
}

// NewSource reads weights from a model folder whose tensors were checked against the
// model. It is safe for one goroutine.
func NewSource(folder *safetensors.Folder) Source { return folderSource{folder: folder} }

// NewQuantisedSource is NewSource of a folder that has some parameters of a model quantised.
func NewQuantisedSource(folder *safetensors.Folder, stored *quantised.Reader, specs []model.Spec) (Source, error) {
	s := folderSource{folder, stored, map[string]abi.QuantFormat{}}
	for _, spec := range specs {
		if !stored.Has(spec.Name) {
			continue
		}
		w, err := stored.Describe(spec.Name)
		if err != nil {
			return nil, err
		}
		s.formats[spec.Name] = formatOf(w.Format, w.In)
	}
	return s, nil
}

// formatOf is a stored format, of a weight with so many columns, as the border has it.
func formatOf(f quantised.Format, in int64) (q abi.QuantFormat) {
	group := uint32(f.Group)
	switch f.Kind {
	case quantised.HQQ:
		return op.HQQ(uint32(f.Bits), group, f.Interleaved, false)
	case quantised.MLX:
		return op.MLX(uint32(f.Bits), group)
	case quantised.Int8:
		return op.Int8(in)
	case quantised.FP4:
		q = op.FP4(f.NestedGroup > 0)
	default:
		q = op.NF4(f.NestedGroup > 0)
	}
	q.Group, q.NestedGroup = group, uint32(f.NestedGroup)
	return q
}

// DType implements Source.
func (s folderSource) DType(name string) abi.DType {
	info, _ := s.folder.Tensor(name)
	return storedTypes[info.DType]
}

// tensor names the one that holds a parameter, or its codes.
func (s folderSource) tensor(name string) string {
	if s.Format(name).Format == abi.FormatDense {
		return name
	}
	return s.stored.Codes(name)
}

// Path implements Source.
func (s folderSource) Path(name string) string { return s.folder.Path(s.tensor(name)) }

// ReadAt implements Source.
func (s folderSource) ReadAt(name string, dst []byte, offset int64) error {
	info, ok := s.folder.Tensor(s.tensor(name))
	if !ok {
		return fmt.Errorf("tensor %s is missing", name)
	}
	return s.folder.Read(info, dst, offset)
}

// Format implements Source.
func (s folderSource) Format(name string) abi.QuantFormat { return s.formats[name] }

// Operands implements Source.
func (s folderSource) Operands(name string) (operands [abi.WeightOperands][]byte, err error) {
	w, err := s.stored.Weight(name)
	if err == nil {
		operands = w.Operands
	}
	return operands, err
}
