package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"

	"trainer/fault"
)

// dtypeSizes is every dtype of the format with whole bytes, and its size in bytes.
var dtypeSizes = map[string]int64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
	"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}

// DTypeSize is the size of an element in bytes; ok is false for dtypes not known.
func DTypeSize(dtype string) (size int64, ok bool) {
	size, ok = dtypeSizes[dtype]
	return size, ok
}

// floatAt decodes one element of a float dtype; F64 is rounded to the nearest float32.
var floatAt = map[string]func([]byte) float32{
	"F64":  func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) },
	"F32":  func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) },
	"F16":  func(b []byte) float32 { return halfToFloat(binary.LittleEndian.Uint16(b)) },
	"BF16": func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) },
}

// intAt decodes one element of an integer dtype that fits in an int64; BOOL is 0 or 1.
var intAt = map[string]func([]byte) int64{
	"I64":  func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) },
	"I32":  func(b []byte) int64 { return int64(int32(binary.LittleEndian.Uint32(b))) },
	"I16":  func(b []byte) int64 { return int64(int16(binary.LittleEndian.Uint16(b))) },
	"I8":   func(b []byte) int64 { return int64(int8(b[0])) },
	"U32":  func(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) },
	"U16":  func(b []byte) int64 { return int64(binary.LittleEndian.Uint16(b)) },
	"U8":   func(b []byte) int64 { return int64(b[0]) },
	"BOOL": func(b []byte) int64 { return int64(b[0]) },
}

// IsFloat says whether ReadFloat32 reads the dtype.
func IsFloat(dtype string) bool { return floatAt[dtype] != nil }

// halfToFloat widens an IEEE-754 binary16.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exp {
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case 0:
		subnormal := math.Float32bits(float32(frac) / (1 << 24))
		return math.Float32frombits(sign | subnormal)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// reader is what a tensor's bytes come from.
type reader interface {
	Read(info Info, dst []byte, off int64) error
	where(name string) string
}

// decodeBytes is how much of a tensor is decoded at a time; a multiple of every size.
const decodeBytes = 1 << 18

// readAll decodes a whole tensor with the decoder of its dtype.
func readAll[T float32 | int64](r reader, info Info, decoders map[string]func([]byte) T, want string) ([]T, error) {
	decode, size := decoders[info.DType], dtypeSizes[info.DType]
	if decode == nil {
		return nil, &fault.Error{Kind: fault.Files, Where: r.where(info.Name), Field: tensorField(info.Name), Found: "dtype " + info.DType, Want: want}
	}
	values := make([]T, 0, info.Bytes/size)
	buffer := make([]byte, min(decodeBytes, info.Bytes))
	for off := int64(0); off < info.Bytes; off += decodeBytes {
		chunk := buffer[:min(decodeBytes, info.Bytes-off)]
		if err := r.Read(info, chunk, off); err != nil {
			return nil, err
		}
		for i := int64(0); i < int64(len(chunk)); i += size {
			values = append(values, decode(chunk[i:]))
		}
	}
	return values, nil
}

// tensorField names a tensor in a sentence.
func tensorField(name string) string {
	if len(name) > 120 {
		name = name[:120] + "…"
	}
	return fmt.Sprintf("tensor %q", name)
}
