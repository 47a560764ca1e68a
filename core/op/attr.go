package op

import (
	"hash/fnv"
	"math"

	"trainer/core/abi"
)

// f32 is the border's form of a float constant.
func f32(x float64) uint32 { return math.Float32bits(float32(x)) }

// Fill is the attribute of OpFill: f32 bits for float destinations, else the integer.
type Fill struct{ Bits uint32 }

// Bytes encodes the attribute.
func (a Fill) Bytes() []byte { return abi.AttrBytes(abi.AttrFill{ValueBits: a.Bits}) }

// Unary is the attribute of OpUnary; Alpha and Beta serve UnaryAffine.
type Unary struct {
	Code        uint32
	Alpha, Beta float64
}

// Bytes encodes the attribute.
func (a Unary) Bytes() []byte {
	return abi.AttrBytes(abi.AttrUnary{Code: a.Code, AlphaBits: f32(a.Alpha), BetaBits: f32(a.Beta)})
}

// Binary is the attribute of OpBinary.
type Binary struct{ Code uint32 }

// Bytes encodes the attribute.
func (a Binary) Bytes() []byte { return abi.AttrBytes(abi.AttrBinary{Code: a.Code}) }

// Reduce is the attribute of OpReduce.
type Reduce struct{ Code uint32 }

// Bytes encodes the attribute.
func (a Reduce) Bytes() []byte { return abi.AttrBytes(abi.AttrReduce{Code: a.Code}) }

// MatMul is the attribute of OpMatmul: d = Alpha a b + Beta d.
type MatMul struct {
	Alpha, Beta float64
	Compute     abi.DType
}

// Bytes encodes the attribute.
func (a MatMul) Bytes() []byte {
	return abi.AttrBytes(abi.AttrMatmul{AlphaBits: f32(a.Alpha), BetaBits: f32(a.Beta), Compute: uint32(a.Compute)})
}

// Site names a place where random numbers are drawn: FNV-1a 64 of "purpose/name".
type Site uint64

// SiteOf hashes a purpose and the name of a parameter or module.
func SiteOf(purpose, name string) Site {
	h := fnv.New64a()
	h.Write([]byte(purpose + "/" + name))
	return Site(h.Sum64())
}

// Random is the attribute of OpRandom.
type Random struct{ Site Site }

// Bytes encodes the attribute.
func (a Random) Bytes() []byte {
	return abi.AttrBytes(abi.AttrRandom{SiteLo: uint32(a.Site), SiteHi: uint32(a.Site >> 32)})
}

// Bits is the attribute of OpUnpack and OpPack.
type Bits struct{ Bits, Order uint32 }

// Bytes encodes the attribute.
func (a Bits) Bytes() []byte { return abi.AttrBytes(abi.AttrBits{Bits: a.Bits, Order: a.Order}) }

// Iota is the attribute of OpIota.
type Iota struct{ Dim int }

// Bytes encodes the attribute.
func (a Iota) Bytes() []byte { return abi.AttrBytes(abi.AttrIota{Dim: uint32(a.Dim)}) }

// computing is an attribute whose products have a compute dtype, which the precision
// pass sets.
type computing interface {
	Attr
	WithCompute(abi.DType) Attr
}

// WithCompute returns n's attribute with the compute dtype set, where it has one.
func WithCompute(a Attr, dtype abi.DType) Attr {
	if c, ok := a.(computing); ok {
		return c.WithCompute(dtype)
	}
	return a
}

// WithCompute implements the precision pass's setting; one already set stays.
func (a MatMul) WithCompute(d abi.DType) Attr { a.Compute = orElse(a.Compute, d); return a }

func orElse(d, other abi.DType) abi.DType {
	if d != 0 {
		return d
	}
	return other
}
