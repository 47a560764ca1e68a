package op

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"trainer/core/abi"
)

// Decode makes a node of a record: the inverse of encoding it. value gives the value of an
// operand that is present.
func Decode(r abi.DecodedRecord, value func(abi.Operand) (*Value, error)) (*Node, error) {
	if _, err := Lookup(abi.Op(r.Op)); err != nil {
		return nil, err
	}
	n := &Node{Op: abi.Op(r.Op), Block: -1, Lane: int(r.Lane)}
	for _, side := range []struct {
		from []abi.Operand
		to   *[]*Value
	}{{r.Outputs, &n.Out}, {r.Inputs, &n.In}} {
		for _, o := range side.from {
			var v *Value
			if o.Slot != abi.SlotNone {
				var err error
				if v, err = value(o); err != nil {
					return nil, err
				}
			}
			*side.to = append(*side.to, v)
		}
	}
	var err error
	if n.Attr, err = decodeAttr(n, r.Attr); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Op, err)
	}
	return n, nil
}

func float(bits uint32) float64 { return float64(math.Float32frombits(bits)) }

// read takes the next struct off raw.
func read[T any](raw *bytes.Reader) (v T, err error) {
	if err = binary.Read(raw, binary.LittleEndian, &v); err != nil {
		err = fmt.Errorf("attributes of %d bytes: %w", raw.Size(), err)
	}
	return v, err
}

// attrAs decodes one attribute struct and makes the attribute of it.
func attrAs[T any](raw *bytes.Reader, make func(T) Attr) (Attr, error) {
	v, err := read[T](raw)
	if err != nil {
		return nil, err
	}
	return make(v), nil
}

// decodeAttr makes the attribute of a node whose operands are known.
func decodeAttr(n *Node, text []byte) (Attr, error) {
	raw := bytes.NewReader(text)
	switch n.Op {
	case abi.OpFill:
		return attrAs(raw, func(a abi.AttrFill) Attr { return Fill{a.ValueBits} })
	case abi.OpUnary:
		return attrAs(raw, func(a abi.AttrUnary) Attr { return Unary{a.Code, float(a.AlphaBits), float(a.BetaBits)} })
	case abi.OpBinary:
		return attrAs(raw, func(a abi.AttrBinary) Attr { return Binary{a.Code} })
	case abi.OpReduce:
		return attrAs(raw, func(a abi.AttrReduce) Attr { return Reduce{a.Code} })
	case abi.OpMatmul:
		return attrAs(raw, func(a abi.AttrMatmul) Attr {
			return MatMul{float(a.AlphaBits), float(a.BetaBits), abi.DType(a.Compute)}
		})
	case abi.OpRandom:
		return attrAs(raw, func(a abi.AttrRandom) Attr { return Random{siteOf(a.SiteLo, a.SiteHi)} })
	case abi.OpUnpack, abi.OpPack:
		return attrAs(raw, func(a abi.AttrBits) Attr { return Bits{a.Bits, a.Order} })
	case abi.OpIota:
		return attrAs(raw, func(a abi.AttrIota) Attr { return Iota{int(a.Dim)} })
	case abi.OpQuantise, abi.OpDequantise:
		return attrAs(raw, func(a abi.AttrQuant) Attr { return Quantise{a.Format, a.Rows, a.Cols} })
	case abi.OpRmsnorm, abi.OpRmsnormGrad:
		return attrAs(raw, func(a abi.AttrRmsnorm) Attr { return RMSNormAttr{float(a.EpsBits)} })
	case abi.OpRope:
		return attrAs(raw, func(a abi.AttrRope) Attr {
			return RoPE{int64(a.Heads), int64(a.RotaryDim), float(a.ScaleBits), a.Inverse != 0}
		})
	case abi.OpAttention, abi.OpAttentionGrad:
		return attrAs(raw, func(a abi.AttrAttention) Attr {
			return Attention{float(a.ScaleBits), a.Causal != 0, int64(a.Window), abi.DType(a.Compute)}
		})
	case abi.OpLinearCrossEntropy:
		return attrAs(raw, func(a abi.AttrLinearCrossEntropy) Attr {
			return LinearCrossEntropy{abi.DType(a.Compute), int64(a.Chunk), a.OutFeatures, a.InFeatures, a.Format}
		})
	case abi.OpDropoutMask:
		return attrAs(raw, func(a abi.AttrDropoutMask) Attr {
			return DropoutMask{siteOf(a.SiteLo, a.SiteHi), float(a.PBits), a.Features}
		})
	case abi.OpAdamw:
		return attrAs(raw, func(a abi.AttrAdamw) Attr {
			return AdamW{float(a.Beta1Bits), float(a.Beta2Bits), float(a.EpsBits), float(a.WeightDecayBits), a.Stochastic != 0, siteOf(a.SiteLo, a.SiteHi)}
		})
	case abi.OpGuard:
		return attrAs(raw, func(a abi.AttrGuard) Attr { return Guard{float(a.MaxNormBits), int64(a.Interval)} })
	case abi.OpLinear, abi.OpLinearGradInput, abi.OpLinearGradWeight, abi.OpLinearGradAdapter:
		return decodeLinear(n, raw)
	}
	return nil, nil
}

func siteOf(lo, hi uint32) Site { return Site(hi)<<32 | Site(lo) }

// decodeLinear makes the attribute of the four linear ops, whose projections hold the values
// that stand among the node's operands.
func decodeLinear(n *Node, raw *bytes.Reader) (Attr, error) {
	head, err := read[abi.AttrLinear](raw)
	if err != nil {
		return nil, err
	}
	a := Linear{Compute: abi.DType(head.Compute), KeepScale: float(head.KeepScaleBits)}
	for i := range int(head.NProjections) {
		e, err := read[abi.Projection](raw)
		if err != nil {
			return nil, err
		}
		p := Projection{Weight: &Weight{Name: fmt.Sprintf("weight %d", i), Format: e.Format, Out: e.OutFeatures, In: e.InFeatures}}
		var adapter []*Value
		switch n.Op {
		case abi.OpLinear:
			own := operandsFrom(n.In, 2+i*(abi.WeightOperands+3), abi.WeightOperands+3)
			copy(p.Weight.Operands[:], own)
			p.Bias, adapter = own[abi.WeightOperands], own[abi.WeightOperands+1:]
		case abi.OpLinearGradInput:
			own := operandsFrom(n.In, 3+i*(abi.WeightOperands+2), abi.WeightOperands+2)
			copy(p.Weight.Operands[:], own)
			adapter = own[abi.WeightOperands:]
		case abi.OpLinearGradAdapter: // of whose shapes those of the gradients tell
			adapter = operandsFrom(n.Out, 2*i, 2)
		}
		if e.Rank > 0 && adapter != nil && adapter[0] != nil {
			p.Adapter = &Adapter{A: adapter[0], B: adapter[1], Scale: float(e.ScaleBits)}
		} else if e.Rank > 0 {
			none := NewValue("adapter", Transient, Fixed, abi.F32, int64(e.Rank), e.InFeatures)
			p.Adapter = &Adapter{A: none, Scale: float(e.ScaleBits)}
		}
		a.Projections = append(a.Projections, p)
	}
	return a, nil
}

// operandsFrom are n operands from one on; nil where the record has fewer.
func operandsFrom(vs []*Value, from, n int) []*Value {
	out := make([]*Value, n)
	if from < len(vs) {
		copy(out, vs[from:min(len(vs), from+n)])
	}
	return out
}
