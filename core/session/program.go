package session

import (
	"fmt"
	"slices"
	"sort"

	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// Program is a graph as this device runs it: one list, or several where it is cut.
type Program struct {
	Inputs  []*op.Value // in upload order
	Outputs []*op.Value
	memory  program.Memory
	inner   map[*op.Value]int64 // arena offsets of an enclosing program's values
	shared  map[*op.Value]bool  // transients that several lists touch
	input   map[*op.Value]int64 // offsets in the inputs slot
	output  map[*op.Value]int64
	host    map[*op.Value]int64 // offsets in the host's slot
	ends    [2]int64            // bytes of inputs and outputs, enclosing programs' included
	parts   []*part
}

// part is one list of a program, with its plan once it proved useful.
type part struct {
	nodes     []*op.Node
	list      []byte
	once      bool // never kept as a plan
	runs      int
	planBytes int64 // of its plan
	plan      *plugin.Plan
}

// Compile lowers, plans and encodes a graph. within is nil, or the program at whose cut
// this one runs: its transients then live in scratch, an output of that cut, and its
// inputs and outputs follow the other's. After Allocate, a program that needs more than
// was planned is refused.
func (s *Session) Compile(g *op.Graph, within *Program, scratch *op.Value) (*Program, error) {
	before := s.Mark()
	p, err := s.compile(g, within, scratch)
	if err == nil {
		err = s.checkAllocated()
	}
	if err != nil {
		s.Reset(before)
		return nil, err
	}
	return p, nil
}

func (s *Session) compile(g *op.Graph, within *Program, scratch *op.Value) (*Program, error) {
	if err := s.lower(g); err != nil {
		return nil, err
	}
	p := &Program{input: map[*op.Value]int64{}, output: map[*op.Value]int64{}, inner: map[*op.Value]int64{}}
	if within != nil {
		p.inner, p.ends = within.memory.Offset, within.ends
	}
	p.shared = program.Shared(g)
	p.memory = program.PlanMemory(withoutValues(g, p.inner), s.align, s.goal)
	if within != nil {
		p.shift(within.memory.Offset[scratch])
	}
	s.placeIO(p, g)
	var host int64
	p.host, host = program.PlanHost(g, s.align)
	s.slots[slotHost] = max(s.slots[slotHost], host)
	s.slots[slotArena] = max(s.slots[slotArena], p.memory.Bytes)
	return p, s.encode(p, g)
}

// CompileOnce is Compile for a graph that will run once: no plan of it is ever kept.
func (s *Session) CompileOnce(g *op.Graph) (*Program, error) {
	kept := len(s.planSizes)
	p, err := s.Compile(g, nil, nil)
	if err != nil {
		return nil, err
	}
	s.planSizes = s.planSizes[:kept]
	for _, part := range p.parts {
		part.once = true
	}
	return p, nil
}

// checkAllocated holds what is compiled against what memory was obtained for.
func (s *Session) checkAllocated() error {
	if s.allocated == nil {
		return nil
	}
	for i, planned := range s.allocated.slots {
		if s.slots[i] > planned {
			return fmt.Errorf("session: a program needs %d bytes in slot %d, which has %d: it was not planned", s.slots[i], i, planned)
		}
	}
	if s.workspace > s.allocated.workspace {
		return fmt.Errorf("session: a program needs %d bytes of workspace, which has %d: it was not planned", s.workspace, s.allocated.workspace)
	}
	return nil
}

// Scratch is the arena a graph's transients take when it is compiled within another
// program whose values are given.
func (s *Session) Scratch(g *op.Graph, outer ...*op.Value) (int64, error) {
	if err := s.lower(g); err != nil {
		return 0, err
	}
	known := map[*op.Value]int64{}
	for _, v := range outer {
		known[v.Root] = 0
	}
	return program.PlanMemory(withoutValues(g, known), s.align, 0).Bytes, nil
}

func (s *Session) lower(g *op.Graph) error {
	var failed error
	for _, name := range program.Lower(g, func(n *op.Node) bool {
		ok, err := s.claims(n)
		if err != nil {
			failed = err
		}
		if ok && op.MustLookup(n.Op).Tier > 0 {
			s.native[op.MustLookup(n.Op).Name] = true
		}
		return ok
	}) {
		s.composed[name] = true
	}
	return failed
}

// withoutValues is the graph as its planner sees it: values that live elsewhere are no
// transients of it. Operands keep their places.
func withoutValues(g *op.Graph, elsewhere map[*op.Value]int64) *op.Graph {
	if len(elsewhere) == 0 {
		return g
	}
	hide := func(vs []*op.Value) []*op.Value {
		shown := slices.Clone(vs)
		for i, v := range shown {
			if v == nil {
				continue
			}
			if _, ok := elsewhere[v.Root]; ok {
				shown[i] = nil
			}
		}
		return shown
	}
	out := &op.Graph{}
	for _, n := range g.Nodes {
		c := *n
		c.In, c.Out = hide(n.In), hide(n.Out)
		out.Nodes = append(out.Nodes, &c)
	}
	return out
}

func (p *Program) shift(base int64) {
	for v := range p.memory.Offset {
		p.memory.Offset[v] += base
	}
	p.memory.Bytes += base
}

// placeIO lays the graph's inputs and outputs behind those of the enclosing program.
func (s *Session) placeIO(p *Program, g *op.Graph) {
	for _, v := range g.Roots() {
		switch v.Kind {
		case op.Input:
			p.Inputs = append(p.Inputs, v)
			p.input[v] = p.ends[0]
			p.ends[0] += program.RoundUp(program.Bytes(v), s.align)
		case op.Output:
			p.Outputs = append(p.Outputs, v)
			p.output[v] = p.ends[1]
			p.ends[1] += program.RoundUp(program.Bytes(v), s.align)
		}
	}
	s.slots[slotInputs] = max(s.slots[slotInputs], p.ends[0])
	s.slots[slotOutputs] = max(s.slots[slotOutputs], p.ends[1])
}

// ArenaBytes is the arena the program takes.
func (p *Program) ArenaBytes() int64 { return p.memory.Bytes }

// address is where a root of the program lives.
func (s *Session) address(p *Program) func(*op.Value) program.Address {
	return func(v *op.Value) program.Address {
		if a, ok := s.states[v]; ok {
			return a
		}
		if at, ok := p.input[v]; ok {
			return program.Address{Slot: slotInputs, Offset: at}
		}
		if at, ok := p.output[v]; ok {
			return program.Address{Slot: slotOutputs, Offset: at}
		}
		if at, ok := p.host[v]; ok {
			return program.Address{Slot: slotHost, Offset: at}
		}
		if at, ok := p.memory.Offset[v]; ok {
			return program.Address{Slot: slotArena, Offset: at, Shared: p.shared[v]}
		}
		return program.Address{Slot: slotArena, Offset: p.inner[v], Shared: true}
	}
}

// encode writes the lists between cuts and has the backend check them.
func (s *Session) encode(p *Program, g *op.Graph) error {
	from := 0
	for i := 0; i <= len(g.Nodes); i++ {
		if i < len(g.Nodes) && g.Nodes[i].Op != program.Cut {
			continue
		}
		for _, n := range g.Nodes[from:i] {
			s.kinds[program.KindOf(n)] = true
		}
		s.serial++
		list := program.Encode(g.Nodes[from:i], s.address(p), s.serial, uint32(len(s.slots)), s.params)
		report, err := s.check(list)
		if err != nil {
			return err
		}
		s.workspace = max(s.workspace, program.RoundUp(int64(report.WorkspaceBytes), s.align))
		s.planSizes = append(s.planSizes, int64(report.PlanBytes))
		p.parts = append(p.parts, &part{nodes: g.Nodes[from:i], list: list, planBytes: int64(report.PlanBytes)})
		from = i + 1
	}
	return nil
}

// check has the backend validate a list.
func (s *Session) check(list []byte) (plugin.Report, error) {
	if s.device == nil {
		return plugin.Report{}, nil
	}
	return s.device.CheckList(list)
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
