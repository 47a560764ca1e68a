package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"trainer/core/abi"
	"trainer/core/dump"
	"trainer/core/op"
	"trainer/core/plugin"
)

// Finding is the first record of a step whose result is wrong.
type Finding struct {
	List   uint64 `json:"list"`   // serial
	Record int    `json:"record"` // index in its list
	Op     string `json:"op"`
	Reason string `json:"reason"`
	Call   string `json:"call"` // reads and writes
}

// Replayed is how a replay went.
type Replayed struct {
	Lists    int      `json:"lists"`
	Records  int      `json:"records"`
	Native   []string `json:"native_ops"`
	Composed []string `json:"composed_ops"`
	Share    float64  `json:"largest_share"` // of a tolerance that an error took
	Finding  *Finding `json:"finding,omitempty"`

	Times []RecordTime `json:"times,omitempty"` // of the records, in order, where the device tells
}

// RecordTime is how long the device took over a record, or over its composition.
type RecordTime struct {
	List    uint64  `json:"list"`
	Record  int     `json:"record"`
	Op      string  `json:"op"`
	Seconds float64 `json:"seconds"`
}

// Replay runs a recorded step on a device record by record. Each record is a case of its own:
// its operands hold what the records before it made on this device, it is composed where
// the device does not claim it, and it is judged as every case is, as a list and as a plan. The
// first that is wrong ends the replay. seen is told of each record before it runs.
func Replay(ctx context.Context, dev *plugin.Device, d *dump.Dump, seen func(list uint64, record, of int, name string)) (Replayed, error) {
	r, err := newRunner(dev)
	if err != nil {
		return Replayed{}, err
	}
	p := replay{runner: r, suite: &Suite{options: Options{Tier: 1}, wants: map[string]*want{}}, slots: d.Slots, ops: map[string]bool{}}
	for _, e := range d.Events {
		if e.List == nil {
			copy(p.slots[e.Slot][e.Offset:], e.Data)
			continue
		}
		if err := p.list(ctx, e, seen); err != nil || p.done.Finding != nil {
			return p.finish(), err
		}
	}
	return p.finish(), errors.Join(r.release(), r.queue.Close())
}

// replay is a step on its way.
type replay struct {
	runner *runner
	suite  *Suite
	slots  [][]byte        // as the device leaves them
	ops    map[string]bool // met so far; true where native
	done   Replayed
}

// finish names the ops.
func (p *replay) finish() Replayed {
	for name, native := range p.ops {
		if native {
			p.done.Native = append(p.done.Native, name)
		} else {
			p.done.Composed = append(p.done.Composed, name)
		}
	}
	slices.Sort(p.done.Native)
	slices.Sort(p.done.Composed)
	return p.done
}

// list runs the records of a list.
func (p *replay) list(ctx context.Context, e dump.Event, seen func(list uint64, record, of int, name string)) error {
	h, records, err := abi.DecodeList(e.List)
	if err != nil {
		return fmt.Errorf("list %d of the recorded step: %w", p.done.Lists, err)
	}
	p.done.Lists++
	for i, record := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := p.moment(record, e.Params)
		if err != nil {
			return fmt.Errorf("list %d, record %d: %w", h.Serial, i, err)
		}
		name := op.MustLookup(m.trial.subject().Op).Name
		seen(h.Serial, i, len(records), name)
		seconds, err := p.judge(m)
		if err != nil {
			p.done.Finding = &Finding{List: h.Serial, Record: i, Op: name, Reason: err.Error(), Call: callOf(m.trial.subject())}
			return nil
		}
		p.done.Records++
		if p.runner.device.HasTimes() {
			p.done.Times = append(p.done.Times, RecordTime{h.Serial, i, name, seconds})
		}
	}
	return nil
}

