package training

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/fault"
)

// blocksPrefix stands before the number of layers that are recomputed whole; the others
// are recomputed selectively.
const blocksPrefix = "block:"

// lean recomputes every block whole and applies one projection at a time, which spares the
// backend workspace: the least memory there is.
const lean = "lean"

// chooseRecompute takes the policy asked for or, with auto, the least recompute that
// fits the memory: none, selective, then what some layers keep on the host and whole blocks in
// as many others as needed, at last lean, without and with checkpoints on the host.
func (e *Engine) chooseRecompute() error {
	layers := e.Net.Model.Layers()
	if e.Settings.Offload == "true" {
		e.stride = max(1, e.offloadStride())
	}
	if e.Settings.Recompute == lean {
		return e.chooseLean(layers)
	}
	if e.Settings.Recompute != "auto" {
		var err error
		if e.Policy, err = e.parsePolicies(e.Settings.Recompute); err != nil {
			return err
		}
		return e.fits()
	}
	err := e.chooseAuto(layers)
	return cmp.Or(e.hindrance, err)
}

func (e *Engine) chooseAuto(layers int) error {
	uniform := func(p program.Policy) error {
		e.Policy = slices.Repeat([]program.Policy{p}, layers)
		return e.fits()
	}
	if uniform(program.KeepAll) == nil {
		return nil
	}
	if uniform(program.Block) != nil {
		return e.chooseLean(layers)
	}
	if uniform(program.Selective) == nil {
		return nil
	}
	if e.mayOffload() {
		e.stride = e.offloadStride()
		if e.stride > 0 && e.chooseBlocks(layers) == nil {
			return nil
		}
		e.stride = 0
	}
	return e.chooseBlocks(layers)
}

// chooseBlocks takes whole blocks in as few layers as fit, selective recompute in the others.
func (e *Engine) chooseBlocks(layers int) error {
	low, high := -1, layers // low layers in whole blocks do not fit, high do
	for high-low > 1 {
		mid := (low + high) / 2
		if e.Policy = e.blocks(mid); e.fits() == nil {
			high = mid
		} else {
			low = mid
		}
	}
	e.Policy = e.blocks(high)
	return e.fits() // what was tried since had memory planned for other goals
}

// balance is how many FLOPs a device computes in the time a byte is copied to or from the
// host: about the same for A100, H100 and H200 with the PCIe of their generations.
const balance = 12000

// offloadStride is how many layers compute as long as it takes to copy what one of them
// keeps, so that copies of every stride-th layer's hold up nothing, and more where the host has
// no room for so many; 0 where a copy takes longer than the whole model.
func (e *Engine) offloadStride() int {
	layers := e.Net.Model.Layers()
	if len(e.uses.Train) == 0 {
		return 0
	}
	g := buildBody(e.Net, e.scalars, e.Settings.Precision, bodySpec{batch: e.Settings.Batch, seq: slices.Max(e.uses.Train), training: true,
		policy: func(int) program.Policy { return program.Selective }}).Graph
	flops := 0.0
	for _, n := range g.Nodes {
		if n.Phase == op.Forward && n.Block == 0 {
			flops += op.FLOPs(n)
		}
	}
	stay := float64(program.Stay(g, 0))
	stride := int(math.Ceil(balance * stay / flops))
	if room := e.Settings.HostMemoryLimit - e.Session.Memory().Staging; room > 0 {
		stride = max(stride, int(math.Ceil(float64(layers)*stay/float64(room))))
	}
	if stride < 1 || stride >= layers {
		return 0
	}
	return stride
}

// mayOffload tells whether auto may let activations wait on the host.
func (e *Engine) mayOffload() bool { return e.Settings.Offload == "auto" && e.Session.CopiesBeside() }

// offloads tells whether all that a layer keeps waits on the host: of every stride-th layer but
// the last, whose copies would not be through when the backward begins. The first layers'
// would come back when memory is fullest with gradients. With lean, no layer keeps more than
// its checkpoint.
func (e *Engine) offloads(layer int) bool {
	return e.stride > 0 && !e.Net.apart && layer%e.stride == e.stride-1 && layer+e.stride < e.Net.Model.Layers()
}

// leaves tells whether anything of a layer waits on the host: of one that is computed again, its
// checkpoint.
func (e *Engine) leaves(layer int) bool {
	return e.offloads(layer) || e.stride > 0 && e.Policy[layer] == program.Block
}

// reach is how many layers compute while what one leaves is copied.
func (e *Engine) reach() int {
	if e.Net.apart {
		return min(e.stride, 1)
	}
	return e.stride
}

