package peft

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/jsonstrict"
	"trainer/files/safetensors"
	"trainer/internal/smalldisk"
)

const steps = "../../testdata/oracles/steps/"

var oracleTargets = []string{"k_proj", "up_proj", "down_proj", "q_proj", "gate_proj", "v_proj"}

func TestReadConfigOfPEFT(t *testing.T) {
	for _, name := range []string{"lora.initial", "lora.final", "qlora.final", "dora.initial"} {
		c, err := ReadConfig(steps + name)
		require.NoError(t, err)
		require.Equal(t, Config{R: 8, Alpha: 16, TargetModules: oracleTargets, BaseModel: "models/llama2", UseDoRA: name == "dora.initial",
			RankPattern: map[string]int{}, AlphaPattern: map[string]float64{}}, c)
	}
}

// TestWriteConfigAsPEFT compares with the fields and values of a file of PEFT's, laid out
// with the two spaces that PEFT indents by (the oracle has one).
func TestWriteConfigAsPEFT(t *testing.T) {
	for _, name := range []string{"lora.initial", "lora.final", "dora.final"} {
		text, err := os.ReadFile(steps + name + "/" + ConfigName)
		require.NoError(t, err)
		want, err := jsonstrict.Parse(text, jsonstrict.Limits{})
		require.NoError(t, err)
		c, err := ReadConfig(steps + name)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, WriteConfig(dir, c))
		got, err := os.ReadFile(filepath.Join(dir, ConfigName))
		require.NoError(t, err)
		require.Equal(t, string(jsonstrict.Marshal(want)), string(got))
	}
}

func TestConfigRoundTrip(t *testing.T) {
	for _, c := range []Config{
		{R: 1, Alpha: 0.5, Dropout: 0.1, TargetModules: []string{"a", "é"}, BaseModel: `C:\models`, UseRSLoRA: true},
		{R: 64, Alpha: 16, Dropout: 1, TargetPattern: "all-linear", UseDoRA: true},
		{R: 64, Alpha: 1e-7, TargetPattern: `.*\.[qv]_proj`, RankPattern: map[string]int{"q": 4, "k": 8}, AlphaPattern: map[string]float64{"q": 1.5}},
	} {
		dir := t.TempDir()
		require.NoError(t, WriteConfig(dir, c))
		got, err := ReadConfig(dir)
		require.NoError(t, err)
		if c.RankPattern == nil {
			c.RankPattern, c.AlphaPattern = map[string]int{}, map[string]float64{}
		}
		require.Equal(t, c, got)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	const good = `"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q"]`
	parse := func(text string) error {
		_, err := ParseConfig("adapter_config.json", []byte(text))
		return err
	}
	require.NoError(t, parse("{"+good+`,"bias":"none","modules_to_save":[],"fan_in_fan_out":false,"exclude_modules":["x"],"unknown":{"x":1}}`))
	for extra, field := range map[string]string{
		`"bias":"all"`: "bias", `"fan_in_fan_out":true`: "fan_in_fan_out", `"modules_to_save":["lm_head"]`: "modules_to_save", `"use_qalora":true`: "use_qalora",
		`"layer_replication":[[0,4]]`: "layer_replication", `"trainable_token_indices":[1]`: "trainable_token_indices", `"lora_bias":true`: "lora_bias",
		`"target_parameters":["x"]`: "target_parameters", `"alora_invocation_tokens":[1]`: "alora_invocation_tokens", `"arrow_config":{"x":1}`: "arrow_config",
		`"lora_bias":1`: "lora_bias", `"lora_dropout":1.5`: "lora_dropout", `"lora_dropout":"0"`: "lora_dropout", `"use_dora":"yes"`: "use_dora", `"use_rslora":1`: "use_rslora",
		`"rank_pattern":{"q":0}`: "rank_pattern.q", `"rank_pattern":[]`: "rank_pattern", `"alpha_pattern":{"q":null}`: "alpha_pattern.q", `"base_model_name_or_path":1`: "base_model_name_or_path",
	} {
		err := parse("{" + good + "," + extra + "}")
		require.ErrorContains(t, err, "adapter_config.json: field "+field+": found ", extra)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
	for from, tos := range map[string][]string{
		`"LORA"`: {`"IA3"`, `"lora"`, `null`, `1`}, `"r":8`: {`"r":0`, `"r":-1`, `"r":8.0`, `"r":65537`, `"r":"8"`, `"r":null`, `"R":8`, `"r":8,"r":8`},
		`16`: {`1e400`, `1e39`, `"16"`, `null`, `[]`}, `["q"]`: {`null`, `1`, `[1]`, `{}`, `[["q"]]`},
	} {
		for _, to := range tos {
			err := parse("{" + strings.Replace(good, from, to, 1) + "}")
			require.Error(t, err, to)
			require.Equal(t, int(fault.Files), fault.ExitCode(err))
		}
	}
}

func TestReadAdapterOfPEFT(t *testing.T) {
	for name, dora := range map[string]bool{"lora.final": false, "dora.final": true} {
		a, err := ReadAdapter(steps + name)
		require.NoError(t, err)
		require.Len(t, a.Modules, 12)
		m := a.Modules["model.layers.1.mlp.down_proj"]
		require.Equal(t, []int64{8, 172}, m.A.Shape)
		require.Equal(t, []int64{64, 8}, m.B.Shape)
		require.Equal(t, dora, m.Magnitude.Name != "")
		values, err := a.File.ReadFloat32(m.B)
		require.NoError(t, err)
		require.NotZero(t, values[0])
		require.NoError(t, a.File.Close())
	}
}

// tensorsOf reads an adapter as tensors to be written.
func tensorsOf(t *testing.T, dir string) (Config, []Tensor) {
	t.Helper()
	a, err := ReadAdapter(dir)
	require.NoError(t, err)
	var tensors []Tensor
	for _, name := range a.File.Names() {
		info, _ := a.File.Tensor(name)
		raw := make([]byte, info.Bytes)
		require.NoError(t, a.File.Read(info, raw, 0))
		module, part, ok := ParseKey(name)
		require.True(t, ok)
		require.Equal(t, name, Key(module, part))
		tensors = append([]Tensor{{module, part, info.DType, info.Shape, func() (io.Reader, error) { return bytes.NewReader(raw), nil }}}, tensors...)
	}
	require.NoError(t, a.File.Close())
	return a.Config, tensors
}

func TestWriteIsTheBytesOfPEFT(t *testing.T) {
	for _, name := range []string{"lora.final", "dora.final"} {
		config, tensors := tensorsOf(t, steps+name)
		dir := t.TempDir()
		require.NoError(t, Write(dir, config, tensors))
		want, err := os.ReadFile(steps + name + "/" + WeightsName)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, WeightsName))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		a, err := ReadAdapter(dir)
		require.NoError(t, err)
		require.Equal(t, config, a.Config)
		require.NoError(t, a.File.Close())
	}
}

