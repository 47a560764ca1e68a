package safetensors

import (
	"encoding/binary"
	"math"
)

// DecodeFloats widens little-endian elements of a float dtype (IsFloat) into dst; raw has
// exactly as many. F64 is rounded to the nearest float32.
func DecodeFloats(dst []float32, raw []byte, dtype string) {
	decode, size := floatAt[dtype], dtypeSizes[dtype]
	for i := range dst {
		dst[i] = decode(raw[int64(i)*size:])
	}
}

// AppendFloats appends values in a float dtype, little-endian, rounded to the nearest, ties
// to even. A value too large for F16 becomes infinite.
func AppendFloats(out []byte, values []float32, dtype string) []byte {
	switch dtype {
	case "F64":
		for _, x := range values {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(float64(x)))
		}
	case "F16":
		for _, x := range values {
			out = binary.LittleEndian.AppendUint16(out, Half(x))
		}
	case "BF16":
		for _, x := range values {
			out = binary.LittleEndian.AppendUint16(out, brain(x))
		}
	default:
		for _, x := range values {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	}
	return out
}

// brain rounds to bfloat16; NaN stays NaN.
func brain(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		return uint16(bits>>16) | 1<<6
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Half rounds to IEEE-754 binary16, ties to even; NaN stays NaN.
func Half(x float32) uint16 {
	bits := math.Float32bits(x)
	sign, magnitude := uint16(bits>>16)&0x8000, bits&0x7fffffff
	switch {
	case magnitude > 0x7f800000:
		return sign | 0x7e00
	case magnitude >= 0x477ff000: // 65520 and more
		return sign | 0x7c00
	case magnitude < 0x38800000: // less than 2^-14: multiples of 2^-24
		return sign | uint16(math.RoundToEven(math.Abs(float64(x))*(1<<24)))
	}
	rounded := magnitude + 0xfff + magnitude>>13&1
	return sign | uint16((rounded-(112<<23))>>13)
}
