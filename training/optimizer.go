package training

import (
	"fmt"
	"strings"

	"trainer/core/abi"
	"trainer/core/op"
)

// Optimizer is the rule by which weights move and its constants.
type Optimizer struct {
	Rule                           Rule
	Beta1, Beta2, Eps, WeightDecay float64 // of adamw and adam
	MaxNorm                        float64 // largest norm of the gradient; 0 = no clipping
}

// Rule is a row of the table of optimizers: the states it keeps for a parameter, and the
// parameter's update.
type Rule struct {
	Name string
	// composed updates are long lists of mandatory ops: they are compiled once, as a program
	// of their own, and not for every shape of a body.
	composed bool
	states   func(n *Network, parameter *op.Value) []*op.Value
	emit     func(b *op.Builder, u parameterUpdate)
}

// parameterUpdate is what the update of one parameter is made of.
type parameterUpdate struct {
	Optimizer
	Trained
	rounding op.Rounding
	scalars  scalars
	guarded  op.Guarded
	network  *Network
}

// Constants of Adadelta as PyTorch has them.
const (
	adadeltaRho = 0.9
	adadeltaEps = 1e-6
)

// In rules, states are named as PyTorch names them. adam is adamw without weight decay.
var rules = []Rule{
	{"adamw", false, adamStates, emitAdamW},
	{"adam", false, adamStates, func(b *op.Builder, u parameterUpdate) {
		u.WeightDecay = 0
		emitAdamW(b, u)
	}},
	{"adamw_8bit", true, blockwiseStates, emitAdamW8Bit},
	{"sgd", true, func(*Network, *op.Value) []*op.Value { return nil }, func(b *op.Builder, u parameterUpdate) {
		b.SGD(u.rounding, u.Value, u.Grad, u.scalars.lr, u.scalars.seed, u.guarded)
	}},
	{"adadelta", true, func(_ *Network, p *op.Value) []*op.Value { return moments(p, "square_avg", "acc_delta") }, func(b *op.Builder, u parameterUpdate) {
		a := op.Adadelta{Rho: adadeltaRho, Eps: adadeltaEps, Rounding: u.rounding}
		b.Adadelta(a, u.Value, u.Moments[0], u.Moments[1], u.Grad, u.scalars.lr, u.scalars.seed, u.guarded)
	}},
}

// moments are states of a parameter's shape.
func moments(p *op.Value, names ...string) (states []*op.Value) {
	for _, name := range names {
		states = append(states, op.NewValue(p.Name+"."+name, op.State, op.Moment, 0, p.Shape...))
	}
	return states
}

func adamStates(_ *Network, p *op.Value) []*op.Value { return moments(p, "exp_avg", "exp_avg_sq") }

func (u parameterUpdate) adamW() op.AdamW {
	return op.AdamW{Beta1: u.Beta1, Beta2: u.Beta2, Eps: u.Eps, WeightDecay: u.WeightDecay, Stochastic: u.rounding.Stochastic, Site: u.rounding.Site}
}

func emitAdamW(b *op.Builder, u parameterUpdate) {
	b.AdamW(u.adamW(), u.Value, u.Moments[0], u.Moments[1], u.Grad, u.scalars.lr, u.scalars.seed, u.guarded)
}

// blockwiseLeast is the size below which a parameter's moments are not worth 8 bits.
const blockwiseLeast = 4096

// dynamicMaps are the values of 8-bit codes, with and without signs.
func (n *Network) dynamicMaps() (signed, unsigned *op.Value) {
	return n.table("dynamic_map", op.DynamicMap()), n.table("unsigned_dynamic_map", op.UnsignedDynamicMap())
}

// blockwiseStates are the codes and scales of both moments, or Adam's moments where the
// parameter is small.
func blockwiseStates(n *Network, p *op.Value) (states []*op.Value) {
	if p.Count() < blockwiseLeast {
		return adamStates(n, p)
	}
	n.dynamicMaps()
	for _, name := range []string{".exp_avg", ".exp_avg_sq"} {
		blocks := (p.Count() + op.BlockwiseGroup - 1) / op.BlockwiseGroup
		states = append(states, op.NewValue(p.Name+name, op.State, op.Fixed, abi.U8, p.Count()),
			op.NewValue(p.Name+name+".absmax", op.State, op.Fixed, abi.F32, blocks))
	}
	return states
}

func emitAdamW8Bit(b *op.Builder, u parameterUpdate) {
	if len(u.Moments) == 2 {
		emitAdamW(b, u)
		return
	}
	signed, unsigned := u.network.dynamicMaps()
	m := op.Blockwise{Codes: u.Moments[0], Absmax: u.Moments[1], Map: signed}
	v := op.Blockwise{Codes: u.Moments[2], Absmax: u.Moments[3], Map: unsigned}
	b.AdamW8Bit(u.adamW(), u.Value, m, v, u.Grad, u.scalars.lr, u.scalars.seed, u.guarded)
}

// RuleByName finds an optimizer.
func RuleByName(name string) (Rule, error) {
	var names []string
	for _, r := range rules {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Rule{}, fmt.Errorf("optimizer %q is not one of %s", name, strings.Join(names, ", "))
}
