package surgery

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"trainer/files/peft"
	"trainer/files/safetensors"
)

// WritePlain writes an adapter of the model as plain LoRA of one rank and scale 1 on every
// module of the names it targets: what any engine computes. Ranks are padded with zeros,
// and scales and the row factors of DoRA stand in B. The folder exists.
func (m *Merged) WritePlain(dir string) error {
	rank, names := int64(0), map[string]bool{}
	for module, p := range m.adapter.parts {
		rank = max(rank, p.A.Shape[0])
		names[lastPart(module)] = true
	}
	var tensors []peft.Tensor
	for _, t := range m.base.Config.Tensors() {
		module, isWeight := strings.CutSuffix(t.Name, ".weight")
		if !isWeight || !names[lastPart(module)] {
			continue
		}
		tensor := func(part string, shape ...int64) {
			tensors = append(tensors, peft.Tensor{Module: module, Part: part, DType: "F32", Shape: shape,
				Data: func() (io.Reader, error) { return m.plain(module, part, shape) }})
		}
		tensor(peft.PartA, rank, t.Shape[1])
		tensor(peft.PartB, t.Shape[0], rank)
	}
	c := peft.Config{R: int(rank), Alpha: float64(rank), TargetModules: slices.Sorted(maps.Keys(names)), BaseModel: m.base.Dir}
	return peft.Write(dir, c, tensors)
}

// lastPart is the name of a module within its layer's part, as q_proj.
func lastPart(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

// plain is one tensor of WritePlain.
func (m *Merged) plain(module, part string, shape []int64) (io.Reader, error) {
	values := make([]float32, shape[0]*shape[1])
	if _, adapted := m.adapter.parts[module]; adapted {
		if err := m.load(module); err != nil {
			return nil, err
		}
		if part == peft.PartA {
			copy(values, m.pair.a)
		} else if err := m.plainB(module, values, shape[1]); err != nil {
			return nil, err
		}
	}
	return bytes.NewReader(safetensors.AppendFloats(nil, values, "F32")), nil
}

// plainB fills B [out, rank] of a module with all factors in it.
func (m *Merged) plainB(module string, values []float32, rank int64) error {
	factors, err := m.RowFactors(module + ".weight")
	if err != nil {
		return err
	}
	p := &m.pair
	for row := range p.out {
		scale := p.scale
		if factors != nil {
			scale *= factors[row]
		}
		for k := range p.rank {
			values[row*rank+k] = scale * p.b[row*p.rank+k]
		}
	}
	return nil
}

// RowFactors is what DoRA multiplies each row of a weight and its adapter by, magnitude
// over length; nil where it does not.
func (m *Merged) RowFactors(tensor string) ([]float32, error) {
	module, ok := m.adapts(tensor)
	if !ok || !m.adapter.Config.UseDoRA {
		return nil, nil
	}
	if err := m.load(module); err != nil {
		return nil, err
	}
	var factors []float32
	err := eachChunk(m.base, tensor, m.base.shapes[tensor], func(first int64, w []float32) error {
		for i := int64(0); i < int64(len(w)); i += m.pair.in {
			row, at := w[i:i+m.pair.in], first+i/m.pair.in
			m.pair.add(at, row)
			factors = append(factors, float32(float64(m.pair.magnitude[at])/norm(row)))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("row factors of %s: %w", tensor, err)
	}
	return factors, nil
}