// judge runs one record and keeps what it left. seconds is what the device says it took; 0
// where it does not tell.
func (p *replay) judge(m *moment) (seconds float64, err error) {
	if err := p.runner.begin(); err != nil {
		return 0, err
	}
	w := &want{trial: m.trial}
	if w.now, err = m.trial.compute(m.trial.Inputs); err != nil {
		return 0, fmt.Errorf("reference: %w", err)
	}
	n := m.trial.subject()
	native, err := p.runner.claims(n)
	if err != nil {
		return 0, err
	}
	p.ops[op.MustLookup(n.Op).Name] = native
	g := &op.Graph{Nodes: []*op.Node{n}}
	if err := p.runner.lower(g, false); err != nil {
		return 0, err
	}
	var res Result
	after, seconds, err := p.suite.replayed(p.runner, w, g, &res)
	p.done.Share = max(p.done.Share, res.Share)
	if err != nil {
		return 0, err
	}
	m.keep(p.slots, after)
	return seconds, p.runner.timeline.Close()
}

// replayed is try, and returns what the first run left of each written root, and the device's
// seconds of one more.
func (s *Suite) replayed(r *runner, w *want, g *op.Graph, res *Result) (_ map[*op.Value][]byte, seconds float64, err error) {
	j, err := r.prepare(g, w.trial)
	if err != nil {
		return nil, 0, err
	}
	params := j.paramBlock(w.trial.Inputs)
	first, err := r.once(j, params)
	if err != nil {
		return nil, 0, err
	}
	if err := s.judge(r, w, j, first, w.now, res); err != nil {
		return nil, 0, err
	}
	if r.device.HasPlans() {
		if err := s.tryPlan(r, w, j, params, first, res); err != nil {
			return nil, 0, err
		}
	}
	if r.device.HasTimes() {
		records, err := r.timed(j, params)
		if err != nil {
			return nil, 0, err
		}
		seconds = sum(records)
	}
	after := map[*op.Value][]byte{}
	for _, v := range w.trial.subject().Out {
		if v != nil {
			after[v.Root] = j.bytes(first, v.Root)
		}
	}
	return after, seconds, nil
}

// moment is a record as a case: a node on values that hold what its slots hold.
type moment struct {
	trial *Trial
	at    map[*op.Value]place
}

// place is where a root lies.
type place struct {
	slot   uint32
	offset int64
}

// piece is a range of a slot that operands of a record share.
type piece struct {
	slot       uint32
	dtype      uint32
	begin, end int64
	root       *op.Value
}

// moment makes a case of a record.
func (p *replay) moment(r abi.DecodedRecord, params []byte) (*moment, error) {
	pieces := piecesOf(slices.Concat(r.Outputs, r.Inputs))
	m := &moment{trial: &Trial{Builder: op.NewBuilder(), Inputs: map[*op.Value][]float64{}, Changed: map[*op.Value][]float64{},
		Rules: map[*op.Value]Rule{}, rng: rand.New(rand.NewPCG(1, 1))}, at: map[*op.Value]place{}}
	for _, c := range pieces {
		if err := m.add(c, p.slots, params); err != nil {
			return nil, err
		}
	}
	n, err := op.Decode(r, func(o abi.Operand) (*op.Value, error) { return viewOf(pieces, o) })
	if err != nil {
		return nil, err
	}
	m.trial.Graph.Nodes = []*op.Node{n}
	m.trial.measure(n)
	return m, nil
}

// piecesOf joins operands that overlap.
func piecesOf(operands []abi.Operand) []*piece {
	var all []*piece
	for _, o := range operands {
		if o.Slot != abi.SlotNone {
			all = append(all, &piece{slot: o.Slot, dtype: o.DType, begin: int64(o.Offset), end: int64(o.Offset + o.Bytes)})
		}
	}
	slices.SortStableFunc(all, func(a, b *piece) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.dtype, b.dtype), cmp.Compare(a.begin, b.begin))
	})
	var joined []*piece
	for _, c := range all {
		if n := len(joined); n > 0 && joined[n-1].slot == c.slot && joined[n-1].dtype == c.dtype && c.begin < joined[n-1].end {
			joined[n-1].end = max(joined[n-1].end, c.end)
			continue
		}
		joined = append(joined, c)
	}
	return joined
}

