package surgery

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/files/safetensors"
)

// A model is quantised to the very codes, scales and biases that mlx_lm writes.
func TestWriteMLXModel(t *testing.T) {
	base, err := OpenBase(oracles + "/models/llama2")
	require.NoError(t, err)
	defer base.Close()
	dir := t.TempDir()
	require.NoError(t, WriteMLXModel(context.Background(), dir, base, base, MLXQuantisation{Bits: 4, Group: 32}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), base.Config.Quantised(base.DType(), 4, 32), 0o600))
	got, err := safetensors.OpenFolder(dir)
	require.NoError(t, err)
	defer got.Close()
	want, err := safetensors.OpenFolder(oracles + "/models/llama2-mlx4")
	require.NoError(t, err)
	defer want.Close()
	require.ElementsMatch(t, want.Names(), got.Names())
	for _, name := range want.Names() {
		a, _ := want.Tensor(name)
		b, _ := got.Tensor(name)
		require.Equal(t, a.Shape, b.Shape, name)
		x, y := make([]byte, a.Bytes), make([]byte, b.Bytes)
		require.NoError(t, want.Read(a, x, 0))
		require.NoError(t, got.Read(b, y, 0))
		require.Equal(t, x, y, name)
	}
}
