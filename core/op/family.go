package op

import (
	"fmt"

	"trainer/core/abi"
)

// Family is what the project knows of one op. One file per kernel family registers
// its ops here.
type Family struct {
	Op   abi.Op
	Name string
	// Tier is 0 for mandatory ops, 1 for fused ones.
	Tier int
	// Backward emits the gradient of n's inputs and trained states; nil where the op is
	// not differentiable.
	Backward func(w *Backprop, n *Node)
	// Compose emits the same result in mandatory ops, writing n.Out; nil for tier 0. It is
	// the op's definition for conformance.
	Compose func(b *Builder, n *Node)
	// InPlace lists pairs {output, input} that may be the same memory.
	InPlace [][2]int
	// FLOPs counts those of a node's matrix products; nil where memory bounds the op.
	FLOPs func(n *Node) float64
	// Dear ops are worth keeping when selective recompute drops the rest.
	Dear bool
}

// Lookup tables are built once from the list in families.go. It is filled in init
// because backward rules and compositions look families up themselves.
var families = map[abi.Op]*Family{}

func init() {
	for _, f := range all {
		families[f.Op] = f
	}
}

// Lookup returns the family of an op.
func Lookup(op abi.Op) (*Family, error) {
	if f := families[op]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("op %#x is not known", uint32(op))
}

// MustLookup is Lookup for ops that a graph of ours holds.
func MustLookup(op abi.Op) *Family {
	f, err := Lookup(op)
	if err != nil {
		panic(err)
	}
	return f
}

// Families lists every op in ascending id.
func Families() []*Family { return all }
