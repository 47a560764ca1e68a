package training

import (
	"math"
	"slices"
	"strings"

	"trainer/core/model"
	"trainer/core/op"
	"trainer/files/peft"
)

// LoRA is the shape of the adapters. (Hu et al. 2021)
type LoRA struct {
	Rank         int64
	Alpha        float64
	Dropout      float64
	Targets      []string           // names of modules or their ends: q_proj, …
	RankStable   bool               // scaled by Alpha / sqrt(Rank) (Kalajdzievski 2023)
	RankPattern  map[string]int     // rank of the modules a pattern matches, as PEFT has it
	AlphaPattern map[string]float64 // alpha of those
}

// config is what PEFT's files say of it. Patterns are readable: Check was asked.
func (l LoRA) config() peft.Config {
	return peft.Config{R: int(l.Rank), Alpha: l.Alpha, Dropout: l.Dropout, TargetModules: l.Targets,
		UseRSLoRA: l.RankStable, RankPattern: l.RankPattern, AlphaPattern: l.AlphaPattern}
}

// Check refuses patterns that cannot be read, with a *fault.Error.
func (l LoRA) Check() error {
	_, err := l.config().Scale("module")
	return err
}

// of is the rank of a module's adapter and the factor on its output.
func (l LoRA) of(module string) (rank int64, scale float64) {
	r, _ := l.config().RankOf(module)
	scale, _ = l.config().Scale(module)
	return int64(r), scale
}

// targets tells whether a module's whole name or the end of it is among the targets.
func (l LoRA) targets(module string) bool {
	return slices.ContainsFunc(l.Targets, func(t string) bool { return module == t || strings.HasSuffix(module, "."+t) })
}

// lora is a pair on one projection, which starts at nothing.
type lora struct{ op.Adapter }

func newLoRA(n *Network, spec model.Spec) lora {
	module, out, in := moduleOf(spec.Name), spec.Shape[0], spec.Shape[1]
	rank, scale := n.LoRA.of(module)
	return lora{op.Adapter{Scale: scale,
		A: op.NewValue(module+".lora_A.weight", op.State, op.Trainable, 0, rank, in),
		B: op.NewValue(module+".lora_B.weight", op.State, op.Trainable, 0, out, rank)}}
}

func hangLoRA(n *Network, spec model.Spec) adapter {
	if spec.Part != model.Projection {
		return nil
	}
	return newLoRA(n, spec)
}

func (l lora) trained() []*op.Value { return []*op.Value{l.A, l.B} }

func (l lora) derived() []*op.Value { return nil }

// start is PEFT's: A Kaiming uniform, B zero, so that training starts at the base model.
func (l lora) start(b *op.Builder, s scalars) {
	start{v: l.A, bound: kaimingBound(l.A.Shape[1])}.emit(b, s)
	start{v: l.B}.emit(b, s)
}

func (l lora) pair() *op.Adapter { return &l.Adapter }

func (l lora) factors(*op.Builder, *op.Value) bool { return false }

// kaimingBound is half the width of nn.Linear's initialisation of A [r,in]: uniform
// with gain sqrt(1/3), as PEFT starts its adapters. (He et al. 2015)
func kaimingBound(in int64) float64 { return 1 / math.Sqrt(float64(in)) }