func (e *Engine) chooseLean(layers int) error {
	e.Net.apart = true
	e.Policy = e.blocks(layers)
	err := e.fits()
	if err == nil || !e.mayOffload() {
		return err
	}
	e.stride = 1
	return e.fits()
}

// blocks recomputes whole the first k of the layers that offload nothing, whose results would
// be kept the longest, and the others selectively.
func (e *Engine) blocks(k int) []program.Policy {
	all := slices.Repeat([]program.Policy{program.Selective}, e.Net.Model.Layers())
	for i := range all {
		if k > 0 && !e.offloads(i) {
			all[i] = program.Block
			k--
		}
	}
	return all
}

func (e *Engine) parsePolicies(text string) ([]program.Policy, error) {
	layers := e.Net.Model.Layers()
	if count, ok := strings.CutPrefix(text, blocksPrefix); ok {
		k, err := strconv.Atoi(count)
		if err != nil || k < 1 || k > layers {
			return nil, &fault.Error{Kind: fault.Usage, Where: "--recompute", Found: text, Want: fmt.Sprintf("%s with 1 to %d layers", blocksPrefix, layers)}
		}
		return e.blocks(k), nil
	}
	p, err := program.ParsePolicy(text)
	return slices.Repeat([]program.Policy{p}, layers), err
}

// RecomputeName is the policy chosen, as --recompute takes it.
func (e *Engine) RecomputeName() string {
	k := 0
	for _, p := range e.Policy {
		if p == program.Block {
			k++
		}
	}
	switch {
	case e.Net.apart:
		return lean
	case len(e.Policy) == 0 || k == len(e.Policy):
		return program.Block.String()
	case k > 0:
		return blocksPrefix + strconv.Itoa(k)
	}
	return e.Policy[len(e.Policy)-1].String()
}

// Offloads tells whether some layers' results wait on the host.
func (e *Engine) Offloads() bool { return e.stride > 0 }

// fits is why the policy cannot be taken. What is no matter of memory is remembered: another
// policy is no way out of it.
func (e *Engine) fits() error {
	err := e.compileOnTrial()
	if err != nil && e.hindrance == nil && fault.ExitCode(err) != int(fault.Memory) {
		e.hindrance = err
	}
	return err
}

// compileOnTrial compiles the largest shapes on trial and compares the plan with the limit.
func (e *Engine) compileOnTrial() error {
	if err := e.withinLimit(); err != nil {
		return err // the states alone
	}
	mark, noted := e.Session.Mark(), maps.Clone(e.arenas)
	forget := func() {
		e.Session.Reset(mark)
		e.arenas = maps.Clone(noted)
		clear(e.bodies)
		clear(e.generators)
	}
	defer forget()
	largest := e.uses
	largest.Train, largest.Evaluate = longest(e.uses.Train), longest(e.uses.Evaluate)
	if err := e.compileShapes(largest); err != nil {
		return err
	}
	err := e.withinLimit()
	if m := e.Session.Memory(); err != nil && e.goal(m) > 0 {
		e.Session.Pack(e.goal(m))
		forget()
		if err := e.compileShapes(largest); err != nil {
			return err
		}
		return e.withinLimit()
	}
	return err
}

// goal is the arena that would keep to the limit.
func (e *Engine) goal(m session.Memory) int64 { return e.Settings.MemoryLimit - (m.Total() - m.Arena) }

// limitPlans gives the backend's plans of lists what the limit leaves. The largest shapes'
// fit, and every list runs without one too.
func (e *Engine) limitPlans() {
	m := e.Session.Memory()
	if over := m.Total() - e.Settings.MemoryLimit; e.Settings.MemoryLimit > 0 && over > 0 {
		e.Session.LimitPlans(max(0, m.Plans-over))
	}
}

// withinLimit compares what is planned so far with the limits of device and host.
func (e *Engine) withinLimit() error {
	m := e.Session.Memory()
	if need, limit := m.Total(), e.Settings.MemoryLimit; limit > 0 && need > limit {
		return &fault.Error{Kind: fault.Memory, Where: "memory plan", Found: gib(need) + " needed", Want: "at most " + gib(limit),
			Remedy: "lower --batch_size or --context_length, or raise --memory_limit"}
	}
	if need, limit := m.OnHost(), e.Settings.HostMemoryLimit; limit > 0 && need > limit {
		return &fault.Error{Kind: fault.Memory, Where: "memory plan of the host", Found: gib(need) + " needed", Want: "at most " + gib(limit),
			Remedy: "give --use_activation_cpu_offload false, or raise --host_memory_limit"}
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
