package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

func listBehaviours() []Behaviour {
	cases := []Behaviour{
		{Group: "lists", Name: "none", Demand: "list.refuse", Try: (*rig).noList},
		{Group: "lists", Name: "cut at every word", Demand: "list.refuse", Try: (*rig).cutLists},
		{Group: "lists", Name: "beyond list_bytes_max", Demand: "list.refuse", Try: (*rig).hugeList},
		{Group: "lists", Name: "operands missing and too many", Demand: "list.refuse", Try: (*rig).operandCounts},
		{Group: "lists", Name: "attributes missing and cut", Demand: "list.refuse", Try: (*rig).attributes},
		{Group: "lists", Name: "shapes that do not go together", Demand: "list.refuse", Try: (*rig).shapes},
		{Group: "lists", Name: "any bytes", Demand: "list.total", Try: (*rig).anyLists},
	}
	for _, d := range damages {
		cases = append(cases, Behaviour{Group: "lists", Name: d.name, Demand: "list.refuse", Try: func(r *rig) {
			list := r.twoCopies()
			d.do(list)
			r.malformed(d.name, list)
		}})
	}
	return cases
}

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

func put16(b []byte, x uint16) { binary.LittleEndian.PutUint16(b, x) }
func put32(b []byte, x uint32) { binary.LittleEndian.PutUint32(b, x) }
func put64(b []byte, x uint64) { binary.LittleEndian.PutUint64(b, x) }

// Offsets within a list: of its header's fields, of a record's, of an operand's.
const (
	headBytes   = 40
	recordBytes = 24
)

// twoCopies is a list of two records that copy 4 f32 from slot 1 to slot 0, the second of
// them behind the first. Behind it lies memory that the list does not own.
func (r *rig) twoCopies() []byte {
	r.serial++
	var b abi.ListBuilder
	for i := range uint32(2) {
		b.Record(abi.OpCopy, 0, 0, []uint32{0}[:i], []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, []abi.Operand{flat(1, abi.F32, abi.KindInput, 4)}, nil)
	}
	list := b.Finish(r.serial, 2, 8)
	return append(list, bytes.Repeat([]byte{filler}, 4096)...)[:len(list)]
}

// secondRecord is where the second record of a list begins.
func secondRecord(list []byte) int {
	return headBytes + int(binary.LittleEndian.Uint32(list[headBytes:]))
}

// malformed demands that a list is refused, by list_check, submit and plan_create.
func (r *rig) malformed(what string, list []byte) {
	a, _ := r.check(list)
	r.among(what, invalid, "list_check", a.Status)
	r.neverRun(what, list)
}

// neverRun demands that submit and plan_create refuse a list.
func (r *rig) neverRun(what string, list []byte) {
	from, to, queue := r.staging(64), r.staging(64), r.queue()
	w := work{list: list, bindings: []abi.Binding{whole(to), whole(from)}, params: make([]byte, 8)}
	if a := r.submit(queue, w); a.Status == abi.StatusOK {
		r.fail("%s: submit answers ok", what)
	}
	if r.hasPlans() {
		if a, _ := r.planned(w); a.Status == abi.StatusOK {
			r.fail("%s: plan_create answers ok", what)
		}
	}
	r.end([]uint64{queue}, nil)
	r.free(from, to)
}

// damage is what makes a list of twoCopies malformed.
type damage struct {
	name string
	do   func(list []byte)
}

// inRecord is a damage of the second record, inOutput and inInput of its operands.
func inRecord(at int, write func(b []byte)) func([]byte) {
	return func(list []byte) { write(list[secondRecord(list)+at:]) }
}
func inOutput(at int, write func(b []byte)) func([]byte) { return inRecord(recordBytes+at, write) }
func inInput(at int, write func(b []byte)) func([]byte)  { return inRecord(recordBytes+128+at, write) }

func as16(x uint16) func([]byte) { return func(b []byte) { put16(b, x) } }
func as32(x uint32) func([]byte) { return func(b []byte) { put32(b, x) } }
func as64(x int64) func([]byte)  { return func(b []byte) { put64(b, uint64(x)) } }
func as8(x byte) func([]byte)    { return func(b []byte) { b[0] = x } }

