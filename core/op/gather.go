package op

import "trainer/core/abi"

// Gather emits dst[i] = src[index[i]] over rows; a negative index gives zeros.
func (b *Builder) Gather(dst, src, index *Value) {
	b.Node(abi.OpGather, nil, vals(dst), vals(src, index))
}

// ScatterAdd emits dst[index[i]] += src[i]; a negative index is skipped.
func (b *Builder) ScatterAdd(dst, src, index *Value) {
	b.Node(abi.OpScatterAdd, nil, vals(dst), vals(src, index))
}

// backwardGather adds the rows' gradients to the table's accumulator, or to a zeroed
// gradient where the table is itself computed.
func backwardGather(w *Backprop, n *Node) {
	dy, table, index := w.Grad(n.Out[0]), n.In[0], n.In[1]
	if acc := w.Accumulator(table); acc != nil {
		w.ScatterAdd(acc, dy, index)
		return
	}
	d := w.Dest(table)
	w.FillFloat(d, 0)
	w.ScatterAdd(d, dy, index)
	w.Done(table, d)
}
