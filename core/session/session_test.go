package session

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// openDevice opens the built backend.
func openDevice(t *testing.T) *plugin.Device {
	t.Helper()
	path := os.Getenv("TRAINER_BACKEND")
	if path == "" {
		path = "../../build/lib/trainer/backends/trainer-backend-cpu.so"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExists(t, path, "the backend is not built: run make build")
	backend, err := plugin.Load("cpu", path)
	require.NoError(t, err)
	device, err := backend.OpenDevice(0, plugin.DeviceOptions{})
	require.NoError(t, err)
	return device
}

// openSession is a session on it, with a params block of one f32.
func openSession(t *testing.T) *Session {
	t.Helper()
	s, err := Open(openDevice(t), 4)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func root(name string, kind op.Kind, n int64) *op.Value {
	return op.NewValue(name, kind, op.Fixed, abi.F32, n)
}

// scaled is the program y = (x + state) * factor, with a transient in between; state is
// nil or of x's size.
type scaled struct {
	x, y  *op.Value
	graph *op.Graph
}

func newScaled(n int64, state *op.Value) scaled {
	b := op.NewBuilder()
	p := scaled{x: root("x", op.Input, n), y: root("y", op.Output, n), graph: b.Graph}
	sum := b.Fixed("sum", abi.F32, n)
	if state == nil {
		b.Copy(sum, p.x)
	} else {
		b.Binary(abi.BinaryAdd, sum, p.x, state)
	}
	b.Binary(abi.BinaryMul, p.y, sum, op.NewParam("factor", abi.F32, 0, 1))
	return p
}

func floats(values ...float32) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

// filled is n times x.
func filled(n int64, x float32) []byte {
	var raw []byte
	for range n {
		raw = append(raw, floats(x)...)
	}
	return raw
}

func (p scaled) run(x, factor float32, compiled *Program) Run {
	return Run{Inputs: map[*op.Value][]byte{p.x: filled(p.x.Count(), x)}, Params: floats(factor), Parts: []Part{{Program: compiled}}}
}

// requireRun runs and compares every output.
func (p scaled) requireRun(t *testing.T, s *Session, compiled *Program, x, factor, want float32) {
	t.Helper()
	ticket, err := s.Run(p.run(x, factor, compiled))
	require.NoError(t, err)
	out, err := ticket.Wait()
	require.NoError(t, err)
	require.Equal(t, filled(p.y.Count(), want), out[p.y])
}

func compile(t *testing.T, s *Session, g *op.Graph) *Program {
	t.Helper()
	p, err := s.Compile(g, nil, nil)
	require.NoError(t, err)
	return p
}

// The host runs ahead of the device, with inputs it may forget at once.
func TestRunsUnderWayDoNotDisturbEachOther(t *testing.T) {
	s := openSession(t)
	const n = 1 << 18
	work := newScaled(n, nil)
	p := compile(t, s, work.graph)
	require.NoError(t, s.Allocate())
	var tickets []*Ticket
	for i := range 7 {
		run := work.run(float32(i), 2, p)
		ticket, err := s.Run(run)
		require.NoError(t, err)
		clear(run.Inputs[work.x])
		clear(run.Params)
		tickets = append(tickets, ticket)
	}
	for i := len(tickets) - 1; i >= 0; i-- { // in any order, and more than once
		for range 2 {
			out, err := tickets[i].Wait()
			require.NoError(t, err)
			require.Equal(t, filled(n, float32(2*i)), out[work.y], "run %d", i)
		}
	}
}

func TestPlansBeginWithTheSecondRun(t *testing.T) {
	s := openSession(t)
	work, single := newScaled(64, nil), newScaled(64, nil)
	p := compile(t, s, work.graph)
	once, err := s.CompileOnce(single.graph)
	require.NoError(t, err)
	require.NoError(t, s.Allocate())
	for i := range 4 {
		work.requireRun(t, s, p, 3, float32(i), float32(3*i))
		require.Equal(t, i > 0, p.parts[0].plan != nil, "run %d", i)
		single.requireRun(t, s, once, 3, float32(i), float32(3*i))
		require.Nil(t, once.parts[0].plan)
	}
}

// Few plans live at a time: the least recently used go, and the memory stays as planned.
func TestLeastRecentlyUsedPlansGo(t *testing.T) {
	s := openSession(t)
	var works []scaled
	var programs []*Program
	for range plansKept + 3 {
		works = append(works, newScaled(64, nil))
		programs = append(programs, compile(t, s, works[len(works)-1].graph))
	}
	require.NoError(t, s.Allocate())
	planned := s.Memory()
	run := func(i int) { works[i].requireRun(t, s, programs[i], 2, 3, 6) }
	for i := range programs {
		run(i)
		run(i)
		run(0) // stays the most recent
	}
	var gone []int
	for i, p := range programs {
		if p.parts[0].plan == nil {
			gone = append(gone, i)
		}
	}
	require.Equal(t, []int{1, 2, 3}, gone)
	run(2)
	require.NotNil(t, programs[2].parts[0].plan)
	require.Nil(t, programs[4].parts[0].plan)
	_, peak, err := s.Stats()
	require.NoError(t, err)
	require.LessOrEqual(t, peak, planned.Total())
	require.Equal(t, planned, s.Memory())
}

// A plan nobody counted on is not made: its list runs as it is.
func TestPlansKeepToWhatWasPlanned(t *testing.T) {
	s := openSession(t)
	small := newScaled(64, nil)
	p := compile(t, s, small.graph)
	require.NoError(t, s.Allocate())
	large := newScaled(64, nil)
	for range 8 {
		large.graph.Nodes = append(large.graph.Nodes, large.graph.Nodes[len(large.graph.Nodes)-1])
	}
	late := compile(t, s, large.graph)
	for range 3 {
		small.requireRun(t, s, p, 1, 2, 2)
		large.requireRun(t, s, late, 1, 2, 2)
	}
	require.NotNil(t, p.parts[0].plan)
	require.Nil(t, late.parts[0].plan)
	// Nor is any where the limit leaves no room.
	none := openSession(t)
	p = compile(t, none, small.graph)
	none.LimitPlans(0)
	require.NoError(t, none.Allocate())
	for range 3 {
		small.requireRun(t, none, p, 1, 2, 2)
	}
	require.Zero(t, none.Memory().Plans)
	require.Nil(t, p.parts[0].plan)
	used, _, err := s.Stats()
	require.NoError(t, err)
	require.LessOrEqual(t, used, s.Memory().Total())
}

func TestResetForgetsTrials(t *testing.T) {
	s := openSession(t)
	work := newScaled(64, nil)
	p := compile(t, s, work.graph)
	before, mark := s.Memory(), s.Mark()
	compile(t, s, newScaled(1<<20, nil).graph)
	require.Greater(t, s.Memory().Total(), before.Total()+1<<20)
	s.Reset(mark)
	require.Equal(t, before, s.Memory())
	require.NoError(t, s.Allocate())
	work.requireRun(t, s, p, 2, 5, 10)
}

// What was not planned is refused, and nothing else suffers.
func TestProgramsThatWereNotPlannedAreRefused(t *testing.T) {
	s := openSession(t)
	work := newScaled(64, nil)
	p := compile(t, s, work.graph)
	require.NoError(t, s.Allocate())
	planned := s.Memory()
	_, err := s.Compile(newScaled(1<<16, nil).graph, nil, nil)
	require.ErrorContains(t, err, "it was not planned")
	require.Equal(t, planned, s.Memory())
	require.ErrorContains(t, s.Place([]*op.Value{root("late", op.State, 4)}), "late was placed after memory was allocated")
	work.requireRun(t, s, p, 2, 5, 10)
	smaller := newScaled(16, nil)
	smaller.requireRun(t, s, compile(t, s, smaller.graph), 2, 5, 10)
}

// Inputs where none were planned are refused too.
func TestInputsThatWereNotPlannedAreRefused(t *testing.T) {
	s := openSession(t)
	state, b := root("state", op.State, 4), op.NewBuilder()
	b.FillFloat(state, 1)
	require.NoError(t, s.Place([]*op.Value{state}))
	compile(t, s, b.Graph)
	require.NoError(t, s.Allocate())
	_, err := s.Compile(newScaled(4, nil).graph, nil, nil)
	require.ErrorContains(t, err, "it was not planned")
}

// A run that cannot be queued fails by itself.
func TestRunThatIsRefusedLeavesTheSessionWorking(t *testing.T) {
	s := openSession(t)
	work := newScaled(64, nil)
	p := compile(t, s, work.graph)
	require.NoError(t, s.Allocate())
	for range 3 {
		bad := work.run(1, 2, p)
		bad.Params = nil
		_, err := s.Run(bad)
		require.Error(t, err)
		bad = work.run(1, 2, p)
		bad.Inputs[work.x] = bad.Inputs[work.x][:4]
		_, err = s.Run(bad)
		require.ErrorContains(t, err, "input x has 4 bytes, expected 256")
		work.requireRun(t, s, p, 2, 5, 10)
	}
}

// States larger than the loader's buffer go through it in pieces.
func TestLargeStates(t *testing.T) {
	s := openSession(t)
	const n = 3*loaderBytes/4/2 + 5
	state, behind := root("state", op.State, n), root("behind", op.State, n)
	work := newScaled(n, state)
	require.NoError(t, s.Place([]*op.Value{state, behind}))
	p := compile(t, s, work.graph)
	require.NoError(t, s.Allocate())
	want := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(want[4*i:], math.Float32bits(float32(i)))
	}
	require.NoError(t, s.Write(nil, behind, 0, filled(n, 7)))
	require.NoError(t, s.Write(nil, state, 0, want))
	got, err := s.Read(state)
	require.NoError(t, err)
	require.True(t, string(want) == string(got))
	copy(want[4*n-8:], floats(-1, -2))
	require.NoError(t, s.Write(nil, state, 4*n-8, floats(-1, -2)))
	got, err = s.Read(state)
	require.NoError(t, err)
	require.True(t, string(want) == string(got))
	got, err = s.Read(behind)
	require.NoError(t, err)
	require.True(t, string(filled(n, 7)) == string(got), "the next state is untouched")
	require.ErrorContains(t, s.Write(nil, state, 4*n-4, floats(1, 2)), "do not fit state")
	require.ErrorContains(t, s.Write(nil, root("other", op.State, 1), 0, floats(1)), "other is not a placed state")

	ticket, err := s.Run(work.run(1, 2, p))
	require.NoError(t, err)
	out, err := ticket.Wait()
	require.NoError(t, err)
	require.Equal(t, floats(0, -2), out[work.y][4*n-8:], "programs see what was written")
}

// Without a device the same bytes are planned, but for what only a backend knows: its
// workspaces, its plans and its alignment.
func TestDrySessionsPlanTheSame(t *testing.T) {
	plan := func(s *Session) Memory {
		state := root("state", op.State, 1000)
		require.NoError(t, s.Place([]*op.Value{state}))
		_, err := s.Compile(newScaled(1000, state).graph, nil, nil)
		require.NoError(t, err)
		_, err = s.Compile(newScaled(300, nil).graph, nil, nil)
		require.NoError(t, err)
		m := s.Memory()
		m.Workspace, m.Plans = 0, 0
		return m
	}
	s, dry := openSession(t), Dry(4)
	dry.align = s.align
	require.Equal(t, plan(s), plan(dry))
	require.NoError(t, dry.Close())
}

// Copies on a lane of their own give what they give in order.
func TestLanesGiveTheSameAsOrder(t *testing.T) {
	const n = 4096
	results := func(lane int) [][]byte {
		s := openSession(t)
		state, y := root("state", op.State, n), root("y", op.Output, n)
		x, z := root("x", op.Input, n), root("z", op.Output, n)
		b := op.NewBuilder()
		factor := op.NewParam("factor", abi.F32, 0, 1)
		for range 5 {
			product, kept, sum := b.Fixed("product", abi.F32, n), b.Fixed("kept", abi.F32, n), b.Fixed("sum", abi.F32, n)
			b.Binary(abi.BinaryMul, product, x, factor)
			b.Lane = lane
			b.Copy(kept, state) // reads the state before it changes
			b.Lane = 0
			b.Binary(abi.BinaryAdd, sum, product, kept)
			b.Binary(abi.BinaryAdd, state, sum, x)
			b.Lane = lane
			b.Copy(y, state)
			b.Copy(z, kept) // over memory that is soon used again
			b.Lane = 0
		}
		require.NoError(t, s.Place([]*op.Value{state}))
		p := compile(t, s, b.Graph)
		require.NoError(t, s.Allocate())
		require.NoError(t, s.Write(nil, state, 0, filled(n, 1)))
		var all [][]byte
		for i := range 3 {
			ticket, err := s.Run(Run{Inputs: map[*op.Value][]byte{x: filled(n, float32(i))}, Params: floats(0.5), Parts: []Part{{Program: p}}})
			require.NoError(t, err)
			out, err := ticket.Wait()
			require.NoError(t, err)
			all = append(all, out[y], out[z])
		}
		after, err := s.Read(state)
		require.NoError(t, err)
		return append(all, after)
	}
	inOrder := results(0)
	require.Equal(t, inOrder, results(1))
	require.Equal(t, floats(1+5*1.5+5*3), inOrder[len(inOrder)-1][:4])
}

// A program within another: the inner one's transients lie in scratch of the outer, and
// it reads the outer's values at the cut.
func TestProgramAtACut(t *testing.T) {
	s := openSession(t)
	const n = 256
	x, y, z := root("x", op.Input, n), root("y", op.Output, n), root("z", op.Output, n)
	inner := func(doubled, back *op.Value) *op.Graph {
		b := op.NewBuilder()
		square := b.Fixed("square", abi.F32, n)
		b.Binary(abi.BinaryMul, square, doubled, doubled)
		b.Copy(z, square)
		b.Binary(abi.BinaryAdd, back, square, doubled)
		return b.Graph
	}
	scratch, err := s.Scratch(inner(root("doubled", op.Transient, n), root("back", op.Transient, n)))
	require.NoError(t, err)
	b := op.NewBuilder()
	doubled, back, room := b.Fixed("doubled", abi.F32, n), b.Fixed("back", abi.F32, n), b.Fixed("room", abi.U8, scratch)
	b.Binary(abi.BinaryAdd, doubled, x, x)
	b.Node(program.Cut, nil, []*op.Value{room, back}, []*op.Value{doubled})
	b.Binary(abi.BinaryAdd, y, doubled, back)
	outer := compile(t, s, b.Graph)
	within, err := s.Compile(inner(doubled, back), outer, room)
	require.NoError(t, err)
	require.NoError(t, s.Allocate())
	for i := range 3 {
		ticket, err := s.Run(Run{Inputs: map[*op.Value][]byte{x: filled(n, float32(i))}, Params: floats(0),
			Parts: []Part{{Program: outer}, {Program: within}, {Program: outer, Index: 1}}})
		require.NoError(t, err)
		out, err := ticket.Wait()
		require.NoError(t, err)
		require.Equal(t, filled(n, float32(4*i*i)), out[z])
		require.Equal(t, filled(n, float32(4*i*i+4*i)), out[y])
	}
}