var damages = []damage{
	{"wrong magic", func(l []byte) { put32(l[4:], 0x12345678) }},
	{"struct_size 0", func(l []byte) { put32(l, 0) }},
	{"struct_size 8", func(l []byte) { put32(l, 8) }},
	{"struct_size beyond the list", func(l []byte) { put32(l, 1<<20) }},
	{"struct_size 2^32 - 8", func(l []byte) { put32(l, 1<<32-8) }},
	{"bytes 0", func(l []byte) { put64(l[24:], 0) }},
	{"bytes 2^64 - 8", func(l []byte) { put64(l[24:], 1<<64-8) }},
	{"bytes behind the last record", func(l []byte) { put64(l[24:], uint64(len(l)+64)) }},
	{"a record less than are there", func(l []byte) { put32(l[12:], 1) }},
	{"a record more than are there", func(l []byte) { put32(l[12:], 3) }},
	{"2^32 - 1 records", func(l []byte) { put32(l[12:], 1<<32-1) }},
	{"no slots", func(l []byte) { put32(l[16:], 0) }},
	{"a record of size 0", inRecord(0, as32(0))},
	{"a record of size 8", inRecord(0, as32(8))},
	{"a record longer than the list", inRecord(0, as32(1<<20))},
	{"a record of size 2^32 - 8", inRecord(0, as32(1<<32-8))},
	{"a record that is shorter than its parts", func(l []byte) { put32(l[secondRecord(l):], uint32(len(l)-secondRecord(l)-8)) }},
	{"65535 outputs", inRecord(16, as16(1<<16-1))},
	{"65535 inputs", inRecord(18, as16(1<<16-1))},
	{"attr_bytes 2^32 - 8", inRecord(20, as32(1<<32-8))},
	{"attr_bytes 4", inRecord(20, as32(4))},
	{"65535 records to come after", inRecord(14, as16(1<<16-1))},
	{"a record after itself", func(l []byte) { put32(l[len(l)-8:], 1) }},
	{"a record after one that is not there", func(l []byte) { put32(l[len(l)-8:], 1<<32-1) }},
	{"an output in a slot that is not there", inOutput(0, as32(2))},
	{"an input in a slot that is not there", inInput(0, as32(1<<31))},
	{"an output in the params block", inOutput(0, as32(abi.SlotParams))},
	{"an input behind the params block", inInput(0, as32(abi.SlotParams))},
	{"rank 7", inInput(13, as8(7))},
	{"rank 255", inOutput(13, as8(255))},
	{"a kind that is none", inInput(12, as8(200))},
	{"a negative dimension", inInput(32, as64(-1))},
	{"a dimension of -2^63", inOutput(32, as64(-1<<63))},
	{"a dimension of 2^62", inInput(32, as64(1<<62))},
	{"dimensions whose product overflows", func(l []byte) {
		for _, at := range []int{0, 128} {
			o := l[secondRecord(l)+recordBytes+at:]
			o[13] = 4
			for d := range 4 {
				put64(o[32+8*d:], 1<<16)
				put64(o[80+8*d:], 1)
			}
		}
	}},
	{"a negative stride", inInput(80, as64(-1))},
	{"a stride of 2^62", inInput(80, as64(1<<62))},
	{"strides whose extent overflows", inOutput(80, as64(1<<63-1))},
	{"a view longer than its bytes", inInput(24, as64(8))},
	{"bytes 0 of an operand", inOutput(24, as64(0))},
	{"offset + bytes beyond 2^64", inInput(16, as64(-8))},
	{"an offset that is not aligned to elements", inInput(16, as64(2))},
	{"an output that is broadcast", inOutput(80, as64(0))},
	{"bound by an operand that is not there", inInput(15, as8(9))},
	{"bound by itself", inInput(15, as8(2))},
	{"bound by what is not one i32", inInput(15, as8(1))},
	{"bound in a dimension that is not there", func(l []byte) { o := l[secondRecord(l)+recordBytes+128:]; o[14], o[15] = 5, 1 }},
}

func (r *rig) noList() {
	report := abi.ListReport{StructSize: uint32(sizeOf(abi.ListReport{}))}
	r.refused("no list at all", invalid, "list_check", r.device, nil, &report)
	queue := r.queue()
	r.among("no list at all", invalid, "submit", r.submit(queue, work{}).Status)
	r.end([]uint64{queue}, nil)
}

// cutLists says of every prefix of a list that it is all.
func (r *rig) cutLists() {
	whole := r.twoCopies()
	for n := 0; n < len(whole); n += 8 {
		list := slices.Clone(whole)
		put64(list[24:], uint64(n))
		a, _ := r.check(list)
		r.among(fmt.Sprintf("a list cut after %d of %d bytes", n, len(whole)), invalid, "list_check", a.Status)
	}
}

func (r *rig) hugeList() {
	if r.info.ListBytesMax > 1<<62 {
		r.skip("list_bytes_max is no limit")
	}
	list := r.twoCopies()
	put64(list[24:], r.info.ListBytesMax/8*8+8)
	a, _ := r.check(list)
	r.among("a list longer than list_bytes_max", invalid, "list_check", a.Status)
}

