package op

import "trainer/core/abi"

// FLOPs counts the multiplications and additions of a node's matrix products, each as one;
// 0 for ops that memory bounds. Outputs that are absent cost nothing. Masks that data decides
// (lengths, segments, unlabelled rows) leave nothing out; causal masks and windows do.
func FLOPs(n *Node) float64 {
	if f := MustLookup(n.Op).FLOPs; f != nil {
		return f(n)
	}
	return 0
}

// Bytes is what a node reads and writes at least: every element of its operands once, and
// twice where an output is added to. Of a table only the rows taken count.
func Bytes(n *Node) (total float64) {
	for i, v := range n.In {
		total += touched(n, v, n.Op == abi.OpGather && i == 0)
	}
	for i, v := range n.Out {
		bytes := touched(n, v, n.Op == abi.OpScatterAdd)
		if addsTo(n, i) {
			bytes *= 2
		}
		total += bytes
	}
	return total
}

// touched is the bytes of a view, each stored element once. A table has one row touched
// for each index.
func touched(n *Node, v *Value, table bool) float64 {
	if v == nil {
		return 0
	}
	count := int64(1)
	for i, d := range v.Shape {
		if v.Stride[i] != 0 {
			count *= d
		}
	}
	if table {
		count = min(count, n.In[1].Count()*v.Shape[1])
	}
	return float64(count * int64(v.Type().Size()))
}

// addsTo tells whether output i of a node is read and added to.
func addsTo(n *Node, i int) bool {
	switch n.Op {
	case abi.OpScatterAdd, abi.OpLinearGradAdapter, abi.OpAdamw, abi.OpGuard:
		return true
	case abi.OpLinearGradWeight:
		return !n.Attr.(Linear).Fresh
	case abi.OpRmsnormGrad:
		return i == 1
	case abi.OpLinearCrossEntropy:
		return i == 2
	case abi.OpMatmul:
		return n.Attr.(MatMul).Beta != 0
	}
	return false
}

// product is the FLOPs of [m,k] times [k,n].
func product(m, n, k int64) float64 { return 2 * float64(m) * float64(n) * float64(k) }

func flopsMatMul(n *Node) float64 {
	d, a := n.Out[0], n.In[0]
	return 2 * float64(d.Count()) * float64(a.Shape[len(a.Shape)-1])
}

// flopsLinear counts u = x A^T and u B^T with the product.
func flopsLinear(n *Node) (total float64) {
	rows := n.In[0].Shape[0]
	for _, p := range n.Attr.(Linear).Projections {
		total += product(rows, p.Weight.Out, p.Weight.In) + product(rows, p.Weight.Out+p.Weight.In, p.rank())
	}
	return total
}

func flopsLinearGradInput(n *Node) (total float64) {
	rows, dx := n.In[0].Shape[0], n.Out[0]
	for _, p := range n.Attr.(Linear).Projections {
		total += product(rows, p.Weight.Out, p.rank())
		if dx != nil {
			total += product(rows, p.Weight.Out, p.Weight.In) + product(rows, p.Weight.In, p.rank())
		}
	}
	return total
}

func flopsLinearGradWeight(n *Node) (total float64) {
	rows := n.In[0].Shape[0]
	for i, p := range n.Attr.(Linear).Projections {
		if n.Out[2*i] != nil {
			total += product(rows, p.Weight.Out, p.Weight.In)
		}
	}
	return total
}

func flopsLinearGradAdapter(n *Node) (total float64) {
	rows := n.In[0].Shape[0]
	for i, p := range n.Attr.(Linear).Projections {
		if n.Out[2*i] != nil {
			total += product(rows, p.Weight.In, p.rank())
		}
		if n.Out[2*i+1] != nil {
			total += product(rows, p.Weight.Out, p.rank())
		}
	}
	return total
}

// attended counts the pairs of query and key that a head computes. Queries stand at the end
// of the keys, where an offset is given.
func (a Attention) attended(queries, keys int64, offset bool) (pairs float64) {
	first := int64(0)
	if offset {
		first = keys - queries
	}
	for s := first; s < first+queries; s++ {
		from, to := int64(0), keys
		if a.Causal {
			to = min(keys, s+1)
		}
		if a.Window > 0 {
			from = max(0, s-a.Window+1)
		}
		pairs += float64(max(0, to-from))
	}
	return pairs
}

// scoreProduct is the FLOPs of one product of the size of all scores.
func scoreProduct(a Attention, q, k *Value, offset bool) float64 {
	return 2 * float64(q.Shape[0]*q.Shape[2]*q.Shape[3]) * a.attended(q.Shape[1], k.Shape[1], offset)
}

// flopsAttention: q k^T and p v.
func flopsAttention(n *Node) float64 {
	return 2 * scoreProduct(n.Attr.(Attention), n.In[0], n.In[1], n.In[5] != nil)
}

// flopsAttentionGrad: q k^T again, do v^T for dq and dk, and one product for each output.
func flopsAttentionGrad(n *Node) float64 {
	products := 1.0
	if n.Out[0] != nil || n.Out[1] != nil {
		products++
	}
	for _, v := range n.Out {
		if v != nil {
			products++
		}
	}
	return products * scoreProduct(n.Attr.(Attention), n.In[3], n.In[4], n.In[8] != nil)
}

// flopsLinearCrossEntropy: logits, and dh and dW where they are wanted.
func flopsLinearCrossEntropy(n *Node) float64 {
	a, products := n.Attr.(LinearCrossEntropy), 1.0
	for _, v := range n.Out[1:] {
		if v != nil {
			products++
		}
	}
	return products * product(n.In[0].Shape[0], a.Out, a.In)
}
