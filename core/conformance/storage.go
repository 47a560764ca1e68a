package conformance

import (
	"encoding/binary"
	"math"

	"trainer/core/abi"
)

// poisonByte fills what a case must write before it may be read: a NaN in every float
// dtype. guardByte fills what nobody may write.
const (
	poisonByte = 0xFF
	guardByte  = 0xA5
)

// poison is what an element of poisonBytes reads as.
func poison(dtype abi.DType) float64 {
	return decode([]byte{255, 255, 255, 255, 255, 255, 255, 255}, dtype)
}

// stored is x as a dtype stores it: rounded to nearest even, integers truncated.
func stored(dtype abi.DType, x float64) float64 {
	var b [8]byte
	encode(b[:], dtype, x)
	return decode(b[:], dtype)
}

// encode writes one element, little-endian.
func encode(b []byte, dtype abi.DType, x float64) {
	switch dtype {
	case abi.F64:
		binary.LittleEndian.PutUint64(b, math.Float64bits(x))
	case abi.F32:
		binary.LittleEndian.PutUint32(b, math.Float32bits(float32(x)))
	case abi.BF16:
		binary.LittleEndian.PutUint16(b, bits16(x, 8, -126))
	case abi.F16:
		binary.LittleEndian.PutUint16(b, bits16(x, 11, -14))
	case abi.I32:
		binary.LittleEndian.PutUint32(b, uint32(int32(x)))
	case abi.U8, abi.I8:
		b[0] = byte(int32(x))
	}
}

// decode reads one element.
func decode(b []byte, dtype abi.DType) float64 {
	switch dtype {
	case abi.F64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case abi.F32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case abi.BF16:
		return float16(binary.LittleEndian.Uint16(b), 8, -126)
	case abi.F16:
		return float16(binary.LittleEndian.Uint16(b), 11, -14)
	case abi.I32:
		return float64(int32(binary.LittleEndian.Uint32(b)))
	case abi.I8:
		return float64(int8(b[0]))
	}
	return float64(b[0])
}

// bits16 rounds x once to a 16-bit float of so many significand bits, the implied one
// included, whose smallest normal exponent is low.
func bits16(x float64, significand, low int) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign, x = 1<<15, -x
	}
	infinity := uint16(3-2*low) << (significand - 1)
	switch {
	case math.IsNaN(x):
		return sign | infinity | 1<<(significand-2)
	case x == 0:
		return sign
	}
	_, e := math.Frexp(x) // x < 2^e
	step := max(e-1, low) - (significand - 1)
	units := math.RoundToEven(math.Ldexp(x, -step))
	// Units of a normal number count the implied bit, which carries into the exponent.
	bits := uint64(max(e-1, low)-low)<<(significand-1) + uint64(min(units, 1<<20))
	return sign | uint16(min(bits, uint64(infinity)))
}

// float16 is the inverse of bits16.
func float16(bits uint16, significand, low int) float64 {
	sign := 1.0
	if bits>>15 != 0 {
		sign = -1
	}
	magnitude := int(bits & 0x7FFF)
	exponent, fraction := magnitude>>(significand-1), magnitude&(1<<(significand-1)-1)
	switch {
	case exponent == 3-2*low && fraction != 0:
		return math.NaN()
	case exponent == 3-2*low:
		return math.Inf(int(sign))
	case exponent == 0:
		return sign * math.Ldexp(float64(fraction), low-(significand-1))
	}
	return sign * math.Ldexp(float64(fraction+1<<(significand-1)), exponent-1+low-(significand-1))
}
