package main

import (
	"context"
	"slices"

	"trainer/core/conformance"
	"trainer/core/op"
)

// benchOps times one node of each kind that a step runs, or that fills the states before it,
// and of the families that neither has a case of conformance.
func (w *workshop) benchOps(ctx context.Context, events Events, b *BenchReport) error {
	kinds, err := w.engine.Kinds(w.randomBatch(0, w.job.Config.ContextLength), opPatience)
	if err != nil {
		return err
	}
	if err := w.measureRates(events, b); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		seen[k.Family] = true
		b.Ops = append(b.Ops, OpTiming{Family: k.Family, Shapes: shapesOf(k.Node), Phase: k.Phase, Calls: k.Count, Seconds: k.Seconds, Bound: Bound{FLOPs: k.FLOPs, Bytes: k.Bytes}})
	}
	if err := w.benchCases(ctx, seen, b); err != nil {
		return err
	}
	for i := range b.Ops {
		o := &b.Ops[i]
		o.BoundShare = ideal(o.FLOPs, o.Bytes, b.Rates) / o.Seconds
	}
	slices.SortStableFunc(b.Ops, func(x, y OpTiming) int { return familyOrder[x.Family] - familyOrder[y.Family] })
	return nil
}

// benchCases times the benchmarks of families not seen.
func (w *workshop) benchCases(ctx context.Context, seen map[string]bool, b *BenchReport) error {
	device, err := w.device()
	if err != nil {
		return err
	}
	defer device.Close()
	for _, c := range conformance.Benchmarks() {
		if seen[c.Op] || ctx.Err() != nil {
			continue
		}
		t, err := conformance.Bench(device, c, opPatience)
		if err != nil {
			return err
		}
		b.Ops = append(b.Ops, OpTiming{Family: t.Op, Shapes: t.Case, Phase: "alone", Calls: 1, Seconds: t.Seconds, Bound: Bound{FLOPs: t.FLOPs, Bytes: t.Bytes}})
	}
	return nil
}

// familyOrder numbers families as they are listed.
var familyOrder = func() map[string]int {
	order := map[string]int{}
	for i, f := range op.Families() {
		order[f.Name] = i
	}
	return order
}()
