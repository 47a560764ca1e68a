package surgery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// Extraction says what became of a merged model.
type Extraction struct {
	Modules int     // that have an adapter now
	Left    int     // tensors that differ too, and that no adapter holds
	Miss    float64 // the largest share of a module's change that its adapter does not make
}

// Extract writes, as a PEFT folder, the LoRA or DoRA adapter of a rank that makes merged of
// base as nearly as can be. Exactly it does so where merged came from such an adapter, but
// for the rounding of its dtype. The folder exists.
func Extract(ctx context.Context, base, merged *Base, rank int, dora bool, name, dir string) (Extraction, error) {
	var e Extraction
	var tensors []peft.Tensor
	config := peft.Config{R: rank, Alpha: float64(rank), UseDoRA: dora, BaseModel: name}
	x := &extractor{ctx: ctx, base: base, merged: merged, rank: int64(rank), dora: dora, miss: &e.Miss}
	for _, t := range base.Config.Tensors() {
		if !slices.Equal(merged.shapes[t.Name], t.Shape) {
			return e, &fault.Error{Kind: fault.Files, Where: merged.Dir, Field: "tensor " + t.Name, Found: fmt.Sprintf("shape %v", merged.shapes[t.Name]),
				Want: fmt.Sprintf("%v, as in %s", t.Shape, base.Dir), Remedy: "name the model that was made from this base"}
		}
		differs, err := x.differs(t.Name)
		if err != nil {
			return e, err
		}
		module, isWeight := strings.CutSuffix(t.Name, ".weight")
		_, _, inLayer := splitLayer(module)
		switch {
		case !differs:
		case !isWeight || !inLayer || len(t.Shape) != 2:
			e.Left++
		case int64(rank) > min(t.Shape[0], t.Shape[1]):
			return e, &fault.Error{Kind: fault.Usage, Where: "--lora_rank", Found: fmt.Sprint(rank), Want: fmt.Sprintf("at most %d, the rank of %s", min(t.Shape[0], t.Shape[1]), module)}
		default:
			e.Modules++
			config.TargetModules = append(config.TargetModules, module)
			tensors = append(tensors, x.tensors(module, t.Shape)...)
		}
	}
	if e.Modules == 0 {
		return e, &fault.Error{Kind: fault.Files, Where: merged.Dir, Found: "the projections of " + base.Dir, Want: "some that differ", Remedy: "name a model into which an adapter was merged"}
	}
	return e, peft.Write(dir, config, tensors)
}

// extractor decomposes one module after the other, when its first tensor is written.
type extractor struct {
	ctx          context.Context
	base, merged *Base
	rank         int64
	dora         bool
	module       string // that was decomposed last
	made         factors
	magnitude    []float32
	miss         *float64
}

// differs compares a tensor of both models.
func (x *extractor) differs(tensor string) (bool, error) {
	var other []float32
	found := false
	err := eachChunk(x.base, tensor, x.base.shapes[tensor], func(first int64, values []float32) error {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		other = append(other[:0], values...)
		if err := x.merged.Rows(tensor, first, other); err != nil {
			return err
		}
		found = found || !slices.Equal(values, other)
		return nil
	})
	return found, err
}

// tensors are those of a module's adapter.
func (x *extractor) tensors(module string, shape []int64) []peft.Tensor {
	tensor := func(part string, values func() []float32, shape ...int64) peft.Tensor {
		return peft.Tensor{Module: module, Part: part, DType: "F32", Shape: shape, Data: func() (io.Reader, error) {
			if err := x.decompose(module); err != nil {
				return nil, err
			}
			return bytes.NewReader(safetensors.AppendFloats(nil, values(), "F32")), nil
		}}
	}
	list := []peft.Tensor{
		tensor(peft.PartA, func() []float32 { return x.made.a.values }, x.rank, shape[1]),
		tensor(peft.PartB, func() []float32 { return x.made.b().values }, shape[0], x.rank)}
	if x.dora {
		list = append(list, tensor(peft.PartMagnitude, func() []float32 { return x.magnitude }, shape[0]))
	}
	return list
}

// decompose has the adapter of a module in memory.
func (x *extractor) decompose(module string) error {
	if x.module == module {
		return nil
	}
	if err := x.ctx.Err(); err != nil {
		return err
	}
	var both [2]matrix
	for i, b := range []*Base{x.base, x.merged} {
		shape := b.shapes[module+".weight"]
		both[i] = newMatrix(shape[0], shape[1])
		if err := b.Rows(module+".weight", 0, both[i].values); err != nil {
			return err
		}
	}
	var miss float64
	x.made, x.magnitude, miss = decompose(both[0], both[1], x.rank, x.dora)
	x.module, *x.miss = module, max(*x.miss, miss)
	return nil
}