// add gives a piece its root and the root what its slot holds.
func (m *moment) add(c *piece, slots [][]byte, params []byte) error {
	dtype := abi.DType(c.dtype)
	size := int64(dtype.Size())
	if size == 0 {
		return fmt.Errorf("an operand has %s", dtype)
	}
	from := params
	if c.slot != abi.SlotParams {
		if int(c.slot) >= len(slots) {
			return fmt.Errorf("an operand lies in slot %d of %d", c.slot, len(slots))
		}
		from = slots[c.slot]
	}
	if c.begin < 0 || c.end < c.begin || c.end > int64(len(from)) {
		return fmt.Errorf("an operand lies at bytes %d to %d of %d", c.begin, c.end, len(from))
	}
	n := (c.end - c.begin) / size
	if c.slot == abi.SlotParams {
		c.root = op.NewParam("param", dtype, c.begin, n)
	} else {
		c.root = op.NewValue(fmt.Sprintf("slot %d at %d", c.slot, c.begin), op.State, op.Fixed, dtype, n)
	}
	data := make([]float64, n)
	for i := range data {
		data[i] = decode(from[c.begin+int64(i)*size:], dtype)
	}
	m.trial.Inputs[c.root] = data
	m.at[c.root] = place{c.slot, c.begin}
	return nil
}

// viewOf is an operand as a view of the piece it lies in.
func viewOf(pieces []*piece, o abi.Operand) (*op.Value, error) {
	for _, c := range pieces {
		if c.slot != o.Slot || c.dtype != o.DType || int64(o.Offset) < c.begin || int64(o.Offset+o.Bytes) > c.end {
			continue
		}
		v := *c.root
		v.Shape, v.Stride = slices.Clone(o.Shape[:o.Rank]), slices.Clone(o.Stride[:o.Rank])
		v.Offset = (int64(o.Offset) - c.begin) / int64(c.root.DType.Size())
		if len(v.Shape) == 0 {
			v.Shape, v.Stride = []int64{}, []int64{}
		}
		return &v, nil
	}
	return nil, fmt.Errorf("an operand lies in no slot")
}

// measure sets what a case says of itself: the length of its longest sum, and where rounding
// leaves room. Errors are measured against the largest number of each output.
func (t *Trial) measure(n *op.Node) {
	t.Length = 1
	for _, v := range slices.Concat(n.In, n.Out) {
		if v == nil {
			continue
		}
		for _, extent := range v.Shape {
			t.Length = max(t.Length, extent)
		}
		if n.Op == abi.OpReduce || n.Op == abi.OpGlobalNorm {
			t.Length = max(t.Length, v.Count())
		}
	}
	if n.Op == abi.OpRope {
		for _, x := range t.Inputs[n.In[1].Root] {
			t.Length = max(t.Length, int64(x*x))
		}
	}
	if c := abi.DType(queryCompute(n)); n.Op == abi.OpMatmul && c != 0 {
		t.Rounds = true
	}
	switch a := n.Attr.(type) {
	case op.AdamW:
		for _, v := range n.Out {
			if a.Stochastic && v.Type() == abi.BF16 {
				t.Rules[v.Root] = Rule{Near: 0.001}
			}
		}
	case op.Quantise:
		if n.Op == abi.OpQuantise && a.Format.NestedGroup > 0 {
			t.Rules[n.Out[abi.WeightScale].Root] = Rule{Near: 0.02}
		}
	}
}

// keep writes what a record left back into the slots.
func (m *moment) keep(slots [][]byte, after map[*op.Value][]byte) {
	for _, v := range m.trial.subject().Out {
		if v == nil {
			continue
		}
		at, size := m.at[v.Root], int64(v.Type().Size())
		for _, i := range v.Positions() {
			copy(slots[at.slot][at.offset+i*size:], after[v.Root][i*size:][:size])
		}
	}
}

// callOf describes what a node reads and writes.
func callOf(n *op.Node) string {
	describe := func(vs []*op.Value) (text string) {
		for _, v := range vs {
			if v != nil {
				text += fmt.Sprintf(" %s%v", v.Type(), v.Shape)
			}
		}
		return text
	}
	return fmt.Sprintf("%s:%s ->%s", n.Op, describe(n.In), describe(n.Out))
}
