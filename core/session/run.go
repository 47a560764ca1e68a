package session

import (
	"fmt"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// stage is one slot of the staging ring: inputs, then outputs.
type stage struct {
	buffer *plugin.Buffer
	ticket *Ticket // the run that last used it
}

func (t *stage) allocate(s *Session) error {
	bytes := max(s.slots[slotInputs]+s.slots[slotOutputs], s.align)
	var err error
	t.buffer, err = s.device.Alloc(abi.MemoryStaging, uint64(bytes))
	return err
}

// Part names one list of a program.
type Part struct {
	Program *Program
	Index   int
}

// Run is one submission: what to upload, which lists to run in order, and the params
// block. Values are little-endian bytes in the root's dtype.
type Run struct {
	Inputs map[*op.Value][]byte
	Params []byte
	Parts  []Part
}

// Ticket stands for a run under way.
type Ticket struct {
	session *Session
	stage   int
	value   uint64
	at      map[*op.Value]int64
	results map[*op.Value][]byte
	err     error
}

// Run queues a run and returns at once; at most ring runs are under way.
func (s *Session) Run(r Run) (*Ticket, error) {
	st := &s.staging[s.next]
	if st.ticket != nil {
		if err := st.ticket.finish(); err != nil {
			return nil, err
		}
	}
	t := &Ticket{session: s, stage: s.next, at: map[*op.Value]int64{}}
	st.ticket = t
	s.next = (s.next + 1) % ring
	defer func() { t.value = s.clock }() // of a run that fails midway, too
	if err := s.upload(st, r); err != nil {
		return nil, err
	}
	var outputs int64
	for i := range r.Parts {
		p := r.Parts[i].Program
		if err := s.runPart(p.parts[r.Parts[i].Index], r.Params); err != nil {
			return nil, err
		}
		for _, v := range p.Outputs {
			t.at[v] = p.output[v]
		}
		outputs = max(outputs, p.ends[1])
	}
	if outputs > 0 {
		from := program.Address{Slot: slotOutputs}
		to := program.Address{Slot: uint32(len(s.slots)), Offset: s.slots[slotInputs]}
		if err := s.transfer(st.buffer, from, to, outputs); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// upload copies the inputs into staging and queues their way to the device.
func (s *Session) upload(st *stage, r Run) error {
	var end int64
	host := st.buffer.Bytes()
	for _, part := range r.Parts {
		p := part.Program
		for _, v := range p.Inputs {
			data, ok := r.Inputs[v]
			if int64(len(data)) != program.Bytes(v) || !ok {
				return fmt.Errorf("session: input %s has %d bytes, expected %d", v.Name, len(data), program.Bytes(v))
			}
			copy(host[p.input[v]:], data)
		}
		end = max(end, p.ends[0])
	}
	if end == 0 {
		return nil
	}
	if s.recorder != nil {
		s.recorder.Write(slotInputs, 0, host[:end])
	}
	return s.transfer(st.buffer, program.Address{Slot: uint32(len(s.slots))}, program.Address{Slot: slotInputs}, end)
}

// transfer queues one copy record between a slot and staging memory, which is bound as
// one more slot.
func (s *Session) transfer(staging *plugin.Buffer, from, to program.Address, bytes int64) error {
	s.serial++
	list := copyList(from, to, bytes, s.serial, uint32(len(s.slots)+1))
	bindings := append(append([]plugin.Binding{}, s.bindings...), plugin.Binding{Buffer: staging, Bytes: staging.Size()})
	return s.submit(plugin.Submit{List: list, Bindings: bindings})
}

func copyList(from, to program.Address, bytes int64, serial uint64, slots uint32) []byte {
	operand := func(a program.Address, id uint32) abi.Operand {
		o := abi.Operand{Slot: a.Slot, DType: uint32(abi.U8), ValueID: id, Kind: abi.KindState, Rank: 1, Offset: uint64(a.Offset), Bytes: uint64(bytes)}
		o.Shape[0], o.Stride[0] = bytes, 1
		return o
	}
	var list abi.ListBuilder
	list.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{operand(to, 1)}, []abi.Operand{operand(from, 2)}, nil)
	return list.Finish(serial, slots, 0)
}

// runPart queues a list; from its second run on as a plan, where the backend has plans.
func (s *Session) runPart(p *part, params []byte) error {
	p.runs++
	if s.recorder != nil {
		s.recorder.List(p.list, params)
	}
	if s.device.HasPlans() && p.runs > 1 && !p.once {
		if err := s.plan(p); err != nil {
			return err
		}
	}
	sub := plugin.Submit{Params: params, Plan: p.plan}
	if p.plan == nil {
		sub.List, sub.Bindings = p.list, s.bindings
	}
	return s.submit(sub)
}

// plan makes p the most recently used plan, creating it where it is missing. A plan for
// which nothing was planned is not made, and the list runs as it is.
func (s *Session) plan(p *part) error {
	if p.plan != nil {
		s.plans = append(slices.DeleteFunc(s.plans, func(q *part) bool { return q == p }), p)
		return nil
	}
	if p.planBytes > s.planBytes() {
		return nil
	}
	if err := s.makeRoom(p.planBytes); err != nil {
		return err
	}
	plan, err := s.device.NewPlan(p.list, s.bindings, s.workspaceBinding())
	if err != nil {
		return err
	}
	p.plan = plan
	s.plans = append(s.plans, p)
	s.planned += p.planBytes
	return nil
}

// makeRoom frees the least recently used plans until one more of so many bytes keeps to
// what was planned.
func (s *Session) makeRoom(bytes int64) error {
	for len(s.plans) == plansKept || s.planned+bytes > s.planBytes() {
		if err := s.Sync(); err != nil {
			return err
		}
		oldest := s.plans[0]
		if err := s.device.FreePlan(oldest.plan); err != nil {
			return err
		}
		oldest.plan = nil
		s.plans = s.plans[1:]
		s.planned -= oldest.planBytes
	}
	return nil
}

// Wait blocks until the run is done and returns its outputs.
func (t *Ticket) Wait() (map[*op.Value][]byte, error) {
	err := t.finish()
	return t.results, err
}

// finish waits and copies the outputs out of staging, once.
func (t *Ticket) finish() error {
	if t.results != nil || t.err != nil {
		return t.err
	}
	s := t.session
	if t.err = s.wait(t.value); t.err != nil {
		return t.err
	}
	t.results = map[*op.Value][]byte{}
	host := s.staging[t.stage].buffer.Bytes()[s.slots[slotInputs]:]
	for v, at := range t.at {
		t.results[v] = append([]byte{}, host[at:at+program.Bytes(v)]...)
	}
	return nil
}
