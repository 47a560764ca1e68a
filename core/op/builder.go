package op

import (
	"trainer/core/abi"
)

// Builder appends nodes to a graph. Its fields are the tags of the nodes that follow.
type Builder struct {
	Graph    *Graph
	Phase    Phase
	Block    int
	Lane     int
	Detached bool
}

// NewBuilder starts an empty graph.
func NewBuilder() *Builder { return &Builder{Graph: &Graph{}, Block: -1} }

// Value makes a transient root.
func (b *Builder) Value(name string, role Role, shape ...int64) *Value {
	return b.Graph.number(NewValue(name, Transient, role, 0, shape...))
}

// Fixed makes a transient root of a given dtype.
func (b *Builder) Fixed(name string, dtype abi.DType, shape ...int64) *Value {
	return b.Graph.number(NewValue(name, Transient, Fixed, dtype, shape...))
}

// Like makes a transient root with the role, dtype and shape of v.
func (b *Builder) Like(name string, v *Value) *Value {
	return b.Graph.number(NewValue(name, Transient, v.Root.Role, v.Root.DType, v.Shape...))
}

// Node appends a node with the builder's tags.
func (b *Builder) Node(op abi.Op, attr Attr, out, in []*Value) *Node {
	n := &Node{Op: op, In: in, Out: out, Attr: attr, Phase: b.Phase, Block: b.Block, Lane: b.Lane, Detached: b.Detached}
	b.Graph.Nodes = append(b.Graph.Nodes, n)
	return n
}
