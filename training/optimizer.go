package training

import (
	"fmt"
	"strings"

	"trainer/core/op"
)

// Optimizer is the rule by which weights move and its constants.
type Optimizer struct {
	Rule                           Rule
	Beta1, Beta2, Eps, WeightDecay float64 // of adamw
	MaxNorm                        float64 // largest norm of the gradient; 0 = no clipping
}

// Rule is a row of the table of optimizers: the states it keeps for each parameter, as
// PyTorch names them, and the update of one parameter.
type Rule struct {
	Name    string
	Moments []string
	emit    func(b *op.Builder, o Optimizer, r op.Rounding, t Trained, s scalars, g op.Guarded)
}

// Constants of Adadelta as PyTorch has them.
const (
	adadeltaRho = 0.9
	adadeltaEps = 1e-6
)

// adam is adamw, without its weight decay.
var rules = []Rule{
	{"adamw", []string{"exp_avg", "exp_avg_sq"}, emitAdamW},
	{"adam", []string{"exp_avg", "exp_avg_sq"}, func(b *op.Builder, o Optimizer, r op.Rounding, t Trained, s scalars, g op.Guarded) {
		o.WeightDecay = 0
		emitAdamW(b, o, r, t, s, g)
	}},
	{"sgd", nil, func(b *op.Builder, _ Optimizer, r op.Rounding, t Trained, s scalars, g op.Guarded) {
		b.SGD(r, t.Value, t.Grad, s.lr, s.seed, g)
	}},
	{"adadelta", []string{"square_avg", "acc_delta"}, func(b *op.Builder, _ Optimizer, r op.Rounding, t Trained, s scalars, g op.Guarded) {
		a := op.Adadelta{Rho: adadeltaRho, Eps: adadeltaEps, Rounding: r}
		b.Adadelta(a, t.Value, t.Moments[0], t.Moments[1], t.Grad, s.lr, s.seed, g)
	}},
}

func emitAdamW(b *op.Builder, o Optimizer, r op.Rounding, t Trained, s scalars, g op.Guarded) {
	a := op.AdamW{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, Stochastic: r.Stochastic, Site: r.Site}
	b.AdamW(a, t.Value, t.Moments[0], t.Moments[1], t.Grad, s.lr, s.seed, g)
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
