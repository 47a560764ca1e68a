package training

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"trainer/core/program"
	"trainer/fault"
)

// blocksPrefix stands before the number of layers that are recomputed whole; the others
// are recomputed selectively.
const blocksPrefix = "block:"

// lean recomputes every block whole and applies one projection at a time, which spares the
// backend workspace: the least memory there is.
const lean = "lean"

// chooseRecompute takes the policy asked for or, with auto, the least recompute that
// fits the memory: none, selective, then whole blocks in as many layers as needed, at last
// lean.
func (e *Engine) chooseRecompute() error {
	layers := e.Net.Model.Layers()
	if e.Settings.Recompute == lean {
		return e.chooseLean(layers)
	}
	if e.Settings.Recompute != "auto" {
		var err error
		if e.Policy, err = parsePolicies(e.Settings.Recompute, layers); err != nil {
			return err
		}
		return e.fits()
	}
	uniform := func(p program.Policy) (bool, error) { return e.try(slices.Repeat([]program.Policy{p}, layers)) }
	if fits, err := uniform(program.KeepAll); fits || err != nil {
		return err
	}
	if fits, err := uniform(program.Block); err != nil {
		return err
	} else if !fits {
		return e.chooseLean(layers)
	}
	if fits, err := uniform(program.Selective); fits || err != nil {
		return err
	}
	low, high := 0, layers // low layers in whole blocks do not fit, high do
	for high-low > 1 {
		mid := (low + high) / 2
		fits, err := e.try(blocks(layers, mid))
		if err != nil {
			return err
		}
		if fits {
			high = mid
		} else {
			low = mid
		}
	}
	e.Policy = blocks(layers, high)
	return nil
}

// try takes a policy and reports whether it fits the memory. Any other hindrance is an error.
func (e *Engine) try(policy []program.Policy) (fits bool, err error) {
	e.Policy = policy
	err = e.fits()
	if fault.ExitCode(err) == int(fault.Memory) {
		return false, nil
	}
	return err == nil, err
}

func (e *Engine) chooseLean(layers int) error {
	e.Net.apart = true
	e.Policy = blocks(layers, layers)
	return e.fits()
}

// blocks recomputes the first k layers whole, whose results would be kept the longest,
// and the others selectively.
func blocks(layers, k int) []program.Policy {
	all := slices.Repeat([]program.Policy{program.Selective}, layers)
	for i := range k {
		all[i] = program.Block
	}
	return all
}

func parsePolicies(text string, layers int) ([]program.Policy, error) {
	if count, ok := strings.CutPrefix(text, blocksPrefix); ok {
		k, err := strconv.Atoi(count)
		if err != nil || k < 1 || k > layers {
			return nil, &fault.Error{Kind: fault.Usage, Where: "--recompute", Found: text, Want: fmt.Sprintf("%s with 1 to %d layers", blocksPrefix, layers)}
		}
		return blocks(layers, k), nil
	}
	p, err := program.ParsePolicy(text)
	return slices.Repeat([]program.Policy{p}, layers), err
}

// RecomputeName is the policy chosen, as --recompute takes it.
func (e *Engine) RecomputeName() string {
	k := 0
	for k < len(e.Policy) && e.Policy[k] == program.Block {
		k++
	}
	switch {
	case e.Net.apart:
		return lean
	case len(e.Policy) == 0 || k == len(e.Policy):
		return program.Block.String()
	case k > 0:
		return blocksPrefix + strconv.Itoa(k)
	}
	return e.Policy[0].String()
}

// fits compiles the largest shapes on trial and compares the plan with the limit.
func (e *Engine) fits() error {
	if err := e.withinLimit(); err != nil {
		return err // the states alone
	}
	mark, noted := e.Session.Mark(), maps.Clone(e.arenas)
	defer func() {
		e.Session.Reset(mark)
		e.arenas = noted
		clear(e.bodies)
		clear(e.generators)
	}()
	largest := e.uses
	largest.Train, largest.Evaluate = longest(e.uses.Train), longest(e.uses.Evaluate)
	if err := e.compileShapes(largest); err != nil {
		return err
	}
	return e.withinLimit()
}

// limitPlans gives the backend's plans of lists what the limit leaves. The largest shapes'
// fit, and every list runs without one too.
func (e *Engine) limitPlans() {
	m := e.Session.Memory()
	if over := m.Total() - e.Settings.MemoryLimit; e.Settings.MemoryLimit > 0 && over > 0 {
		e.Session.LimitPlans(max(0, m.Plans-over))
	}
}

// withinLimit compares what is planned so far with the limit.
func (e *Engine) withinLimit() error {
	need, limit := e.Session.Memory().Total(), e.Settings.MemoryLimit
	if limit > 0 && need > limit {
		return &fault.Error{Kind: fault.Memory, Where: "memory plan", Found: gib(need) + " needed", Want: "at most " + gib(limit),
			Remedy: "lower --batch_size or --context_length, or raise --memory_limit"}
	}
	return nil
}

// longest is the largest of lengths alone.
func longest(lengths []int64) []int64 {
	if len(lengths) == 0 {
		return nil
	}
	return []int64{slices.Max(lengths)}
}
