package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
)

func gatherCases() (cases []Case) {
	for _, dtype := range storages {
		for i, l := range rowLayouts {
			cases = append(cases, gatherCase(dtype, dtype, l, rowLayouts[(i+1)%3], 9, 33, 17), gatherCase(dtype, dtype, l, l, 9, 33, 17))
		}
	}
	for _, n := range borders {
		cases = append(cases, gatherCase(abi.F32, abi.F32, plain, plain, 5, 7, n), gatherCase(abi.BF16, abi.F32, plain, plain, n, 300, 8))
	}
	cases = append(cases, gatherCase(abi.F32, abi.BF16, wide, stepped, 9, 33, 1500), gatherCase(abi.F32, abi.F32, plain, plain, 0, 3, 4),
		gatherCase(abi.F32, abi.F32, plain, plain, 3, 4, 0))
	for _, dtype := range floats {
		for i, l := range rowLayouts {
			cases = append(cases, scatterCase(dtype, dtype, l, rowLayouts[(i+1)%3], 40, 9, 33), scatterCase(dtype, dtype, l, l, 40, 9, 33))
		}
	}
	for _, n := range borders {
		cases = append(cases, scatterCase(abi.F32, abi.F32, plain, plain, 11, 4, n))
	}
	return append(cases, scatterCase(abi.BF16, abi.F32, plain, plain, 300, 5, 129), scatterCase(abi.F32, abi.BF16, wide, plain, 3, 5, 40),
		scatterCase(abi.F32, abi.F32, plain, plain, 0, 5, 40), scatterCase(abi.F32, abi.F32, plain, plain, 1000, 2, 300))
}

// gatherCase takes n of rows rows of a width; some indexes are negative.
func gatherCase(from, to abi.DType, l, m layout, n, rows, width int64) Case {
	return Case{"gather", fmt.Sprintf("%s to %s %d of [%d %d] %s to %s", from, to, n, rows, width, l, m), func(t *Trial) {
		index := t.in(abi.I32, plain, t.ints(-2, int(rows)-1), n)
		t.Gather(t.out(to, m, n, width), t.stores(from, l, rows, width), index)
	}}
}

// scatterCase adds n rows to a table; most rows of it are hit more than once.
func scatterCase(from, to abi.DType, l, m layout, n, rows, width int64) Case {
	return Case{"scatter_add", fmt.Sprintf("%s to %s %d into [%d %d] %s to %s", from, to, n, rows, width, l, m), func(t *Trial) {
		t.Length = 1 + n/rows
		t.Scale = math.Sqrt(float64(t.Length))
		index := t.in(abi.I32, wide, t.ints(-1, int(rows)-1), n)
		t.ScatterAdd(t.state(to, m, t.normal, rows, width), t.in(from, l, t.normal, n, width), index)
	}}
}

func gatherBenchmarks() []Case {
	return []Case{gatherCase(abi.F32, abi.F32, plain, plain, benchTokens, 2048, benchHidden),
		scatterCase(abi.F32, abi.F32, plain, plain, benchTokens, 2048, benchHidden)}
}
