package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"trainer/files/safetensors"
)

// Type is how the numbers of a tensor are stored.
type Type uint32

// The types written here.
const (
	F32  Type = 0
	F16  Type = 1
	Q80  Type = 8 // Q8_0: blocks of 32 int8 with an F16 scale
	BF16 Type = 30
)

// q8Block is how many elements of a row share a scale in Q8_0, and q8Bytes what they take.
const (
	q8Block = 32
	q8Bytes = 2 + q8Block
)

var dtypes = map[Type]string{F32: "F32", F16: "F16", BF16: "BF16"}

// String is the type's name in the format's text.
func (t Type) String() string {
	if t == Q80 {
		return "Q8_0"
	}
	return dtypes[t]
}

// Fits tells whether rows of so many elements can be stored.
func (t Type) Fits(width int64) bool { return t != Q80 || width%q8Block == 0 }

// bytes is what n elements take; rows are whole blocks.
func (t Type) bytes(n int64) int64 {
	if t == Q80 {
		return n / q8Block * q8Bytes
	}
	size, _ := safetensors.DTypeSize(dtypes[t])
	return n * size
}

// encode appends values, whole blocks.
func (t Type) encode(out []byte, values []float32) []byte {
	if t != Q80 {
		return safetensors.AppendFloats(out, values, dtypes[t])
	}
	for ; len(values) > 0; values = values[q8Block:] {
		out = appendQ8(out, values[:q8Block])
	}
	return out
}

// appendQ8 rounds a block to multiples of a 127th of its largest, halves away from zero.
func appendQ8(out []byte, block []float32) []byte {
	most := float32(0)
	for _, x := range block {
		most = max(most, float32(math.Abs(float64(x))))
	}
	scale, inverse := most/127, float32(0)
	if scale != 0 {
		inverse = 1 / scale
	}
	out = binary.LittleEndian.AppendUint16(out, safetensors.Half(scale))
	for _, x := range block {
		out = append(out, byte(int8(math.Round(float64(x*inverse)))))
	}
	return out
}

// decode is the inverse of encode.
func (t Type) decode(raw []byte) ([]float32, error) {
	if dtype := dtypes[t]; dtype != "" {
		size, _ := safetensors.DTypeSize(dtype)
		values := make([]float32, int64(len(raw))/size)
		safetensors.DecodeFloats(values, raw, dtype)
		return values, nil
	}
	if t != Q80 {
		return nil, fmt.Errorf("type %d is not known", t)
	}
	var values []float32
	for ; len(raw) >= q8Bytes; raw = raw[q8Bytes:] {
		var scale [1]float32
		safetensors.DecodeFloats(scale[:], raw, "F16")
		for _, q := range raw[2:q8Bytes] {
			values = append(values, scale[0]*float32(int8(q)))
		}
	}
	return values, nil
}
