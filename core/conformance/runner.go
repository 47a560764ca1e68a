package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// patience is how long one case may run before the backend counts as hanging.
var patience = 60 * time.Second

// runner runs images on one device.
type runner struct {
	device   *plugin.Device
	queue    *plugin.Queue
	timeline *plugin.Timeline
	clock    uint64
	serial   uint64
	staging  *plugin.Buffer
	memory   *plugin.Buffer
	answers  map[abi.OpQuery]bool
	unequal  bool          // equal runs need not give equal bits
	patience time.Duration // for one submission
}

func newRunner(d *plugin.Device) (*runner, error) {
	r := &runner{device: d, answers: map[abi.OpQuery]bool{}, patience: patience}
	var err error
	r.queue, err = d.NewQueue(abi.QueueCompute)
	return r, err
}

// begin gives the next case a timeline of its own: one that failed stays failed.
func (r *runner) begin() (err error) {
	r.clock = 0
	r.timeline, err = r.device.NewTimeline(0)
	return err
}

// end gives everything of the runner back.
func (r *runner) end() error {
	return errors.Join(r.timeline.Close(), r.release(), r.queue.Close())
}

// lower replaces what the device does not claim, or every fused op, by its composition.
func (r *runner) lower(g *op.Graph, compose bool) error {
	var failed error
	program.Lower(g, func(n *op.Node) bool {
		if compose && op.MustLookup(n.Op).Tier > 0 {
			return false
		}
		ok, err := r.claims(n)
		failed = errors.Join(failed, err)
		return ok
	})
	return failed
}

// reserve obtains buffers of at least so many bytes.
func (r *runner) reserve(n int) error {
	if r.memory != nil && r.memory.Size() >= uint64(n) {
		return nil
	}
	if err := r.release(); err != nil {
		return err
	}
	bytes := max(uint64(n), 1<<20)
	var err error
	if r.staging, err = r.device.Alloc(abi.MemoryStaging, bytes); err != nil {
		return err
	}
	r.memory, err = r.device.Alloc(abi.MemoryDevice, bytes)
	return err
}

// release gives the buffers back.
func (r *runner) release() error {
	var failed error
	for _, b := range []**plugin.Buffer{&r.staging, &r.memory} {
		if *b != nil {
			failed = errors.Join(failed, r.device.Free(*b))
			*b = nil
		}
	}
	return failed
}

// submit runs one submission to its end.
func (r *runner) submit(s plugin.Submit) error {
	if r.clock > 0 {
		s.Waits = []plugin.Point{{Timeline: r.timeline, Value: r.clock}}
	}
	r.clock++
	s.Signals = []plugin.Point{{Timeline: r.timeline, Value: r.clock}}
	if err := r.queue.Submit(s); err != nil {
		r.clock--
		return err
	}
	err := r.timeline.Wait(r.clock, r.patience)
	if plugin.IsTimeout(err) {
		return &breach{"op.ends", fmt.Errorf("did not end within %s", r.patience)}
	}
	return err
}

// transfer copies n bytes between staging and device memory.
func (r *runner) transfer(to, from *plugin.Buffer, n int) error {
	operand := func(slot uint32) abi.Operand {
		o := abi.Operand{Slot: slot, DType: uint32(abi.U8), ValueID: slot + 1, Kind: abi.KindState, Rank: 1, Bytes: uint64(n)}
		o.Shape[0], o.Stride[0] = int64(n), 1
		return o
	}
	r.serial++
	var list abi.ListBuilder
	list.Record(abi.OpCopy, 0, 0, nil, []abi.Operand{operand(0)}, []abi.Operand{operand(1)}, nil)
	bindings := []plugin.Binding{{Buffer: to, Bytes: to.Size()}, {Buffer: from, Bytes: from.Size()}}
	return r.submit(plugin.Submit{List: list.Finish(r.serial, 2, 0), Bindings: bindings})
}

// run uploads the image, submits s and returns the memory it leaves.
func (r *runner) run(m *image, s plugin.Submit) ([]byte, error) {
	copy(r.staging.Bytes(), m.before)
	if err := r.transfer(r.memory, r.staging, len(m.before)); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	if err := r.submit(s); err != nil {
		return nil, err
	}
	if err := r.transfer(r.staging, r.memory, len(m.before)); err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	return bytes.Clone(r.staging.Bytes()[:len(m.before)]), nil
}

// job is a case as it is submitted.
type job struct {
	*image
	list      []byte
	bindings  []plugin.Binding
	workspace plugin.Binding
}

// prepare encodes a trial's lowered graph and lets the device check it. The image also
// holds what a composition leaves untouched.
func (r *runner) prepare(g *op.Graph, t *Trial) (*job, error) {
	all := &op.Graph{Nodes: slices.Concat(g.Nodes, t.Graph.Nodes)}
	m := newImage(all, t.Inputs, max(64, int64(r.device.Info().Alignment)))
	r.serial++
	j := &job{image: m, list: program.Encode(g.Nodes, m.address, r.serial, slots, uint32(len(m.params)))}
	report, err := r.device.CheckList(j.list)
	if err != nil {
		return nil, err
	}
	m.addWorkspace(int64(report.WorkspaceBytes))
	if err := r.reserve(len(m.before)); err != nil {
		return nil, err
	}
	for slot := range slots {
		j.bindings = append(j.bindings, plugin.Binding{Buffer: r.memory, Offset: uint64(m.begin[slot]), Bytes: uint64(m.end[slot] - m.begin[slot])})
	}
	if w := m.workspace; w[1] > 0 {
		j.workspace = plugin.Binding{Buffer: r.memory, Offset: uint64(w[0]), Bytes: uint64(w[1] - w[0])}
	}
	return j, nil
}

// once submits the job as a list.
func (r *runner) once(j *job, params []byte) ([]byte, error) {
	return r.run(j.image, plugin.Submit{List: j.list, Bindings: j.bindings, Workspace: j.workspace, Params: params})
}

// planned runs the job as a plan, once for each params block.
func (r *runner) planned(j *job, params ...[]byte) (after [][]byte, err error) {
	plan, err := r.device.NewPlan(j.list, j.bindings, j.workspace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.device.FreePlan(plan)) }()
	for _, p := range params {
		a, err := r.run(j.image, plugin.Submit{Plan: plan, Params: p})
		if err != nil {
			return nil, err
		}
		after = append(after, a)
	}
	return after, nil
}

// claims asks, once a question, whether the device runs a node natively.
func (r *runner) claims(n *op.Node) (bool, error) {
	q := program.Query(n)
	if known, ok := r.answers[q]; ok {
		return known, nil
	}
	answers, err := r.device.QueryOps([]abi.OpQuery{q})
	if err != nil {
		return false, err
	}
	r.answers[q] = answers[0].Level != abi.LevelNone
	return r.answers[q], nil
}
