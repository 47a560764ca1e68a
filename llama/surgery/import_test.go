package surgery

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/files/peft"
	"trainer/files/safetensors"
)

// tensorFile writes a safetensors file of tensors taken from an adapter, under new names.
// extra are names of small tensors of other things.
func tensorFile(t *testing.T, path, adapter string, rename func(module, part string) string, extra ...string) {
	t.Helper()
	a := openAdapter(t, adapter, nil)
	var specs []safetensors.Spec
	var contents [][]byte
	for _, name := range a.file.Names() {
		info, _ := a.file.Tensor(name)
		module, part, _ := peft.ParseKey(name)
		raw := make([]byte, info.Bytes)
		require.NoError(t, a.file.Read(info, raw, 0))
		specs, contents = append(specs, safetensors.Spec{Name: rename(module, part), DType: info.DType, Shape: info.Shape}), append(contents, raw)
	}
	for _, name := range extra {
		specs, contents = append(specs, safetensors.Spec{Name: name, DType: "U8", Shape: []int64{4, 1}}), append(contents, make([]byte, 4))
	}
	w, err := safetensors.Create(path, specs, safetensors.PyTorchMetadata())
	require.NoError(t, err)
	for i, s := range specs {
		require.NoError(t, w.Write(s.Name, contents[i]))
	}
	require.NoError(t, w.Commit())
}

// What each train type of the original saved becomes the adapter it was.
func TestStateDictsBecomeAdapters(t *testing.T) {
	base := open(t, filepath.Join(oracles, "models", "llama2"))
	for name, c := range map[string]struct {
		adapter string
		names   map[string]string // by part, behind the module
		prefix  string
		extra   []string
		alpha   float64
	}{
		"custom_lora": {"lora.final", map[string]string{peft.PartA: ".lora_AB.0.weight", peft.PartB: ".lora_AB.1.weight"}, "", nil, 16},
		"wrapped": {"lora.final", map[string]string{peft.PartA: "._fsdp_wrapped_module.lora_AB.0.weight", peft.PartB: "._fsdp_wrapped_module.lora_AB.1.weight"},
			"_fsdp_wrapped_module.", []string{"model.layers.0.self_attn.q_proj.base_layer.weight"}, 16},
		"qlora": {"lora.final", map[string]string{peft.PartA: ".lora_A.default.weight", peft.PartB: ".lora_B.default.weight"}, "base_model.model.",
			[]string{"base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight", "base_model.model.lm_head.weight"}, 16},
		"dora": {"dora.final", map[string]string{peft.PartA: ".dora_layer.lora_A.weight", peft.PartB: ".dora_layer.lora_B.weight", peft.PartMagnitude: ".magnitude_layer.magnitude"},
			"", []string{"model.layers.0.self_attn.q_proj.base_layer.weight"}, 8},
		"peft dora": {"dora.final", map[string]string{peft.PartA: ".lora_A.default.weight", peft.PartB: ".lora_B.default.weight", peft.PartMagnitude: ".lora_magnitude_vector.default.weight"},
			"base_model.model.", nil, 16},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			tensorFile(t, filepath.Join(from, StateDictName), c.adapter, func(module, part string) string { return c.prefix + module + c.names[part] }, c.extra...)
			i, err := OpenImport(from, 16, 0.1)
			require.NoError(t, err)
			defer i.Close()
			require.Equal(t, len(c.extra), i.Ignored)
			require.Equal(t, 12, i.Modules())
			require.NoError(t, i.Fits(base))
			require.NoError(t, i.Write(to))
			sameAdapter(t, c.adapter, to, c.alpha)
		})
	}
}

// sameAdapter holds a written adapter against one of the oracles.
func sameAdapter(t *testing.T, oracle, dir string, alpha float64) {
	t.Helper()
	want, got := openAdapter(t, oracle, nil), &Adapter{}
	got, err := OpenAdapter(dir)
	require.NoError(t, err)
	defer got.Close()
	require.Equal(t, []any{8, alpha, want.Config.UseDoRA}, []any{got.Config.R, got.Config.Alpha, got.Config.UseDoRA})
	require.ElementsMatch(t, want.Config.TargetModules, got.Config.TargetModules)
	require.Equal(t, want.Modules(), got.Modules())
	for _, name := range want.file.Names() {
		info, _ := want.file.Tensor(name)
		again, ok := got.file.Tensor(name)
		require.True(t, ok, name)
		require.Equal(t, info.Shape, again.Shape)
		a, err := want.file.ReadFloat32(info)
		require.NoError(t, err)
		b, err := got.file.ReadFloat32(again)
		require.NoError(t, err)
		require.Equal(t, a, b, name)
	}
}

// A PEFT folder becomes itself, and one of some modules names them in full.
func TestPartialAdapterNamesItsModules(t *testing.T) {
	to := t.TempDir()
	i, err := OpenImport(filepath.Join(oracles, "steps", "dora.final"), 1, 0)
	require.NoError(t, err)
	defer i.Close()
	require.NoError(t, i.Write(to))
	sameAdapter(t, "dora.final", to, 16)

	maps.DeleteFunc(i.parts, func(module string, _ map[string]stored) bool { layer, _, _ := splitLayer(module); return layer == 0 })
	i.target()
	require.NoError(t, i.Write(to))
	a, err := OpenAdapter(to)
	require.NoError(t, err)
	defer a.Close()
	require.Equal(t, a.Modules(), a.Config.TargetModules)
	require.True(t, slices.Contains(a.Modules(), "model.layers.1.mlp.down_proj"))
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenImport(filepath.Join(dir, "no"), 1, 0)
	require.ErrorContains(t, err, "file does not exist; name an adapter folder, or a state dict")
	_, err = OpenImport(dir, 1, 0)
	require.ErrorContains(t, err, "found no adapter, expected adapter_model.safetensors of PEFT, adapters.safetensors of mlx_lm, or model_state_dict.safetensors")
	_, err = OpenImport(filepath.Join(oracles, "models", "llama2", "model.safetensors"), 1, 0)
	require.ErrorContains(t, err, "expected tensors of an adapter, as MODULE.lora_AB.0.weight")
	for name, c := range map[string]struct {
		rename   func(module, part string) string
		sentence string
	}{
		"half": {func(module, part string) string {
			return module + map[string]string{peft.PartA: ".lora_AB.0.weight", peft.PartB: ".other"}[part]
		}, "no part B, expected the parts A, B"},
		"exchanged": {func(module, part string) string {
			return module + map[string]string{peft.PartA: ".lora_AB.1.weight", peft.PartB: ".lora_AB.0.weight"}[part]
		}, "expected [out, rank] and [rank, in]"},
		"twice": {func(module, part string) string {
			return module + map[string]string{peft.PartA: ".lora_A.weight", peft.PartB: ".lora_A.default.weight"}[part]
		}, "a second tensor of one part"},
	} {
		path := filepath.Join(t.TempDir(), name)
		tensorFile(t, path, "lora.final", c.rename)
		_, err := OpenImport(path, 1, 0)
		require.ErrorContains(t, err, c.sentence, name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, mlxWeightsName), nil, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, mlxConfigName), []byte(`{"fine_tune_type":"full"}`), 0o666))
	_, err = OpenImport(dir, 1, 0)
	require.ErrorContains(t, err, `field fine_tune_type: found "full", expected lora or dora`)
}
