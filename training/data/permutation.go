package data

import "math/bits"

// permutation is numpy.random.default_rng(seed).permutation(n), the order in which
// datasets.Dataset.shuffle(seed) puts n rows; n is below 2^32.
func permutation(seed uint64, n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	g := newPCG64(seed)
	for i := n - 1; i > 0; i-- {
		j := g.upTo(uint32(i))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// pcg64 is the generator PCG XSL RR 128/64 (O'Neill 2014), seeded as numpy seeds it.
type pcg64 struct {
	state, step uint128
	half        uint32 // the upper half of a number whose lower half was given
	hasHalf     bool
}

type uint128 struct{ hi, lo uint64 }

// pcgMultiplier is the multiplier of the generator's linear congruence.
var pcgMultiplier = uint128{0x2360ED051FC65DA4, 0x4385DF649FCCF645}

func (a uint128) add(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

func (a uint128) mul(b uint128) uint128 {
	hi, lo := bits.Mul64(a.lo, b.lo)
	return uint128{hi + a.hi*b.lo + a.lo*b.hi, lo}
}

func newPCG64(seed uint64) *pcg64 {
	words := seedSequence(seed)
	g := &pcg64{step: uint128{words[2]<<1 | words[3]>>63, words[3]<<1 | 1}}
	g.state = g.step.add(uint128{words[0], words[1]})
	g.advance()
	return g
}

func (g *pcg64) advance() { g.state = g.state.mul(pcgMultiplier).add(g.step) }

// next32 is half of the next 64 bits, the lower half first.
func (g *pcg64) next32() uint32 {
	if g.hasHalf {
		g.hasHalf = false
		return g.half
	}
	g.advance()
	x := bits.RotateLeft64(g.state.hi^g.state.lo, -int(g.state.hi>>58))
	g.half, g.hasHalf = uint32(x>>32), true
	return uint32(x)
}

// upTo is a number from 0 to last, inclusive: the low bits of the first number that fits.
func (g *pcg64) upTo(last uint32) uint32 {
	mask := uint32(1)<<bits.Len32(last) - 1
	for {
		if x := g.next32() & mask; x <= last {
			return x
		}
	}
}

// seedSequence is numpy.random.SeedSequence(seed).generate_state(4, uint64), O'Neill's
// seed_seq_fe with a pool of four words.
func seedSequence(seed uint64) [4]uint64 {
	const multA, multB, mixL, mixR = 0x931E8875, 0x58F38DED, 0xCA01F9DD, 0x4973F715
	hash := uint32(0x43B0D7E5)
	scramble := func(value uint32) uint32 {
		value ^= hash
		hash *= multA
		value *= hash
		return value ^ value>>16
	}
	pool := [4]uint32{scramble(uint32(seed)), scramble(uint32(seed >> 32)), scramble(0), scramble(0)}
	for from := range pool {
		for to := range pool {
			if from != to {
				mixed := mixL*pool[to] - mixR*scramble(pool[from])
				pool[to] = mixed ^ mixed>>16
			}
		}
	}
	hash = 0x8B51F9DD
	var out [4]uint64
	for i := range 8 {
		value := pool[i%4] ^ hash
		hash *= multB
		value *= hash
		value ^= value >> 16
		out[i/2] |= uint64(value) << (32 * (i % 2))
	}
	return out
}
