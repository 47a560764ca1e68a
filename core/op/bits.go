package op

import "trainer/core/abi"

// Unpack emits dst i32 [n] from src u8. Order 0 takes the high bits of a byte first and
// has 1, 2, 4 and 8 bits; order 1 is a stream of 1 to 8 bits each, lowest first.
func (b *Builder) Unpack(dst, src *Value, bits, order uint32) {
	b.Node(abi.OpUnpack, Bits{Bits: bits, Order: order}, vals(dst), vals(src))
}

// Pack emits dst u8 from src i32 [n]; unused bits are 0.
func (b *Builder) Pack(dst, src *Value, bits, order uint32) {
	b.Node(abi.OpPack, Bits{Bits: bits, Order: order}, vals(dst), vals(src))
}