func (r *rig) operandCounts() {
	o, i := flat(0, abi.F32, abi.KindOutput, 4), flat(1, abi.F32, abi.KindInput, 4)
	none := abi.Operand{Slot: abi.SlotNone}
	for what, parts := range map[string][2][]abi.Operand{
		"copy without operands":       {},
		"copy without an input":       {{o}, nil},
		"copy without an output":      {nil, {i}},
		"copy of two inputs":          {{o}, {i, i}},
		"copy to two outputs":         {{o, o}, {i}},
		"copy with an absent input":   {{o}, {none}},
		"copy with an absent output":  {{none}, {i}},
		"copy of 300 inputs":          {{o}, slices.Repeat([]abi.Operand{i}, 300)},
		"copy with nothing but blank": {{none}, {none}},
	} {
		r.badRecord(what, invalid, func(b *abi.ListBuilder) { b.Record(abi.OpCopy, 0, 0, nil, parts[0], parts[1], nil) })
	}
}

func (r *rig) attributes() {
	o, i := []abi.Operand{flat(0, abi.F32, abi.KindOutput, 4)}, flat(1, abi.F32, abi.KindInput, 4)
	square := flat(0, abi.F32, abi.KindOutput, 4)
	square.Rank, square.Shape, square.Stride = 2, [6]int64{2, 2}, [6]int64{2, 1}
	from := square
	from.Slot, from.Kind = 1, abi.KindInput
	r.badRecord("fill without its attribute", invalid, func(b *abi.ListBuilder) { b.Record(abi.OpFill, 0, 0, nil, o, nil, nil) })
	r.badRecord("unary without its attribute", invalid, func(b *abi.ListBuilder) { b.Record(abi.OpUnary, 0, 0, nil, o, []abi.Operand{i}, nil) })
	r.badRecord("unary with half of its attribute", invalid, func(b *abi.ListBuilder) {
		b.Record(abi.OpUnary, 0, 0, nil, o, []abi.Operand{i}, abi.AttrBytes(abi.AttrUnary{Code: abi.UnaryNeg})[:8])
	})
	r.badRecord("binary without its attribute", invalid, func(b *abi.ListBuilder) { b.Record(abi.OpBinary, 0, 0, nil, o, []abi.Operand{i, i}, nil) })
	r.badRecord("matmul with half of its attribute", invalid, func(b *abi.ListBuilder) {
		b.Record(abi.OpMatmul, 0, 0, nil, []abi.Operand{square}, []abi.Operand{from, from}, abi.AttrBytes(abi.AttrMatmul{Compute: uint32(abi.F32)})[:8])
	})
	r.badRecord("iota along a dimension that is not there", invalid, func(b *abi.ListBuilder) {
		b.Record(abi.OpIota, 0, 0, nil, []abi.Operand{flat(0, abi.I32, abi.KindOutput, 4)}, nil, abi.AttrBytes(abi.AttrIota{Dim: 3}))
	})
}

