package llama

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The layers of the original's documentation, and for every depth and rate as many copies
// as the name says, each behind its source.
func TestExpansionOfEveryDepthAndRate(t *testing.T) {
	for rate, want := range map[float64][]int{
		0.1:  {10, 21, 32},
		0.25: {4, 9, 14, 19, 24, 29, 34, 39},
		0.3:  {3, 7, 11, 15, 19, 23, 27, 31, 35},
		0.5:  {2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 41, 44, 47},
	} {
		e, err := NewExpansion(32, rate)
		require.NoError(t, err)
		require.Equal(t, want, e.NewBlocks())
		require.Equal(t, 32+len(want), e.New)
	}
	for layers := 1; layers <= 130; layers++ {
		for _, rate := range []float64{0.05, 0.1, 0.25, 0.3, 0.5, 0.75, 0.99, 1} {
			e, err := NewExpansion(layers, rate)
			if int(float64(layers)*rate) == 0 {
				require.ErrorContains(t, err, "--expansion_rate")
				continue
			}
			require.NoError(t, err)
			sources := e.Sources()
			require.Len(t, sources, e.New, "%d layers, rate %g", layers, rate)
			var copies []int
			for i := 1; i < len(sources); i++ {
				if sources[i] == sources[i-1] {
					copies = append(copies, i)
				}
			}
			require.Equal(t, e.NewBlocks(), copies, "%d layers, rate %g", layers, rate)
			require.Len(t, slices.Compact(slices.Clone(sources)), layers)
		}
	}
	for _, rate := range []float64{-1, 0, 0.03, 1.1, 1e300, math.NaN()} {
		_, err := NewExpansion(32, rate)
		require.ErrorContains(t, err, "a number from 0.03125, which adds one layer to 32, to 1")
	}
}

// Copies keep the window of their source.
func TestExpandedConfigKeepsWindows(t *testing.T) {
	const head = `{"model_type":"qwen2","hidden_size":8,"intermediate_size":8,"num_hidden_layers":4,"num_attention_heads":2,"num_key_value_heads":1,
		"vocab_size":9,"use_sliding_window":true,"sliding_window":16,`
	for _, text := range []string{head + `"max_window_layers":2}`, head + `"max_window_layers":9}`,
		head + `"layer_types":["full_attention","sliding_attention","full_attention","sliding_attention"]}`} {
		c, err := ParseConfig("config.json", []byte(text))
		require.NoError(t, err)
		e := Expansion{4, 6}
		grown, err := ParseConfig("config.json", c.Expand(e))
		require.NoError(t, err)
		require.Equal(t, 6, grown.NumLayers)
		for layer, source := range e.Sources() {
			require.Equal(t, c.window(source), grown.window(layer), "%s layer %d", text, layer)
		}
		var written struct {
			LlamaPro struct {
				NewBlocks []int `json:"new_blocks"`
			} `json:"llama_pro"`
		}
		require.NoError(t, json.Unmarshal(c.Expand(e), &written))
		require.Equal(t, e.NewBlocks(), written.LlamaPro.NewBlocks)
	}
	require.Nil(t, Config{}.Expand(Expansion{4, 6}))
}

// New blocks are those of the config, else those of the folder's name; the config written for
// what was trained names them.
func TestNewBlocksOfAnExpandedModel(t *testing.T) {
	const sizes = `{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":8,"intermediate_size":8,"num_hidden_layers":35,"num_attention_heads":2,"vocab_size":9`
	parse := func(more string) Config {
		c, err := ParseConfig("config.json", []byte(sizes+more+"}"))
		require.NoError(t, err)
		return c
	}
	c := parse(`,"llama_pro":{"new_blocks":[1,34]}`)
	require.NoError(t, c.FindNewBlocks("any"))
	require.Equal(t, []int{1, 34}, c.NewBlocks)

	c = parse("")
	require.NoError(t, c.FindNewBlocks("models/Llama-2-7b-hf_blk_exp-32-35/"))
	require.Equal(t, []int{10, 21, 32}, c.NewBlocks)
	written, err := ParseConfig("config.json", c.JSON("float32"))
	require.NoError(t, err)
	require.Equal(t, c.NewBlocks, written.NewBlocks)

	for dir, want := range map[string]string{
		"models/Llama-2-7b-hf": "found no llama_pro.new_blocks in config.json, expected an expanded model, or a folder whose name ends in blk_exp-OLD-NEW; make an expanded model with trainer expand",
		"x_blk_exp-32-36":      "found a name that says 36 layers of which 32 are old, expected one that says the 35 layers of config.json",
		"x_blk_exp-10-35":      "found a name that says 35 layers of which 10 are old",
	} {
		c = parse("")
		require.ErrorContains(t, c.FindNewBlocks(dir), want)
	}
	for _, blocks := range []string{"[35]", "[-1]", "[3,3]", "[1.5]"} {
		_, err := ParseConfig("config.json", []byte(sizes+`,"llama_pro":{"new_blocks":`+blocks+"}}"))
		require.ErrorContains(t, err, "llama_pro.new_blocks")
	}
}
