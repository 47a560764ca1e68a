package training

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/training/data"
)

// The phases of a step, in the order in which they come. In a backward that computes things
// again, recompute and backward take turns.
const (
	PhaseForward   = "forward"
	PhaseHead      = "head"
	PhaseRecompute = "recompute"
	PhaseBackward  = "backward"
	PhaseUpdate    = "update"
	PhaseLoad      = "load" // what fills states before the first step
)

// StepPhases lists them.
var StepPhases = []string{PhaseForward, PhaseHead, PhaseRecompute, PhaseBackward, PhaseUpdate}

// Cost is what one node of a step takes.
type Cost struct {
	Phase   string
	Node    *op.Node
	Family  string  // the op's
	FLOPs   float64 // of its matrix products
	Bytes   float64 // read and written at least
	Seconds float64 // 0 where nothing was timed
	Count   int     // how many nodes this one stands for
}

// stepPart is a part of a step. phase is that of all its nodes, or empty where they say.
type stepPart struct {
	session.Part
	phase string
}

// costs lists the nodes of a part without their times.
func (p stepPart) costs() []Cost {
	var costs []Cost
	for _, n := range p.Nodes() {
		costs = append(costs, Cost{Phase: cmp.Or(p.phase, n.Phase.String()), Node: n, Family: op.MustLookup(n.Op).Name, FLOPs: op.FLOPs(n), Bytes: op.Bytes(n), Count: 1})
	}
	return costs
}

// stepParts are the parts of a micro-batch's run, and the update where it is a program of its
// own.
func (e *Engine) stepParts(run session.Run) (parts []stepPart) {
	for _, p := range run.Parts {
		parts = append(parts, stepPart{Part: p})
	}
	parts[1].phase = PhaseHead
	if !e.fused() {
		parts = append(parts, stepPart{Part: session.Part{Program: e.step}})
	}
	return parts
}

// Costs lists what a step of one micro-batch like b runs.
func (e *Engine) Costs(b data.Batch) ([]Cost, error) {
	run, _, err := e.microRun(b, true, nil)
	if err != nil {
		return nil, err
	}
	var costs []Cost
	for _, p := range e.stepParts(run) {
		costs = append(costs, p.costs()...)
	}
	return costs, nil
}

// Profile times the nodes of a step of one micro-batch in the order in which they run: within
// the step where the device times records, else each alone (session.Session.Profile). Weights
// and optimizer state are of no use afterwards.
func (e *Engine) Profile(b data.Batch) ([]Cost, error) {
	run, _, err := e.microRun(b, true, e.params(0, 1, 0))
	if err != nil {
		return nil, err
	}
	parts := e.stepParts(run)
	run.Parts = nil
	for _, p := range parts {
		run.Parts = append(run.Parts, p.Part)
	}
	timings, err := e.Session.Profile(run)
	if err != nil {
		return nil, err
	}
	var costs []Cost
	for i, p := range parts {
		for j, c := range p.costs() {
			c.Seconds = timings[i][j].Seconds
			costs = append(costs, c)
		}
	}
	return costs, nil
}

// Kinds times one node of each kind that a step of a micro-batch like b runs, and what fills
// the states before it: equal ops on operands of equal shapes and types. A kind takes about
// as long as given. Weights and optimizer state are of no use afterwards.
func (e *Engine) Kinds(b data.Batch, patience time.Duration) ([]Cost, error) {
	run, _, err := e.microRun(b, true, e.params(0, 1, 0))
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	var kinds []Cost
	for _, p := range append(e.stepParts(run), stepPart{session.Part{Program: e.starts}, PhaseLoad}) {
		for _, c := range p.costs() {
			kind := signature(c.Node)
			if i, seen := at[kind]; seen {
				kinds[i].Count++
				continue
			}
			at[kind] = len(kinds)
			if c.Seconds, err = e.Session.Best(p.Part, c.Node, run.Params, patience); err != nil {
				return nil, err
			}
			kinds = append(kinds, c)
		}
	}
	return kinds, nil
}

// signature is equal for nodes that take equally long: what they ask of a backend, how much
// they compute, and how their operands lie.
func signature(n *op.Node) string {
	text := fmt.Sprint(program.Query(n), op.FLOPs(n))
	for _, v := range slices.Concat(n.Out, n.In) {
		if v == nil {
			text += " -"
			continue
		}
		text += fmt.Sprint(" ", v.Type(), v.Shape, v.Stride)
	}
	return text
}
