package peft

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScaleOfPatterns(t *testing.T) {
	c := Config{R: 8, Alpha: 16, RankPattern: map[string]int{"q_proj": 4, `layers\.1\..*k_proj`: 2}, AlphaPattern: map[string]float64{"model.layers.0.self_attn.q_proj": 12}}
	for module, want := range map[string][2]float64{
		"model.layers.0.self_attn.q_proj":    {4, 12.0 / 4},
		"model.layers.1.self_attn.q_proj":    {4, 16.0 / 4},
		"model.layers.1.self_attn.k_proj":    {2, 16.0 / 2},
		"model.layers.11.self_attn.k_proj":   {8, 16.0 / 8},
		"model.layers.0.self_attn.xq_proj":   {8, 16.0 / 8},
		"model.layers.0.self_attn.q_proj.in": {8, 16.0 / 8},
	} {
		for _, rs := range []bool{false, true} {
			c.UseRSLoRA = rs
			r, err := c.RankOf(module)
			require.NoError(t, err)
			require.Equal(t, int(want[0]), r, module)
			scale, err := c.Scale(module)
			require.NoError(t, err)
			if rs {
				want[1] *= math.Sqrt(want[0])
			}
			require.InDelta(t, want[1], scale, 1e-12, module)
		}
	}
	_, err := Config{R: 1, RankPattern: map[string]int{"(?<!x)q": 1}}.Scale("q")
	require.ErrorContains(t, err, `found "(?<!x)q"`)
}
