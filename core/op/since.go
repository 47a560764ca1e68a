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
		if a.Fresh {
			return 2
		}
	}
	if n.Op == abi.OpScale || n.Op == abi.OpScaleGrad {
		return 2
	}
	return 1
}
