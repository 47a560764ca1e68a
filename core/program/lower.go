package program

import (
	"trainer/core/abi"
	"trainer/core/op"
)

// Lower replaces every node that claims does not cover by its composition in
// mandatory ops, and returns the names of the composed ops.
func Lower(g *op.Graph, claims func(*op.Node) bool) []string {
	b := op.Builder{Graph: &op.Graph{}}
	seen := map[string]bool{}
	var composed []string
	for _, n := range g.Nodes {
		if n.Op == Cut {
			b.Graph.Nodes = append(b.Graph.Nodes, n)
			continue
		}
		f := op.MustLookup(n.Op)
		if f.Compose == nil || claims(n) {
			b.Graph.Nodes = append(b.Graph.Nodes, n)
			continue
		}
		if !seen[f.Name] {
			seen[f.Name] = true
			composed = append(composed, f.Name)
		}
		b.Phase, b.Block, b.Lane = n.Phase, n.Block, n.Lane
		f.Compose(&b, n)
	}
	g.Nodes = b.Graph.Nodes
	return composed
}

// Query is the question to a backend whether it runs a node natively. Nodes that ask
// the same question share an answer.
func Query(n *op.Node) abi.OpQuery {
	q := abi.OpQuery{Op: uint32(n.Op), Version: 1}
	q.DType = uint32(activation(n))
	switch a := n.Attr.(type) {
	case op.MatMul:
		q.Compute = uint32(a.Compute)
	case op.Attention:
		q.Compute = uint32(a.Compute)
	case op.Linear:
		q.Compute, q.Format = uint32(a.Compute), a.Projections[0].Weight.Format
		q.WeightDType = uint32(weightType(a.Projections[0].Weight))
	case op.LinearCrossEntropy:
		q.Compute, q.Format = uint32(a.Compute), a.Format
	case op.Quantise:
		q.Format = a.Format
	}
	return q
}

// Kind is what a backend may have a code path of its own for: the question, and the code of
// a unary, binary or reducing node.
type Kind struct {
	Query abi.OpQuery
	Code  uint32
}

// KindOf is the kind of a node.
func KindOf(n *op.Node) Kind {
	k := Kind{Query: Query(n)}
	switch a := n.Attr.(type) {
	case op.Unary:
		k.Code = a.Code
	case op.Binary:
		k.Code = a.Code
	case op.Reduce:
		k.Code = a.Code
	}
	return k
}

func weightType(w *op.Weight) abi.DType {
	if d := w.Dense(); d != nil {
		return d.Type()
	}
	return 0
}

// activation is the dtype of the node's first float operand.
func activation(n *op.Node) abi.DType {
	for _, vs := range [][]*op.Value{n.In, n.Out} {
		for _, v := range vs {
			if v != nil && v.Type().IsFloat() {
				return v.Type()
			}
		}
	}
	return 0
}
