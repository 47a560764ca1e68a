package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

func randomCases() (cases []Case) {
	for _, features := range append([]int64{0, 4, 1025}, borders...) {
		cases = append(cases, randomCase(plain, 5, features), dropoutCase(plain, 0.1, 5, features))
	}
	for _, dtype := range floats {
		for _, features := range []int64{1, 8, 33, 1025, 2048} {
			cases = append(cases, droppedCase(dtype, plain, 0.25, 7, features))
		}
		for _, l := range rowLayouts {
			cases = append(cases, droppedCase(dtype, l, 0.5, 9, 70))
		}
	}
	for _, l := range rowLayouts {
		cases = append(cases, randomCase(l, 9, 30), dropoutCase(l, 0.5, 9, 70))
	}
	for _, p := range []float64{0, 0.05, 0.999, 1} {
		cases = append(cases, dropoutCase(plain, p, 3, 100))
	}
	return append(cases, randomCase(plain, 0, 9), randomCase(plain, 1, 1), randomCase(plain, 300, 100), dropoutCase(plain, 0.1, 300, 257))
}

// draw is coordinates of any i32, with seed and step in the params block.
func (t *Trial) draw(rows int64) op.Draw {
	any32 := t.ints(-1<<31, 1<<31-1)
	return op.Draw{
		Samples:   t.in(abi.I32, plain, any32, rows),
		Positions: t.in(abi.I32, wide, any32, rows),
		Seed:      t.param(abi.I32, 0, []float64{12345, -678}, []float64{-1, 1}),
		Step:      t.param(abi.I32, 8, []float64{3}, []float64{4}),
	}
}

func randomCase(l layout, rows, features int64) Case {
	return Case{"random", fmt.Sprintf("[%d %d] %s", rows, features, l), func(t *Trial) {
		t.Random(t.out(abi.F32, l, rows, features), op.SiteOf("test", "random"), t.draw(rows))
	}}
}

func dropoutCase(l layout, p float64, rows, features int64) Case {
	return Case{"dropout_mask", fmt.Sprintf("%v [%d %d] %s", p, rows, features, l), func(t *Trial) {
		a := op.DropoutMask{Site: op.SiteOf("test", "mask"), P: p, Features: features}
		d := t.draw(rows)
		t.Node(abi.OpDropoutMask, a, vals(t.out(abi.U8, l, rows, (features+7)/8), nil), vals(d.Samples, d.Positions, d.Seed, d.Step, nil))
	}}
}

// droppedCase applies the mask to x, too.
func droppedCase(dtype abi.DType, l layout, p float64, rows, features int64) Case {
	return Case{"dropout_mask", fmt.Sprintf("%v of %s [%d %d] %s", p, dtype, rows, features, l), func(t *Trial) {
		a := op.DropoutMask{Site: op.SiteOf("test", "mask"), P: p, KeepScale: 1 / (1 - p), Features: features}
		d, x, y := t.draw(rows), t.in(dtype, l, t.normal, rows, features), t.out(dtype, l, rows, features)
		t.Node(abi.OpDropoutMask, a, vals(t.out(abi.U8, plain, rows, (features+7)/8), y), vals(d.Samples, d.Positions, d.Seed, d.Step, x))
	}}
}

func randomBenchmarks() []Case {
	return []Case{randomCase(plain, benchTokens, benchHidden), dropoutCase(plain, 0.1, benchTokens, benchHidden), droppedCase(abi.BF16, plain, 0.1, benchTokens, benchHidden)}
}
