package op

import (
	"fmt"
	"slices"

	"trainer/core/abi"
)

// Kind says who writes a value and how long it lives.
type Kind uint8

const (
	Transient Kind = iota // made and used inside the program
	Input                 // uploaded before the program runs
	Output                // read after the program ran
	Constant              // never changes
	State                 // lives across programs; changed only by ops that say so
	Param                 // a scalar in the params block given with each submit
	Host                  // waits in memory of the host between two copies
)

// Role is what a value is for; the precision pass turns it into a dtype.
type Role uint8

const (
	Fixed      Role = iota // the dtype was given when the value was made
	Activation             // what flows inside a block
	Residual               // the residual stream between blocks
	Frozen                 // a dense weight that is not trained
	Trainable              // a weight that is trained
	Gradient               // a gradient accumulator
	Moment                 // optimizer moments
)

// Value is a strided view of storage. A root owns storage of its own; a view shares
// its root's. Values are immutable once their graph is planned.
type Value struct {
	ID     int
	Name   string
	Kind   Kind
	Role   Role
	DType  abi.DType // 0 until the precision pass, unless Role is Fixed
	Shape  []int64
	Stride []int64 // elements
	Offset int64   // elements from the root's start
	Root   *Value  // itself for a root
	Param  int64   // byte offset in the params block, for Kind Param
	Keep   bool    // a checkpoint: recompute never drops it
}

// NewValue makes a root with contiguous storage.
func NewValue(name string, kind Kind, role Role, dtype abi.DType, shape ...int64) *Value {
	v := &Value{Name: name, Kind: kind, Role: role, DType: dtype, Shape: slices.Clone(shape), Stride: contiguous(shape)}
	v.Root = v
	return v
}

// NewParam makes a scalar at a byte offset of the params block.
func NewParam(name string, dtype abi.DType, offset int64, shape ...int64) *Value {
	v := NewValue(name, Param, Fixed, dtype, shape...)
	v.Param = offset
	return v
}

func contiguous(shape []int64) []int64 {
	stride := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = n
		n *= shape[i]
	}
	return stride
}

// Count is the number of elements of the view.
func (v *Value) Count() int64 {
	n := int64(1)
	for _, d := range v.Shape {
		n *= d
	}
	return n
}

// IsView reports whether v shares another value's storage.
func (v *Value) IsView() bool { return v.Root != v }

// IsContiguous reports whether the elements lie row-major without gaps.
func (v *Value) IsContiguous() bool { return slices.Equal(v.Stride, contiguous(v.Shape)) }

// Type is the dtype of v's storage, which its root decides.
func (v *Value) Type() abi.DType { return v.Root.DType }

// view returns a value of v's storage with another geometry.
func (v *Value) view(offset int64, shape, stride []int64) *Value {
	return &Value{Name: v.Name, Kind: v.Kind, Role: v.Role, Shape: shape, Stride: stride, Offset: offset, Root: v.Root}
}

// Reshape views a contiguous value in another shape of equal count.
func (v *Value) Reshape(shape ...int64) *Value {
	w := v.view(v.Offset, slices.Clone(shape), contiguous(shape))
	if !v.IsContiguous() || w.Count() != v.Count() {
		panic(fmt.Sprintf("op: reshape %s %v (stride %v) to %v", v.Name, v.Shape, v.Stride, shape))
	}
	return w
}

// Slice views elements [from, to) of a dimension.
func (v *Value) Slice(dim int, from, to int64) *Value {
	shape := slices.Clone(v.Shape)
	shape[dim] = to - from
	return v.view(v.Offset+from*v.Stride[dim], shape, slices.Clone(v.Stride))
}

// Split views one dimension as several, whose product is its extent.
func (v *Value) Split(dim int, parts ...int64) *Value {
	shape := slices.Concat(v.Shape[:dim], parts, v.Shape[dim+1:])
	inner := contiguous(parts)
	for i := range inner {
		inner[i] *= v.Stride[dim]
	}
	return v.view(v.Offset, shape, slices.Concat(v.Stride[:dim], inner, v.Stride[dim+1:]))
}

// Transpose swaps two dimensions.
func (v *Value) Transpose(a, b int) *Value {
	shape, stride := slices.Clone(v.Shape), slices.Clone(v.Stride)
	shape[a], shape[b] = shape[b], shape[a]
	stride[a], stride[b] = stride[b], stride[a]
	return v.view(v.Offset, shape, stride)
}

// Permute views the dimensions in another order: dimension i is v's dims[i].
func (v *Value) Permute(dims ...int) *Value {
	shape, stride := make([]int64, len(dims)), make([]int64, len(dims))
	for i, d := range dims {
		shape[i], stride[i] = v.Shape[d], v.Stride[d]
	}
	return v.view(v.Offset, shape, stride)
}

// Broadcast views v in a larger shape: dimensions of extent 1, and those missing on
// the left, repeat with stride 0. The view may only be read.
func (v *Value) Broadcast(shape ...int64) *Value {
	lead := len(shape) - len(v.Shape)
	stride := make([]int64, len(shape))
	for i, d := range v.Shape {
		if d == shape[lead+i] {
			stride[lead+i] = v.Stride[i]
		}
	}
	return v.view(v.Offset, slices.Clone(shape), stride)
}

// Squeeze drops a dimension of extent 1.
func (v *Value) Squeeze(dim int) *Value {
	return v.view(v.Offset, slices.Concat(v.Shape[:dim], v.Shape[dim+1:]), slices.Concat(v.Stride[:dim], v.Stride[dim+1:]))
}

// Positions lists where the elements of a view lie in its root, in row-major order.
func (v *Value) Positions() []int64 {
	at := []int64{v.Offset}
	for d, n := range v.Shape {
		next := make([]int64, 0, int64(len(at))*n)
		for _, base := range at {
			for i := range n {
				next = append(next, base+i*v.Stride[d])
			}
		}
		at = next
	}
	return at
}

// Like returns the same geometry over another root of equal storage.
func (v *Value) Like(root *Value) *Value {
	if !v.IsView() {
		return root
	}
	return root.view(v.Offset, v.Shape, v.Stride)
}

// Phase is the part of a step a node belongs to.
type Phase uint8

const (
	Forward Phase = iota
	Backward
	Update
	Recompute // forward once more, for the backward
)

// String names the phase for people.
func (p Phase) String() string {
	return [...]string{"forward", "backward", "update", "recompute"}[p]
}

// Node is one op call. In and Out hold nil where an optional operand is absent; Out may
// name states, which the op then reads and changes.
type Node struct {
	Op       abi.Op
	In       []*Value
	Out      []*Value
	Attr     Attr
	Phase    Phase
	Block    int  // recompute region; -1 outside all
	Lane     int  // 0 compute, 1 copy, 2 collective
	Detached bool // its results are constants to the gradient
	Label    string
}

// Attr is an op's attribute struct: Bytes is what stands in the record.
type Attr interface{ Bytes() []byte }

// Graph is a program before planning: nodes in an order that respects use.
type Graph struct {
	Nodes     []*Node
	nextValue int
}

// number gives a value its id in this graph's numbering.
func (g *Graph) number(v *Value) *Value {
	g.nextValue++
	v.ID = g.nextValue
	return v
}

// Roots lists the storage-owning values the graph touches, in order of first use.
func (g *Graph) Roots() []*Value {
	seen := map[*Value]bool{}
	var roots []*Value
	for _, n := range g.Nodes {
		for _, v := range slices.Concat(n.In, n.Out) {
			if v != nil && !seen[v.Root] {
				seen[v.Root] = true
				roots = append(roots, v.Root)
			}
		}
	}
	return roots
}
