package conformance

import (
	"fmt"

	"trainer/core/abi"
)

// bitsCases are all widths; order 0 has those that divide a byte.
func bitsCases() (cases []Case) {
	for bits := uint32(1); bits <= 8; bits++ {
		for order := range uint32(2) {
			if order == 0 && 8%bits != 0 {
				continue
			}
			for _, n := range append([]int64{0, 8, 70001}, borders...) {
				cases = append(cases, unpackCase(n, bits, order), packCase(n, bits, order))
			}
		}
	}
	return cases
}

func packedBytes(n int64, bits uint32) int64 { return (n*int64(bits) + 7) / 8 }

func unpackCase(n int64, bits, order uint32) Case {
	return Case{"unpack", fmt.Sprintf("%d of %d bits order %d", n, bits, order), func(t *Trial) {
		t.Unpack(t.out(abi.I32, plain, n), t.in(abi.U8, plain, t.ints(0, 255), packedBytes(n, bits)), bits, order)
	}}
}

// packCase has bits above those that are kept.
func packCase(n int64, bits, order uint32) Case {
	return Case{"pack", fmt.Sprintf("%d of %d bits order %d", n, bits, order), func(t *Trial) {
		t.Pack(t.out(abi.U8, plain, packedBytes(n, bits)), t.in(abi.I32, plain, t.ints(-300, 300), n), bits, order)
	}}
}

func bitsBenchmarks() []Case {
	return []Case{unpackCase(benchTokens*benchInner, 4, 0), packCase(benchTokens*benchInner, 4, 0)}
}
