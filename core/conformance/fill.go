package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func fillCases() (cases []Case) {
	fills := map[abi.DType][]uint32{
		abi.I32: {0, 7, 0xFFFFFFFF, 0x80000000},
		abi.U8:  {0, 255},
	}
	for _, x := range []float64{0, 1.5, -1e-3, 1e30, 0x1p-149, math.Inf(-1), math.NaN()} {
		for _, dtype := range floats {
			fills[dtype] = append(fills[dtype], math.Float32bits(float32(x)))
		}
	}
	for _, dtype := range storages {
		for _, bits := range fills[dtype] {
			for _, l := range layouts {
				cases = append(cases, fillCase(dtype, bits, l, 5, 33))
			}
		}
	}
	for _, shape := range [][]int64{{0}, {1}, {1023}, {1025}, {70001}, {2, 1, 3, 2, 1, 5}} {
		cases = append(cases, fillCase(abi.F32, 0x3F800000, plain, shape...))
	}
	for _, shape := range [][]int64{{1}, {17}, {0}, {5, 33}, {3, 4, 5}, {2, 3, 2, 3, 2, 3}, {3, 40000}} {
		for dim := range shape {
			for _, l := range layouts {
				cases = append(cases, iotaCase(dim, l, shape...))
			}
		}
	}
	return cases
}

func fillCase(dtype abi.DType, bits uint32, l layout, shape ...int64) Case {
	return Case{"fill", fmt.Sprintf("%s %v %s %#x", dtype, shape, l, bits), func(t *Trial) {
		t.Node(abi.OpFill, op.Fill{Bits: bits}, vals(t.out(dtype, l, shape...)), nil)
	}}
}

func iotaCase(dim int, l layout, shape ...int64) Case {
	return Case{"iota", fmt.Sprintf("%v along %d %s", shape, dim, l), func(t *Trial) { t.Iota(t.out(abi.I32, l, shape...), dim) }}
}

func fillBenchmarks() []Case {
	return []Case{fillCase(abi.F32, 0, plain, benchTokens, benchInner), iotaCase(1, plain, benchTokens, benchInner)}
}
