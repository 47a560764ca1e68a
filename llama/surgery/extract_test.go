package surgery

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mergedModel merges an adapter of the oracles into its base.
func mergedModel(t *testing.T, base *Base, adapter string) *Base {
	t.Helper()
	dir := t.TempDir()
	m, err := NewMerged(base, openAdapter(t, adapter, nil))
	require.NoError(t, err)
	require.NoError(t, m.Write(context.Background(), dir, ""))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), base.Config.JSON(base.DType()), 0o666))
	return open(t, dir)
}

// The adapter found in a merged model makes that model again.
func TestExtractedAdapterMakesTheMergedModel(t *testing.T) {
	for name, adapter := range map[bool]string{false: "lora.final", true: "dora.final"} {
		base, dir := open(t, filepath.Join(oracles, "models", "llama2")), t.TempDir()
		merged := mergedModel(t, base, adapter)
		e, err := Extract(context.Background(), base, merged, 8, name, "base", dir)
		require.NoError(t, err)
		require.Equal(t, []int{12, 0}, []int{e.Modules, e.Left})
		t.Logf("%s: a share of %.2g is missed", adapter, e.Miss)
		require.Less(t, e.Miss, 1e-3)
		a, err := OpenAdapter(dir)
		require.NoError(t, err)
		defer a.Close()
		require.Equal(t, name, a.Config.UseDoRA)
		again, err := NewMerged(base, a)
		require.NoError(t, err)
		for _, module := range a.Modules() {
			require.InDeltaSlice(t, values(t, merged, base, module+".weight"), values(t, again, base, module+".weight"), 1e-4, module)
		}
	}
}

func TestExtractRefuses(t *testing.T) {
	base := open(t, filepath.Join(oracles, "models", "llama2"))
	_, err := Extract(context.Background(), base, base, 8, false, "", t.TempDir())
	require.ErrorContains(t, err, "expected some that differ; name a model into which an adapter was merged")
	_, err = Extract(context.Background(), base, open(t, filepath.Join(oracles, "models", "llama3")), 8, false, "", t.TempDir())
	require.ErrorContains(t, err, "name the model that was made from this base")
	_, err = Extract(context.Background(), base, mergedModel(t, base, "lora.final"), 65, false, "", t.TempDir())
	require.ErrorContains(t, err, "--lora_rank: found 65, expected at most 64, the rank of model.layers.0.")
}
