package abi

import "fmt"

// DType is an element type.
type DType uint32

// The element types of the header.
const (
	F32    DType = 1
	BF16   DType = 2
	F16    DType = 3
	F8E4M3 DType = 4
	F8E5M2 DType = 5
	F64    DType = 6
	I32    DType = 16
	U8     DType = 17
	I8     DType = 18
	I64    DType = 19
)

var dtypeNames = map[DType]string{F32: "f32", BF16: "bf16", F16: "f16", F8E4M3: "f8e4m3", F8E5M2: "f8e5m2", F64: "f64",
	I32: "i32", U8: "u8", I8: "i8", I64: "i64"}

// String is the name as the project prints it.
func (d DType) String() string {
	if n, ok := dtypeNames[d]; ok {
		return n
	}
	return fmt.Sprintf("dtype %d", uint32(d))
}

// Size is the bytes of one element; 0 for an unknown dtype.
func (d DType) Size() int {
	switch d {
	case F32, I32:
		return 4
	case BF16, F16:
		return 2
	case F8E4M3, F8E5M2, U8, I8:
		return 1
	case F64, I64:
		return 8
	}
	return 0
}

// IsFloat reports whether elements are floating-point numbers.
func (d DType) IsFloat() bool { return d >= F32 && d <= F64 }
