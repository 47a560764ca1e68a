package training

import (
	"fmt"
	"strings"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
)

// Storage is how a frozen base is kept: the name of a quantiser, and what HQQ and MLX may be
// asked.
type Storage struct {
	Name        string
	Bits, Group uint32
	Interleaved bool // HQQ's axis 0
	Nested      bool // HQQ's scales and zeros are quantised too
}

// storages are the formats of projections with so many columns, by the names of their
// quantisers.
var storages = []struct {
	name   string
	format func(s Storage, in int64) abi.QuantFormat
}{
	{"none", func(Storage, int64) abi.QuantFormat { return abi.QuantFormat{} }},
	{"nf4", func(Storage, int64) abi.QuantFormat { return op.NF4(true) }},
	{"fp4", func(Storage, int64) abi.QuantFormat { return op.FP4(true) }},
	{"hqq", func(s Storage, _ int64) abi.QuantFormat { return op.HQQ(s.Bits, s.Group, s.Interleaved, s.Nested) }},
	{"mlx", func(s Storage, _ int64) abi.QuantFormat { return op.MLX(s.Bits, s.Group) }},
	{"int8", func(_ Storage, in int64) abi.QuantFormat { return op.Int8(in) }},
}

// Format is the format of a projection, for Method.Storage. One whose shape the quantiser
// cannot hold stays dense, as mlx_lm has it.
func (s Storage) Format() (func(spec model.Spec) abi.QuantFormat, error) {
	var names []string
	for _, x := range storages {
		if x.name == s.Name {
			return func(spec model.Spec) abi.QuantFormat {
				out, in := spec.Shape[0], spec.Shape[1]
				f := x.format(s, in)
				if op.CheckFormat(f, out, in) != nil {
					return abi.QuantFormat{}
				}
				return f
			}, nil
		}
		names = append(names, x.name)
	}
	return nil, fmt.Errorf("quantiser %q is not one of %s", s.Name, strings.Join(names, ", "))
}
