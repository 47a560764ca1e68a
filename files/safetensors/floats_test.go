package safetensors

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every half and every bfloat16 comes back as it was, and what lies between two goes to the
// nearest, ties to the even one.
func TestFloatsRoundToNearest(t *testing.T) {
	for _, dtype := range []string{"F16", "BF16"} {
		at := func(bits int) float32 { return floatAt[dtype]([]byte{byte(bits), byte(bits >> 8)}) }
		encode := func(x float32) int {
			b := AppendFloats(nil, []float32{x}, dtype)
			return int(b[0]) | int(b[1])<<8
		}
		infinity := map[string]int{"F16": 0x7c00, "BF16": 0x7f80}[dtype]
		for bits := range infinity {
			x, next := at(bits), at(bits+1)
			require.Equal(t, bits, encode(x))
			require.Equal(t, bits|0x8000, encode(-x))
			if bits+1 == infinity {
				break
			}
			middle := float32((float64(x) + float64(next)) / 2)
			require.Equal(t, bits+bits&1, encode(middle), "%s %#x", dtype, bits)
			require.Equal(t, bits, encode(math.Nextafter32(middle, x)))
			require.Equal(t, bits+1, encode(math.Nextafter32(middle, next)))
		}
		require.Equal(t, infinity, encode(float32(math.Inf(1))))
		require.True(t, math.IsNaN(float64(at(encode(float32(math.NaN()))))))
	}
	require.Equal(t, uint16(0x7bff), Half(65519))
	require.Equal(t, uint16(0x7c00), Half(65520))
}

func TestDecodeFloatsInvertsAppend(t *testing.T) {
	values := []float32{0, -1.5, 0.25, 1024}
	for _, dtype := range []string{"F64", "F32", "F16", "BF16"} {
		again := make([]float32, len(values))
		DecodeFloats(again, AppendFloats(nil, values, dtype), dtype)
		require.Equal(t, values, again, dtype)
	}
}

// Every half comes back, and what lies between two goes to the nearer, ties to the even one.
func TestHalfFloats(t *testing.T) {
	for h := range 1 << 16 {
		x := halfToFloat(uint16(h))
		back := Half(x)
		if x != x {
			require.EqualValues(t, 0x7e00, back&0x7fff)
			continue
		}
		require.EqualValues(t, h, back)
		if h&0x7fff >= 0x7c00 {
			continue
		}
		next := halfToFloat(uint16(h) + 1) // away from zero
		if h&0x7fff == 0x7bff {
			next = float32(math.Copysign(65536, float64(x)))
		}
		middle, even := (x+next)/2, h+h&1
		require.EqualValues(t, even, Half(middle), "%v", middle)
		require.EqualValues(t, h, Half(math.Float32frombits(math.Float32bits(middle)-1)), "%v", middle)
		require.EqualValues(t, h+1, Half(math.Float32frombits(math.Float32bits(middle)+1)), "%v", middle)
	}
}
