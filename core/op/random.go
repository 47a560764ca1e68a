package op

import "trainer/core/abi"

// Draw is where a program takes random numbers from: one row of coordinates per token,
// and what changes from step to step.
type Draw struct {
	Samples   *Value // i32 [T], the record a row belongs to
	Positions *Value // i32 [T], the position in it
	Seed      *Value // i32 [2]
	Step      *Value // i32 [1], the optimizer step
}

func (d Draw) values() []*Value { return vals(d.Samples, d.Positions, d.Seed, d.Step) }

// Random emits dst f32 [T,F], uniform in [0,1), by Philox at the header's coordinates.
func (b *Builder) Random(dst *Value, site Site, d Draw) {
	b.Node(abi.OpRandom, Random{Site: site}, vals(dst), d.values())
}

// DropoutMask is the attribute of OpDropoutMask: a bit is set with probability 1 - P.
type DropoutMask struct {
	Site      Site
	P         float64
	KeepScale float64 // of y, where x is given
	Features  int64
}

// Bytes encodes the attribute.
func (a DropoutMask) Bytes() []byte {
	return abi.AttrBytes(abi.AttrDropoutMask{SiteLo: uint32(a.Site), SiteHi: uint32(a.Site >> 32), PBits: f32(a.P), KeepScaleBits: f32(a.KeepScale), Features: a.Features})
}

// DropoutMask makes the mask u8 [T, ceil(features/8)] of a site.
func (b *Builder) DropoutMask(site Site, p float64, features int64, d Draw) *Value {
	mask := b.Fixed("mask", abi.U8, d.Samples.Shape[0], (features+7)/8)
	b.Node(abi.OpDropoutMask, DropoutMask{Site: site, P: p, Features: features}, vals(mask, nil), append(d.values(), nil))
	return mask
}

// Dropout makes the mask of a site and what it leaves of x [T,K]: elements dropped with
// probability p, the others scaled by 1/(1-p).
func (b *Builder) Dropout(site Site, p float64, x *Value, d Draw) (y, mask *Value) {
	features := x.Shape[1]
	y, mask = b.Like("dropped", x), b.Fixed("mask", abi.U8, x.Shape[0], (features+7)/8)
	a := DropoutMask{Site: site, P: p, KeepScale: 1 / (1 - p), Features: features}
	b.Node(abi.OpDropoutMask, a, vals(mask, y), append(d.values(), x))
	return y, mask
}

func composeDropoutMask(b *Builder, n *Node) {
	a, mask := n.Attr.(DropoutMask), n.Out[0]
	rows, width := mask.Shape[0], mask.Shape[1]*8
	drawn := b.temp(rows, a.Features)
	b.Random(drawn, a.Site, Draw{n.In[0], n.In[1], n.In[2], n.In[3]})
	bits := b.Fixed("bits", abi.I32, rows, width)
	if a.Features < width {
		b.FillInt(bits.Slice(1, a.Features, width), 0)
	}
	b.Binary(abi.BinaryLe, bits.Slice(1, 0, a.Features), b.scalar(a.P), drawn)
	packed := b.Fixed("packed", abi.U8, mask.Shape...)
	b.Pack(packed.Reshape(mask.Count()), bits.Reshape(rows*width), 1, 1)
	b.Copy(mask, packed)
	if y := n.Out[1]; y != nil {
		b.Cast(y, b.dropped(n.In[4], packed, a.KeepScale))
	}
}

// dropped is x * bit * keepScale under a mask u8 [T, ceil(K/8)]; x itself without one.
func (b *Builder) dropped(x, mask *Value, keepScale float64) *Value {
	if mask == nil {
		return x
	}
	rows, width := mask.Shape[0], mask.Shape[1]*8
	bits := b.Fixed("bits", abi.I32, rows, width)
	b.Unpack(bits.Reshape(rows*width), b.compact(mask).Reshape(mask.Count()), 1, 1)
	return b.choose(bits.Slice(1, 0, x.Shape[1]), b.affine(x, keepScale, 0), b.scalar(0))
}
