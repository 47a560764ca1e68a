package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

func copyCases() (cases []Case) {
	for _, dtype := range storages {
		for _, from := range layouts {
			for _, to := range layouts {
				cases = append(cases, copyCase(dtype, from, to, 5, 33))
			}
		}
	}
	for _, n := range borders {
		cases = append(cases, copyCase(abi.U8, plain, plain, n), copyCase(abi.F32, turned, plain, n, 18))
	}
	for _, shape := range [][]int64{{0}, {3, 0}, {1, 1, 1}, {2, 3, 1, 2, 3, 5}, {2, 70000}} {
		cases = append(cases, copyCase(abi.F32, turned, wide, shape...))
	}
	cases = append(cases, copyCase(abi.BF16, plain, stepped, 300, 1100), Case{"copy", "broadcast rows", func(t *Trial) {
		t.Copy(t.out(abi.F32, plain, 7, 33), t.in(abi.F32, plain, t.normal, 33).Broadcast(7, 33))
	}}, Case{"copy", "broadcast columns", func(t *Trial) {
		t.Copy(t.out(abi.F16, plain, 7, 33), t.in(abi.F16, plain, t.normal, 7, 1).Broadcast(7, 33))
	}})
	return cases
}

func copyCase(dtype abi.DType, from, to layout, shape ...int64) Case {
	return Case{"copy", fmt.Sprintf("%s %v %s to %s", dtype, shape, from, to), func(t *Trial) {
		t.Copy(t.out(dtype, to, shape...), t.stores(dtype, from, shape...))
	}}
}

// stores is an input of any dtype, with special numbers where it is a float.
func (t *Trial) stores(dtype abi.DType, l layout, shape ...int64) *op.Value {
	switch dtype {
	case abi.I32:
		return t.in(dtype, l, t.ints(-1<<31, 1<<31-1), shape...)
	case abi.U8:
		return t.in(dtype, l, t.ints(0, 255), shape...)
	}
	return t.in(dtype, l, t.special, shape...)
}

// special draws a special number every other time, else a normal one.
func (t *Trial) special(i int) float64 {
	if i%2 == 0 {
		return specials[i/2%len(specials)]
	}
	return t.normal(i)
}

func copyBenchmarks() []Case {
	return []Case{copyCase(abi.F32, plain, plain, benchTokens, benchInner), copyCase(abi.F32, turned, plain, benchTokens, benchInner)}
}
