package surgery

import (
	"context"
	"encoding/binary"

	"trainer/core/op"
	"trainer/files/safetensors"
)

// MLXQuantisation is MLX's affine quantisation: a code of so many bits a weight, a scale and
// a bias for each group of a row.
type MLXQuantisation struct{ Bits, Group int64 }

// WriteMLXModel writes the matrices of a model quantised, as mlx_lm's convert does it, and
// everything else as it is, durably. A matrix whose rows are no whole groups stays as it is.
func WriteMLXModel(ctx context.Context, dir string, base *Base, src Source, q MLXQuantisation) error {
	var specs []safetensors.Spec
	for _, t := range base.Config.Tensors() {
		dtype := base.dtype(t.Name)
		if !q.holds(t.Shape) {
			specs = append(specs, safetensors.Spec{Name: t.Name, DType: dtype, Shape: t.Shape})
			continue
		}
		module, groups := t.Name[:len(t.Name)-len(".weight")], []int64{t.Shape[0], t.Shape[1] / q.Group}
		specs = append(specs, safetensors.Spec{Name: t.Name, DType: "U32", Shape: []int64{t.Shape[0], t.Shape[1] * q.Bits / 32}},
			safetensors.Spec{Name: module + ".scales", DType: dtype, Shape: groups}, safetensors.Spec{Name: module + ".biases", DType: dtype, Shape: groups})
	}
	w, err := safetensors.WriteSharded(dir, specs, shardBytes)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, t := range base.Config.Tensors() {
		put := func(name string, chunk []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return w.Write(name, chunk)
		}
		if err := q.write(base, src, t.Name, t.Shape, put); err != nil {
			return err
		}
	}
	return w.Commit()
}

// holds tells whether a tensor is quantised: whole groups and whole words a row.
func (q MLXQuantisation) holds(shape []int64) bool {
	return len(shape) == 2 && shape[1]%q.Group == 0 && shape[1]*q.Bits%32 == 0
}

// write hands the bytes of one tensor to put, or those of its codes, scales and biases.
func (q MLXQuantisation) write(base *Base, src Source, name string, shape []int64, put func(name string, chunk []byte) error) error {
	dtype, quantised := base.dtype(name), q.holds(shape)
	var raw, scales, biases []byte
	err := eachChunk(src, name, shape, func(first int64, values []float32) error {
		if err := checkFits(safetensors.Spec{Name: name, DType: dtype}, values); err != nil {
			return err
		}
		if !quantised {
			raw = safetensors.AppendFloats(raw[:0], values, dtype)
			return put(name, raw)
		}
		s, b, codes := q.quantise(values)
		scales, biases = safetensors.AppendFloats(scales, s, dtype), safetensors.AppendFloats(biases, b, dtype)
		return put(name, codes)
	})
	if err != nil || !quantised {
		return err
	}
	module := name[:len(name)-len(".weight")]
	if err := put(module+".scales", scales); err != nil {
		return err
	}
	return put(module+".biases", biases)
}

// quantise quantises whole groups, in f32. Codes are a stream of bits, lowest first.
func (q MLXQuantisation) quantise(values []float32) (scales, biases []float32, codes []byte) {
	groups := int64(len(values)) / q.Group
	scales, biases, codes = make([]float32, groups), make([]float32, groups), make([]byte, int64(len(values))*q.Bits/8)
	rowsInParallel(values, q.Group, func(g int64, group []float32) {
		b, numbers := op.BiasedOver(group, uint32(q.Bits)), make([]uint8, len(group))
		for i, v := range group {
			numbers[i] = uint8(b.Code(v))
		}
		scales[g], biases[g] = b.Scale, b.Bias
		packBits(codes[g*q.Group*q.Bits/8:], numbers, uint(q.Bits))
	})
	return scales, biases, codes
}

// packBits lays numbers of so many bits one behind the other, lowest bit first, in words of
// 64 bits that whole groups of eight numbers fill to whole bytes.
func packBits(dst []byte, numbers []uint8, bits uint) {
	for i := 0; i < len(numbers); i += 8 {
		word := uint64(0)
		for j, n := range numbers[i : i+8] {
			word |= uint64(n) << (uint(j) * bits)
		}
		var bytes [8]byte
		binary.LittleEndian.PutUint64(bytes[:], word)
		copy(dst[uint(i)/8*bits:], bytes[:bits])
	}
}
