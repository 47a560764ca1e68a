package program

import (
	"trainer/core/abi"
	"trainer/core/op"
)

// Encode writes nodes as one list. at tells where each root lives, slots how many slots
// the binding table has, paramsBytes the size of the params block.
func Encode(nodes []*op.Node, at func(*op.Value) Address, serial uint64, slots, paramsBytes uint32) []byte {
	e := encoder{at: at, ids: map[*op.Value]uint32{}}
	after := Hazards(nodes, at)
	var list abi.ListBuilder
	for i, n := range nodes {
		var attr []byte
		if n.Attr != nil {
			attr = n.Attr.Bytes()
		}
		list.Record(n.Op, 0, uint16(n.Lane), after[i], e.operands(n.Out), e.operands(n.In), attr)
	}
	return list.Finish(serial, slots, paramsBytes)
}

type encoder struct {
	at  func(*op.Value) Address
	ids map[*op.Value]uint32
}

func (e *encoder) operands(vs []*op.Value) []abi.Operand {
	out := make([]abi.Operand, len(vs))
	for i, v := range vs {
		out[i] = e.operand(v)
	}
	return out
}

var kinds = [...]uint8{op.Transient: abi.KindTransient, op.Input: abi.KindInput, op.Output: abi.KindOutput,
	op.Constant: abi.KindConstant, op.State: abi.KindState, op.Param: abi.KindInput, op.Host: abi.KindState}

func (e *encoder) operand(v *op.Value) abi.Operand {
	if v == nil {
		return abi.Operand{Slot: abi.SlotNone}
	}
	size := int64(v.Type().Size())
	o := abi.Operand{DType: uint32(v.Type()), ValueID: e.id(v.Root), Kind: kinds[v.Root.Kind], Rank: uint8(len(v.Shape)), Bytes: uint64(extent(v) * size)}
	if v.Root.Kind == op.Param {
		o.Slot, o.Offset = abi.SlotParams, uint64(v.Root.Param+v.Offset*size)
	} else {
		a := e.at(v.Root)
		o.Slot, o.Offset = a.Slot, uint64(a.Offset+v.Offset*size)
		if a.Shared && o.Kind == abi.KindTransient {
			o.Kind = abi.KindState
		}
	}
	copy(o.Shape[:], v.Shape)
	copy(o.Stride[:], v.Stride)
	return o
}

func (e *encoder) id(root *op.Value) uint32 {
	id, ok := e.ids[root]
	if !ok {
		id = uint32(len(e.ids) + 1)
		e.ids[root] = id
	}
	return id
}

// extent is the number of elements from the view's first to its last, both included.
func extent(v *op.Value) int64 {
	n := int64(1)
	for i, d := range v.Shape {
		if d == 0 {
			return 0
		}
		n += (d - 1) * v.Stride[i]
	}
	return n
}
