package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

func castCases() (cases []Case) {
	for _, from := range storages {
		for _, to := range storages {
			if from == to {
				continue
			}
			cases = append(cases, castCase(from, to, plain, plain, 5, 65))
			for _, l := range layouts[1:] {
				cases = append(cases, castCase(from, to, l, plain, 5, 65), castCase(from, to, plain, l, 5, 65))
			}
		}
	}
	for _, n := range borders {
		cases = append(cases, castCase(abi.F32, abi.BF16, plain, plain, n), castCase(abi.F16, abi.F32, plain, plain, n))
	}
	return append(cases, castCase(abi.F32, abi.F16, plain, plain, 0), castCase(abi.BF16, abi.F32, wide, plain, 40, 1025),
		halfwayCase(abi.BF16), halfwayCase(abi.F16))
}

func castCase(from, to abi.DType, l, m layout, shape ...int64) Case {
	return Case{"cast", fmt.Sprintf("%s to %s %v %s to %s", from, to, shape, l, m), func(t *Trial) {
		src := t.stores(from, l, shape...)
		if from.IsFloat() && !to.IsFloat() { // around the ends of the integers' ranges
			ends := these(0.9, -0.9, 254.9, 255, 256, 300, -1, 2147483520, 2147483648, 4e9, -2147483648, -3e9, 1.5, -7.99)
			t.fill(src, func(i int) float64 {
				if i%3 == 0 {
					return t.special(i)
				}
				return ends(i)
			})
		}
		t.Cast(t.out(to, m, shape...), src)
	}}
}

// halfwayCase has numbers exactly between two of a 16-bit dtype, and just beside them.
func halfwayCase(to abi.DType) Case {
	return Case{"cast", fmt.Sprintf("f32 to %s halfway", to), func(t *Trial) {
		half := op.NewValue("half", op.Input, op.Fixed, abi.F32, 300)
		t.fill(half, func(i int) float64 {
			x := stored(to, t.rng.NormFloat64())
			return x * (1 + unit(to)*[]float64{1, -1, 1 + 0x1p-10, 1 - 0x1p-10, 0.5, 2}[i%6])
		})
		t.Cast(t.out(to, plain, 300), half)
	}}
}

func castBenchmarks() []Case {
	return []Case{castCase(abi.F32, abi.BF16, plain, plain, benchTokens, benchInner), castCase(abi.BF16, abi.F32, plain, plain, benchTokens, benchInner)}
}
