package session

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"trainer/core/abi"
	"trainer/core/dump"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/fault"
)

// The slots of every list. States follow.
const (
	slotArena uint32 = iota
	slotInputs
	slotOutputs
	slotHost // in memory of the host
	slotState
)

// ring is the number of staging slots: the host may prepare one micro-batch while the
// device works on another.
const ring = 2

// plansKept is how many plans live at a time; the least recently used goes.
const plansKept = 24

// Session is one device with the memory of one run.
type Session struct {
	device   *plugin.Device // nil in a dry session
	queue    *plugin.Queue
	timeline *plugin.Timeline
	clock    uint64 // last value the timeline was asked to reach
	align    int64
	largest  int64 // bytes of a buffer
	params   uint32

	answers  map[abi.OpQuery]bool
	composed map[string]bool
	native   map[string]bool
	kinds    map[program.Kind]bool // of every node compiled

	slots     []int64                       // bytes of each slot
	states    map[*op.Value]program.Address // where states live
	serial    uint64
	workspace int64
	planSizes []int64 // of every list compiled
	planLimit int64   // bytes that plans may take
	goal      int64   // arena bytes worth looking hard for; 0 = any
	allocated *Mark   // what Allocate obtained memory for; nil before
	plans     []*part // with a plan, least recently used first
	planned   int64   // bytes that plans take now

	buffers  []*plugin.Buffer // one a slot, after Allocate
	bindings []plugin.Binding
	scratch  *plugin.Buffer // workspace
	staging  [ring]stage
	next     int
	loaders  [loaders]loader
	loading  int          // the loader to be filled next
	recorder *dump.Writer // nil unless a step is recorded
}

// Open prepares a device. paramsBytes is the size of the params block of every run.
func Open(device *plugin.Device, paramsBytes int) (*Session, error) {
	queue, err := device.NewQueue(abi.QueueCompute)
	if err != nil {
		return nil, err
	}
	timeline, err := device.NewTimeline(0)
	if err != nil {
		return nil, err
	}
	s := Dry(paramsBytes)
	s.device, s.queue, s.timeline = device, queue, timeline
	s.align, s.largest = max(64, int64(device.Info().Alignment)), int64(device.Info().BufferMax)
	return s, nil
}

// Dry is a session without a device, which can plan and nothing else. Every op counts as
// native; workspaces and plans of a backend are not known and count nothing.
func Dry(paramsBytes int) *Session {
	return &Session{align: 256, largest: math.MaxInt64, planLimit: math.MaxInt64, params: uint32(paramsBytes),
		answers: map[abi.OpQuery]bool{}, composed: map[string]bool{}, native: map[string]bool{}, kinds: map[program.Kind]bool{},
		slots: make([]int64, slotState), states: map[*op.Value]program.Address{}}
}

// Place decides where states live. Dtypes must be assigned. States placed together
// share buffers up to the device's largest.
func (s *Session) Place(states []*op.Value) error {
	for _, v := range states {
		if _, ok := s.states[v]; ok {
			continue
		}
		if s.allocated != nil {
			return fmt.Errorf("session: %s was placed after memory was allocated", v.Name)
		}
		bytes := program.RoundUp(program.Bytes(v), s.align)
		if bytes > s.largest {
			return fault.New(fault.Device, "backend %s: %s needs %d bytes, but the device's largest buffer is %d", s.device.Backend(), v.Name, bytes, s.largest)
		}
		last := len(s.slots) - 1
		if last < int(slotState) || s.slots[last]+bytes > min(s.largest, stateBuffer) && s.slots[last] > 0 {
			s.slots = append(s.slots, 0)
			last++
		}
		s.states[v] = program.Address{Slot: uint32(last), Offset: s.slots[last]}
		s.slots[last] += bytes
	}
	return nil
}

// stateBuffer is where a new state buffer is begun.
const stateBuffer = int64(1) << 32

// CopiesBeside tells whether the device copies to and from the host while it computes.
func (s *Session) CopiesBeside() bool {
	return s.device != nil && s.device.Info().Lanes > program.CopyLane && s.device.Info().Flags&abi.FlagUnified == 0
}

// claims asks the backend, once for each kind of node, whether it runs it natively.
func (s *Session) claims(n *op.Node) (bool, error) {
	if s.device != nil && op.Since(n) > s.device.Minor() {
		return false, nil
	}
	q := program.Query(n)
	if known, ok := s.answers[q]; ok || s.device == nil {
		return known || s.device == nil, nil
	}
	answers, err := s.device.QueryOps([]abi.OpQuery{q})
	if err != nil {
		return false, err
	}
	s.answers[q] = answers[0].Level != abi.LevelNone
	return s.answers[q], nil
}

// Ops names the fused ops met so far that the backend runs natively, and those that
// were composed.
func (s *Session) Ops() (native, composed []string) { return sorted(s.native), sorted(s.composed) }

// Kinds are the kinds of calls that the programs compiled so far make, in no order.
func (s *Session) Kinds() []program.Kind { return slices.Collect(maps.Keys(s.kinds)) }

// Device is what the session runs on; nil in a dry one.
func (s *Session) Device() *plugin.Device { return s.device }

