package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

// adamStep is a case of adamw.
type adamStep struct {
	shape      []int64
	param      abi.DType
	moments    abi.DType
	grad       abi.DType
	steps      int
	skip       bool
	stochastic bool
	decay      float64
	l          layout // of the parameter and its gradient
}

func adamwCases() (cases []Case) {
	var steps []adamStep
	for _, n := range append([]int64{0, 70001}, borders...) {
		steps = append(steps, adamStep{shape: []int64{n}, steps: 1, decay: 0.01})
	}
	for _, param := range floats {
		for _, moments := range floats[:2] {
			for _, grad := range floats {
				steps = append(steps, adamStep{shape: []int64{7, 33}, param: param, moments: moments, grad: grad, steps: 2})
			}
		}
	}
	for _, l := range layouts {
		steps = append(steps, adamStep{shape: []int64{7, 33}, l: l, steps: 3, decay: 0.1}, adamStep{shape: []int64{7, 33}, l: l, skip: true})
	}
	steps = append(steps, adamStep{shape: []int64{7, 33}, steps: 100000}, adamStep{shape: []int64{2, 3, 5}, steps: 7, decay: 0.1},
		adamStep{shape: []int64{7, 33}, steps: 5, stochastic: true},
		adamStep{shape: []int64{7, 33}, param: abi.BF16, moments: abi.F32, steps: 5, stochastic: true},
		adamStep{shape: []int64{30, 70}, param: abi.BF16, moments: abi.BF16, grad: abi.BF16, steps: 5, stochastic: true, decay: 0.1},
		adamStep{shape: []int64{30, 70}, param: abi.BF16, moments: abi.BF16, grad: abi.BF16, steps: 5, stochastic: true, l: turned})
	for _, s := range steps {
		s.param, s.moments, s.grad = orF32(s.param), orF32(s.moments), orF32(s.grad)
		cases = append(cases, Case{"adamw", s.String(), s.make})
	}
	return cases
}

func (s adamStep) String() string {
	name := fmt.Sprintf("%v %s %s %s step %d decay %v %s", s.shape, s.param, s.moments, s.grad, s.steps, s.decay, s.l)
	if s.skip {
		name += " skipped"
	}
	if s.stochastic {
		name += " stochastic"
	}
	return name
}

func (s adamStep) make(t *Trial) {
	param, m, v := t.state(s.param, s.l, t.normal, s.shape...), t.state(s.moments, plain, t.scaled(0.1), s.shape...), t.state(s.moments, plain, t.between(0, 0.1), s.shape...)
	skip := 0.0
	if s.skip {
		skip = 1
		t.exact(param, m, v)
	}
	g := op.Guarded{Clip: t.in(abi.F32, plain, same(0.75), 1), Skip: t.in(abi.I32, plain, same(skip), 1), Steps: t.in(abi.I32, plain, same(float64(s.steps)), 1)}
	a := op.AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: s.decay, Stochastic: s.stochastic, Site: op.SiteOf("test", "adamw")}
	grad := t.in(s.grad, s.l, t.normal, s.shape...)
	lr, seed := t.param(abi.F32, 0, []float64{1e-3}, []float64{0.02}), t.param(abi.I32, 8, []float64{7, -9}, []float64{8, 1 << 30})
	if s.stochastic {
		t.fill(grad, t.between(0.5, 2))
		for _, state := range vals(param, m, v) {
			t.fill(state, t.between(0.5, 2)) // no cancellation
			if state.Type() == abi.BF16 {    // a result near the border of two may fall on either side
				t.Rules[state.Root] = Rule{Near: 0.001}
			}
		}
	}
	t.AdamW(a, param, m, v, grad, lr, seed, g)
}

func adamwBenchmarks() []Case {
	s := adamStep{shape: []int64{benchInner, 4 * benchHidden}, param: abi.F32, moments: abi.F32, grad: abi.F32, steps: 3, decay: 0.1}
	return []Case{{"adamw", s.String(), s.make}}
}
