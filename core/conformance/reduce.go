package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
)

var reduceCodes = []code{{abi.ReduceSum, "sum"}, {abi.ReduceMax, "max"}}

func reduceCases() (cases []Case) {
	for _, c := range reduceCodes {
		for _, l := range layouts {
			for _, m := range []layout{plain, wide, turned} {
				cases = append(cases, reduceCase(c, abi.F32, abi.F32, l, m, []int64{7, 33}, 7, 1), reduceCase(c, abi.F32, abi.F32, l, m, []int64{7, 33}, 1, 33))
			}
		}
		for _, dtypes := range [][2]abi.DType{{abi.BF16, abi.BF16}, {abi.F16, abi.F16}, {abi.BF16, abi.F32}, {abi.F32, abi.BF16}, {abi.I32, abi.I32}} {
			cases = append(cases, reduceCase(c, dtypes[0], dtypes[1], turned, plain, []int64{17, 40}, 17, 1), reduceCase(c, dtypes[0], dtypes[1], plain, plain, []int64{17, 40}, 1, 40))
		}
		for _, n := range borders {
			cases = append(cases, reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{3, n}, 3, 1), reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{n, 3}, 1, 3))
		}
		cases = append(cases,
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{1}, 1),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{3, 0}, 3, 1),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{0, 3}, 1, 3),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{0, 3}, 0, 1),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{4, 5}, 4, 5),
			reduceCase(c, abi.F32, abi.F32, turned, plain, []int64{3, 4, 5, 6}, 1, 4, 1, 6),
			reduceCase(c, abi.F32, abi.F32, turned, plain, []int64{3, 4, 5, 6}, 3, 1, 5, 1),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{2, 3, 2, 3, 2, 3}, 1, 3, 2, 1, 1, 3),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{130, 1100}, 1, 1),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{700, 300}, 1, 300),
			reduceCase(c, abi.F32, abi.F32, plain, plain, []int64{2, 70001}, 2, 1),
			Case{"reduce", c.name + " specials", func(t *Trial) {
				src := t.in(abi.F32, plain, t.normal, 4, 40)
				t.fill(src.Slice(0, 1, 4).Slice(1, 37, 38), these(math.NaN(), math.Inf(1), math.Inf(-1)))
				t.Length, t.Scale = 40, 7
				t.Reduce(c.code, t.out(abi.F32, plain, 4, 1), src)
			}},
			Case{"reduce", c.name + " broadcast source", func(t *Trial) {
				t.Length = 40
				t.Reduce(c.code, t.out(abi.F32, plain, 5, 1), t.in(abi.F32, plain, t.normal, 5, 1).Broadcast(5, 40))
			}})
	}
	return append(cases, Case{"reduce", "sum i32 wraps", func(t *Trial) {
		t.Reduce(abi.ReduceSum, t.out(abi.I32, plain, 3, 1), t.in(abi.I32, plain, t.ints(1<<30, 1<<31-1), 3, 90))
	}})
}

func reduceCase(c code, from, to abi.DType, l, m layout, shape []int64, dst ...int64) Case {
	return Case{"reduce", fmt.Sprintf("%s %s to %s %v %s to %v %s", c.name, from, to, shape, l, dst, m), func(t *Trial) {
		gen := t.normal
		if from == abi.I32 {
			gen = t.ints(-1000, 1000)
		}
		src := t.in(from, l, gen, shape...)
		y := t.out(to, m, dst...)
		t.Length = max(1, src.Count()) / max(1, y.Count())
		t.Scale = math.Sqrt(float64(t.Length))
		t.Reduce(c.code, y, src)
		if c.code == abi.ReduceMax && from == to {
			t.exact(y)
		}
	}}
}

func reduceBenchmarks() []Case {
	return []Case{reduceCase(reduceCodes[0], abi.F32, abi.F32, plain, plain, []int64{benchTokens, benchInner}, benchTokens, 1),
		reduceCase(reduceCodes[0], abi.F32, abi.F32, plain, plain, []int64{benchTokens, benchInner}, 1, benchInner)}
}