// Memory is what a run takes on the device, in bytes, as the backend counts it.
type Memory struct {
	States, Arena, Inputs, Staging, Workspace, Plans int64
	Host                                             int64 // what waits in memory of the host
	Unified                                          bool  // the device's memory is the host's: what lies on the host counts too
}

// Total is what the device needs.
func (m Memory) Total() int64 {
	total := m.States + m.Arena + m.Inputs + m.Workspace + m.Plans
	if m.Unified {
		total += m.Staging + m.Host
	}
	return total
}

// OnHost is what the host needs beside a device with memory of its own.
func (m Memory) OnHost() int64 {
	if m.Unified {
		return 0
	}
	return m.Staging + m.Host
}

// Memory is the plan of everything placed and compiled so far.
func (s *Session) Memory() Memory {
	m := Memory{Arena: s.slots[slotArena], Inputs: s.slots[slotInputs] + s.slots[slotOutputs], Workspace: s.workspace, Plans: s.planBytes(),
		Host: s.slots[slotHost], Unified: s.device == nil || s.device.Info().Flags&abi.FlagUnified != 0}
	m.Staging = ring*max(s.slots[slotInputs]+s.slots[slotOutputs], s.align) + loaders*loaderBytes
	for _, b := range s.slots[slotState:] {
		m.States += b
	}
	return m
}

// planBytes is the most that plans may take: the largest of those kept, of what was
// compiled before Allocate.
func (s *Session) planBytes() (bytes int64) {
	sizes := slices.Clone(s.planSizes)
	if s.allocated != nil {
		sizes = sizes[:s.allocated.plans]
	}
	slices.Sort(sizes)
	for _, n := range sizes[max(0, len(sizes)-plansKept):] {
		bytes += n
	}
	return min(bytes, s.planLimit)
}

// LimitPlans holds plans to so many bytes; lists that find no room run without one.
func (s *Session) LimitPlans(bytes int64) { s.planLimit = bytes }

// Pack has programs compiled from now on planned harder while their arenas take more than so
// many bytes.
func (s *Session) Pack(bytes int64) { s.goal = bytes }

// Allocate obtains the planned memory.
func (s *Session) Allocate() error {
	for slot, bytes := range s.slots {
		if slot == int(slotHost) && bytes == 0 {
			s.buffers, s.bindings = append(s.buffers, nil), append(s.bindings, plugin.Binding{})
			continue
		}
		memory := uint32(abi.MemoryDevice)
		if slot == int(slotHost) {
			memory = abi.MemoryStaging
		}
		b, err := s.device.Alloc(memory, uint64(max(bytes, s.align)))
		if err != nil {
			return err
		}
		s.buffers = append(s.buffers, b)
		s.bindings = append(s.bindings, plugin.Binding{Buffer: b, Bytes: uint64(max(bytes, s.align))})
	}
	if s.workspace > 0 {
		var err error
		if s.scratch, err = s.device.Alloc(abi.MemoryDevice, uint64(s.workspace)); err != nil {
			return err
		}
	}
	for i := range s.staging {
		if err := s.staging[i].allocate(s); err != nil {
			return err
		}
	}
	for i := range s.loaders {
		var err error
		if s.loaders[i].buffer, err = s.device.Alloc(abi.MemoryStaging, loaderBytes); err != nil {
			return err
		}
	}
	mark := s.Mark()
	s.allocated = &mark
	return nil
}

// submit queues one list or plan; s.clock is then the timeline value it ends with.
func (s *Session) submit(sub plugin.Submit) error {
	if s.clock > 0 {
		sub.Waits = []plugin.Point{{Timeline: s.timeline, Value: s.clock}}
	}
	sub.Signals = []plugin.Point{{Timeline: s.timeline, Value: s.clock + 1}}
	if sub.Workspace.Buffer == nil {
		sub.Workspace = s.workspaceBinding()
	}
	if err := s.queue.Submit(sub); err != nil {
		return err
	}
	s.clock++
	return nil
}

// wait blocks until the timeline reaches value, in bounded waits.
func (s *Session) wait(value uint64) error {
	for {
		err := s.timeline.Wait(value, 10*time.Second)
		if !plugin.IsTimeout(err) {
			return err
		}
	}
}

// Sync waits for everything submitted.
func (s *Session) Sync() error { return s.wait(s.clock) }

// Stats is what the backend counts.
func (s *Session) Stats() (used, peak int64, err error) {
	st, err := s.device.Stats()
	return int64(st.MemoryUsed), int64(st.MemoryPeak), err
}

// Close gives the device's memory back.
func (s *Session) Close() error {
	if s.device == nil || s.device.Lost() { // a lost device gives nothing back
		return nil
	}
	if err := s.Sync(); err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	return s.device.Close()
}

// Mark is a state of planning to come back to.
type Mark struct {
	slots     []int64
	workspace int64
	plans     int
}

// Mark remembers what is placed and compiled so far.
func (s *Session) Mark() Mark { return Mark{slices.Clone(s.slots), s.workspace, len(s.planSizes)} }

// Reset forgets programs compiled since a mark, which must not run any more; only where no
// state was placed since.
func (s *Session) Reset(m Mark) {
	s.slots, s.workspace, s.planSizes = slices.Clone(m.slots), m.workspace, s.planSizes[:m.plans]
}
