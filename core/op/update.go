package op

import "trainer/core/abi"

// The optimizers here and in blockwise.go are compositions of mandatory ops: no backend
// has a kernel of theirs. As in OpAdamw, gradients are multiplied by the guard's clip
// factor, and a step that is skipped changes nothing.

// Rounding says how an update rounds its states: Stochastic ones of bf16 up or down with
// probability by distance, with OpAdamw's random numbers at Site.
type Rounding struct {
	Stochastic bool
	Site       Site
}

// SGD emits a step of plain gradient descent, without momentum: param -= lr g.
func (b *Builder) SGD(r Rounding, param, grad, lr, seed *Value, g Guarded) {
	step := b.times(b.times(grad, g.Clip), lr)
	b.settle(r, g.Skip, g.Steps, seed, [2]*Value{param, b.minus(param, step)})
}

// Adadelta is the constants of Adadelta (Zeiler 2012), as torch.optim.Adadelta steps.
type Adadelta struct {
	Rho, Eps float64
	Rounding
}

// Adadelta emits one parameter's update; param, the mean square of gradients and that of
// steps are states:
// squares = rho squares + (1-rho) g^2; d = sqrt(deltas + eps) / sqrt(squares + eps) g;
// deltas = rho deltas + (1-rho) d^2; param -= lr d.
func (b *Builder) Adadelta(a Adadelta, param, squares, deltas, grad, lr, seed *Value, g Guarded) {
	rho := float64(float32(a.Rho))
	decayed := func(mean, x *Value) *Value { return b.plus(b.affine(mean, rho, 0), b.affine(b.times(x, x), 1-rho, 0)) }
	root := func(x *Value) *Value { return b.apply(abi.UnarySqrt, b.affine(x, 1, a.Eps)) }
	clipped := b.times(grad, g.Clip)
	newSquares := decayed(squares, clipped)
	d := b.times(b.over(root(deltas), root(newSquares)), clipped)
	b.settle(a.Rounding, g.Skip, g.Steps, seed,
		[2]*Value{param, b.minus(param, b.times(d, lr))}, [2]*Value{squares, newSquares}, [2]*Value{deltas, decayed(deltas, d)})
}

// settle writes pairs of a state and its new value, unless skip is not 0. The order of
// the pairs tells their random numbers apart.
func (b *Builder) settle(r Rounding, skip, steps, seed *Value, pairs ...[2]*Value) {
	for which, pair := range pairs {
		state, x := pair[0], pair[1]
		if r.Stochastic && state.Type() == abi.BF16 {
			x = b.stochasticBF16(x, b.noise(x.Shape, r.Site, which, steps, seed))
		}
		b.Select(state, skip, state, x)
	}
}