func (r *rig) shapes() {
	o, i := flat(0, abi.F32, abi.KindOutput, 4), flat(1, abi.F32, abi.KindInput, 4)
	three, integer := flat(1, abi.F32, abi.KindInput, 3), flat(1, abi.I32, abi.KindInput, 4)
	matrix := func(slot uint32, kind uint8, m, n int64) abi.Operand {
		x := flat(slot, abi.F32, kind, m*n)
		x.Rank, x.Shape, x.Stride = 2, [6]int64{m, n}, [6]int64{n, 1}
		return x
	}
	add, product := abi.AttrBytes(abi.AttrBinary{Code: abi.BinaryAdd}), abi.AttrBytes(abi.AttrMatmul{AlphaBits: 0x3F800000, Compute: uint32(abi.F32)})
	for what, parts := range map[string]struct {
		op     abi.Op
		out    abi.Operand
		inputs []abi.Operand
		attr   []byte
	}{
		"copy of 3 elements to 4":             {abi.OpCopy, o, []abi.Operand{three}, nil},
		"copy of i32 to f32":                  {abi.OpCopy, o, []abi.Operand{integer}, nil},
		"add of 4 and 3 elements":             {abi.OpBinary, o, []abi.Operand{i, three}, add},
		"add of f32 and i32":                  {abi.OpBinary, o, []abi.Operand{i, integer}, add},
		"matmul of [2 3] and [4 5]":           {abi.OpMatmul, matrix(0, abi.KindOutput, 2, 5), []abi.Operand{matrix(1, abi.KindInput, 2, 3), matrix(1, abi.KindInput, 4, 5)}, product},
		"matmul of [2 3] and [3 5] to [2 4]":  {abi.OpMatmul, matrix(0, abi.KindOutput, 2, 4), []abi.Operand{matrix(1, abi.KindInput, 2, 3), matrix(1, abi.KindInput, 3, 5)}, product},
		"matmul of vectors":                   {abi.OpMatmul, o, []abi.Operand{i, i}, product},
		"gather with an index of floats":      {abi.OpGather, matrix(0, abi.KindOutput, 2, 5), []abi.Operand{matrix(1, abi.KindInput, 7, 5), flat(1, abi.F32, abi.KindInput, 2)}, nil},
		"gather of rows of another width":     {abi.OpGather, matrix(0, abi.KindOutput, 2, 4), []abi.Operand{matrix(1, abi.KindInput, 7, 5), flat(1, abi.I32, abi.KindInput, 2)}, nil},
		"reduce of [2 5] to [2 3]":            {abi.OpReduce, matrix(0, abi.KindOutput, 2, 3), []abi.Operand{matrix(1, abi.KindInput, 2, 5)}, abi.AttrBytes(abi.AttrReduce{Code: abi.ReduceSum})},
		"unpack of more elements than stored": {abi.OpUnpack, flat(0, abi.I32, abi.KindOutput, 9), []abi.Operand{flat(1, abi.U8, abi.KindInput, 4)}, abi.AttrBytes(abi.AttrBits{Bits: 4})},
	} {
		r.badRecord(what, unknown, func(b *abi.ListBuilder) {
			b.Record(parts.op, 0, 0, nil, []abi.Operand{parts.out}, parts.inputs, parts.attr)
		})
	}
}

// anyLists damages lists of every op at random. What is accepted is not run.
func (r *rig) anyLists() {
	lists := r.everyList()
	for range 4000 {
		list := slices.Clone(lists[r.rng.IntN(len(lists))])
		own := len(list)
		for range 1 + r.rng.IntN(3) {
			r.spoil(list)
		}
		if binary.LittleEndian.Uint64(list[24:]) > uint64(own) {
			put64(list[24:], uint64(own)) // no host gives less memory than it says
		}
		a, _ := r.check(list)
		r.among("a list with random damage", []abi.Status{abi.StatusOK, abi.StatusInvalid, abi.StatusUnsupported, abi.StatusOOM}, "list_check", a.Status)
	}
}

// spoil changes a word of a list, oftener to a number that is the end of a range.
func (r *rig) spoil(list []byte) {
	ends := []uint64{0, 1, 1<<64 - 1, 1 << 63, 1<<63 - 1, 1 << 32, 1<<32 - 1, 1 << 31, 7, 65535, 1 << 58}
	x := ends[r.rng.IntN(len(ends))]
	if r.rng.IntN(3) == 0 {
		x = r.rng.Uint64()
	}
	switch at := r.rng.IntN(len(list)/8) * 8; r.rng.IntN(4) {
	case 0:
		list[at+r.rng.IntN(8)] ^= 1 << r.rng.IntN(8)
	case 1:
		put32(list[at+4*r.rng.IntN(2):], uint32(x))
	case 2:
		put16(list[at+2*r.rng.IntN(4):], uint16(x))
	default:
		put64(list[at:], x)
	}
}

// everyList is a list of the first case of every op.
func (r *rig) everyList() (lists [][]byte) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Op] {
			continue
		}
		seen[c.Op] = true
		t := c.trial(1)
		m := newImage(&op.Graph{Nodes: t.Graph.Nodes}, t.Inputs, 64)
		lists = append(lists, program.Encode(t.Graph.Nodes, m.address, 1, slots, uint32(len(m.params))))
	}
	return lists
}

func (r *rig) hasPlans() bool { return r.backend.Has("plan_create") && r.backend.Has("plan_destroy") }

// planned makes a plan of work.
func (r *rig) planned(w work) (plugin.Answer, uint64) {
	desc := abi.PlanDesc{BindingCount: uint32(len(w.bindings)), List: r.Address(w.list), Bindings: r.Address(w.bindings)}
	desc.StructSize = uint32(sizeOf(desc))
	var plan abi.Plan
	plan.StructSize = uint32(sizeOf(plan))
	a := r.ask("plan_create", r.device, &desc, &plan)
	return a, plan.Handle
}

// plan makes a plan that a behaviour needs.
func (r *rig) plan(w work) uint64 {
	a, plan := r.planned(w)
	if a.Status != abi.StatusOK || plan == 0 {
		r.fail("plan_create answers %s with handle %d: %s", a.Status, plan, a.Text())
	}
	return plan
}