func TestWriteThatFailsKeepsTheOldAdapter(t *testing.T) {
	config, tensors := tensorsOf(t, steps+"lora.final")
	dir := t.TempDir()
	require.NoError(t, Write(dir, config, tensors))
	tensors[3].Data = func() (io.Reader, error) { return nil, errors.New("the device is gone") }
	other := config
	other.Alpha = 99
	require.ErrorContains(t, Write(dir, other, tensors), "the device is gone")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	got, err := ReadConfig(dir)
	require.NoError(t, err)
	require.Equal(t, config, got)
	require.Error(t, Write(dir, Config{}, tensors))
}

func TestAFullDiskKeepsTheOldAdapter(t *testing.T) {
	config, tensors := tensorsOf(t, steps+"lora.final")
	dir := smalldisk.Mount(t, "112k")
	require.NoError(t, Write(dir, config, tensors))
	other := config
	other.Alpha = 99
	err := Write(dir, other, tensors)
	require.ErrorContains(t, err, "no space left on device")
	require.Equal(t, int(fault.Disk), fault.ExitCode(err))
	a, err := ReadAdapter(dir)
	require.NoError(t, err)
	require.Equal(t, config, a.Config)
	require.NoError(t, a.File.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func TestParseKey(t *testing.T) {
	for _, key := range []string{"", "base_model.model.", "base_model.model.x", "base_model.model.lm_head.weight", "x.lora_A.weight", "base_model.model..lora_A.weight.x",
		"base_model.model.lora_A.weight", "base_model.model.x.lora_A.default.weight", "base_model.model.x.lora_C.weight", "base_model.model.lora_embedding_A"} {
		_, _, ok := ParseKey(key)
		require.False(t, ok, key)
	}
}

func TestAdaptersWhoseTensorsDoNotFit(t *testing.T) {
	const a, b, m = "base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight", "base_model.model.x.lora_magnitude_vector"
	type tensors = []safetensors.Spec
	good := tensors{{Name: a, DType: "F32", Shape: []int64{2, 3}}, {Name: b, DType: "BF16", Shape: []int64{4, 2}}}
	for _, c := range []struct {
		name    string
		config  Config
		tensors tensors
		message string
	}{
		{"good", Config{R: 2}, good, ""},
		{"rank pattern", Config{R: 9, RankPattern: map[string]int{"x": 2}}, good, ""},
		{"dora", Config{R: 2, UseDoRA: true}, append(good[:2:2], safetensors.Spec{Name: m, DType: "F32", Shape: []int64{4}}), ""},
		{"no tensors", Config{R: 2}, nil, "found no tensors"},
		{"no B", Config{R: 2}, good[:1], b + `": found no such tensor`},
		{"no A", Config{R: 2}, good[1:], a + `": found no such tensor`},
		{"no magnitude", Config{R: 2, UseDoRA: true}, good, m + `": found no such tensor`},
		{"magnitude without dora", Config{R: 2}, append(good[:2:2], safetensors.Spec{Name: m, DType: "F32", Shape: []int64{4}}), "a tensor that is no part"},
		{"magnitude of another width", Config{R: 2, UseDoRA: true}, append(good[:2:2], safetensors.Spec{Name: m, DType: "F32", Shape: []int64{3}}), "found shape [3], expected [4]"},
		{"another rank", Config{R: 3}, good, "found rank 2, expected 3, as adapter_config.json says"},
		{"ranks differ", Config{R: 2}, tensors{good[0], {Name: b, DType: "F32", Shape: []int64{4, 3}}}, "found shape [4 3], expected [out, 2]"},
		{"rank 1 tensor", Config{R: 2}, tensors{good[0], {Name: b, DType: "F32", Shape: []int64{8}}}, "found shape [8], expected 2 dimensions"},
		{"integers", Config{R: 2}, tensors{good[0], {Name: b, DType: "I32", Shape: []int64{4, 2}}}, "found dtype I32"},
		{"foreign", Config{R: 2}, append(good[:2:2], safetensors.Spec{Name: "lm_head.weight", DType: "F32", Shape: []int64{1}}), `tensor "lm_head.weight": found a tensor that is no part`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.config.Alpha, c.config.TargetModules = 1, []string{"x"}
			require.NoError(t, WriteConfig(dir, c.config))
			w, err := safetensors.Create(filepath.Join(dir, WeightsName), c.tensors, nil)
			require.NoError(t, err)
			for _, s := range c.tensors {
				size, _ := safetensors.DTypeSize(s.DType)
				for _, d := range s.Shape {
					size *= d
				}
				require.NoError(t, w.Write(s.Name, make([]byte, size)))
			}
			require.NoError(t, w.Commit())
			adapter, err := ReadAdapter(dir)
			if c.message == "" {
				require.NoError(t, err)
				require.NoError(t, adapter.File.Close())
				return
			}
			require.ErrorContains(t, err, c.message)
			require.Contains(t, err.Error(), filepath.Join(dir, WeightsName))
			require.Equal(t, int(fault.Files), fault.ExitCode(err))
		})
	}
}

func TestAbsentAdapters(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadAdapter(dir)
	require.ErrorContains(t, err, ConfigName+": file does not exist")
	require.NoError(t, WriteConfig(dir, Config{R: 1, TargetPattern: "all-linear"}))
	_, err = ReadAdapter(dir)
	require.ErrorContains(t, err, WeightsName+": file does not exist")
}

// FuzzAdapterConfig: a config is refused with a sentence, or it survives writing.
func FuzzAdapterConfig(f *testing.F) {
	for _, name := range []string{"lora.initial", "dora.final"} {
		seed, err := os.ReadFile(steps + name + "/" + ConfigName)
		require.NoError(f, err)
		f.Add(seed)
	}
	f.Add([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":1.5,"target_modules":"all-linear","rank_pattern":{"a":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("x", text)
		if err != nil {
			var sentence *fault.Error
			if !errors.As(err, &sentence) || sentence.Kind != fault.Files {
				t.Fatalf("not a sentence: %v", err)
			}
			return
		}
		again, err := ParseConfig("x", c.text())
		if err != nil || string(again.text()) != string(c.text()) || c.check() != nil {
			t.Fatalf("%s became %s: %v", text, c.text(), err)
		}
	})
}
