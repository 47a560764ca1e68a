package training

import (
	"slices"

	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
)

// The phases of a run, whose transients share one arena.
const (
	phaseLoad     = "loading"
	phaseTrain    = "forward and backward"
	phaseUpdate   = "optimizer step"
	phaseEvaluate = "evaluation"
	phaseGenerate = "generation"
)

var phases = []string{phaseLoad, phaseTrain, phaseUpdate, phaseEvaluate, phaseGenerate}

// arenas notes the largest arena of each phase.
type arenas map[string]int64

// took notes a program of a phase.
func (a arenas) took(phase string, p *session.Program) {
	a[phase] = max(a[phase], p.ArenaBytes())
}

// Usage is device memory under a name, in bytes.
type Usage struct {
	Name  string
	Bytes int64
}

// MemoryByKind splits the planned memory by what it holds.
func (e *Engine) MemoryByKind() []Usage {
	m := e.Session.Memory()
	trained := map[*op.Value]bool{}
	var weights, adapters, gradients, moments int64
	for _, t := range e.Net.Trained {
		trained[t.Value] = true
		if e.Net.Method.Adapters() {
			adapters += program.Bytes(t.Value)
		}
		if e.training() {
			if !e.fused() { // else they are part of the activations' arena
				gradients += program.Bytes(t.Grad)
			}
			for _, m := range t.Moments {
				moments += program.Bytes(m)
			}
		}
	}
	for _, a := range e.Net.hung() {
		for _, v := range a.derived() {
			trained[v] = true
			adapters += program.Bytes(v)
		}
	}
	for _, v := range e.Net.States(false) {
		if !e.Net.Method.Adapters() || !trained[v] {
			weights += program.Bytes(v)
		}
	}
	other := m.States - weights - adapters - gradients - moments
	usage := []Usage{{"base weights", weights}, {"adapters", adapters}, {"gradient accumulators", gradients}, {"optimizer state", moments},
		{"activations, gradients and scratch", m.Arena}, {"tables and alignment", other}, {"inputs and outputs", m.Inputs},
		{"backend workspace", m.Workspace}, {"backend plans", m.Plans}}
	if m.Unified {
		usage = append(usage, hostUsage(m)...)
	}
	return usage
}

// HostMemory is what the run takes of the host's memory where that is not the device's.
func (e *Engine) HostMemory() []Usage {
	if m := e.Session.Memory(); !m.Unified {
		return hostUsage(m)
	}
	return nil
}

func hostUsage(m session.Memory) []Usage {
	return []Usage{{"staging", m.Staging}, {"activations that wait on the host", m.Host}}
}

// MemoryByPhase is the most that each phase holds, what always stays included.
func (e *Engine) MemoryByPhase() []Usage {
	m := e.Session.Memory()
	var usage []Usage
	for _, phase := range phases {
		if arena, ok := e.arenas[phase]; ok {
			usage = append(usage, Usage{phase, m.Total() - m.Arena + arena})
		}
	}
	return slices.Clip(usage)
}
