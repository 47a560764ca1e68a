package op

import "trainer/core/abi"

// Since is the minor of the border with which came what a node asks for. A backend that
// speaks an earlier one is not asked for it.
func Since(n *Node) uint32 {
	switch a := n.Attr.(type) {
	case Bits:
		if a.Order == 1 && 8%a.Bits != 0 {
			return 2
		}
	case Linear:
		mask := map[abi.Op]int{abi.OpLinear: 1, abi.OpLinearGradAdapter: 2}
		i, masked := mask[n.Op]
		if a.Fresh || masked && n.In[i] != nil && n.In[i].Type().IsFloat() { // x dropped out already
			return 2
		}
	}
	switch n.Op {
	case abi.OpScale, abi.OpScaleGrad, abi.OpDropoutMask:
		return 2
	}
	return 1
}
