package surgery

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/llama"
)

const oracles = "../../testdata/oracles"

// open opens a model folder for the length of a test.
func open(t *testing.T, dir string) *Base {
	t.Helper()
	b, err := OpenBase(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// values are a whole tensor.
func values(t *testing.T, src Source, b *Base, tensor string) []float32 {
	t.Helper()
	shape := b.shapes[tensor]
	require.NotNil(t, shape, tensor)
	var all []float32
	require.NoError(t, eachChunk(src, tensor, shape, func(_ int64, chunk []float32) error {
		all = append(all, chunk...)
		return nil
	}))
	return all
}

// Every layer of an expanded model is its source, but for what new blocks add to the
// residual stream.
func TestExpandedLayers(t *testing.T) {
	for _, name := range []string{"llama2", "llama3", "qwen2", "phi3"} {
		base := open(t, filepath.Join(oracles, "models", name))
		e := llama.Expansion{Old: base.Config.NumLayers, New: 2 * base.Config.NumLayers}
		dir := t.TempDir()
		require.NoError(t, Expand(context.Background(), base, e, dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), base.Config.Expand(e), 0o666))
		grown := open(t, dir)
		require.Equal(t, e.New, grown.Config.NumLayers)
		zeroed := 0
		for _, spec := range grown.Config.Tensors() {
			layer, rest, inLayer := splitLayer(spec.Name)
			if !inLayer {
				require.Equal(t, values(t, base, base, spec.Name), values(t, grown, grown, spec.Name))
				continue
			}
			want := values(t, base, base, layerPrefix+string(rune('0'+layer/2))+"."+rest)
			if layer%2 == 1 && (rest == "self_attn.o_proj.weight" || rest == "mlp.down_proj.weight") {
				want = make([]float32, len(want))
				zeroed++
			}
			require.Equal(t, want, values(t, grown, grown, spec.Name), spec.Name)
		}
		require.Equal(t, 2*(e.New-e.Old), zeroed)
	}
}

// What is given up leaves nothing.
func TestCancelledExpansionLeavesNothing(t *testing.T) {
	base, dir := open(t, filepath.Join(oracles, "models", "llama2")), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, Expand(ctx, base, llama.Expansion{Old: 2, New: 3}, dir), context.Canceled)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
