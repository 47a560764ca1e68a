package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/gguf"
)

func TestExportOnTheCommandLine(t *testing.T) {
	model, adapter := demoFile(t, "model"), oracle(t, "steps", "lora.final")
	out := filepath.Join(t.TempDir(), "out")
	path := filepath.Join(out, "model-Q8_0.gguf")
	r := trainer(t, "export", "--model_name", model, "--dtype", "q8_0", "--output_dir", out)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, path+"\n", r.out)
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, "llama", f.Metadata["general.architecture"])
	require.Equal(t, "dbrx", f.Metadata["tokenizer.ggml.pre"], "cuts as Llama 3, and merges what is a piece")
	require.Equal(t, true, f.Metadata["tokenizer.ggml.add_bos_token"])
	require.Equal(t, gguf.Q80, f.Tensors[0].Type)

	tiny := oracle(t, "models", "llama2")
	out = filepath.Join(t.TempDir(), "out")
	r = trainer(t, "export", "--model_name", tiny, "--adapter", adapter, "--output_dir", out, "--json")
	require.Equal(t, 0, r.code, r.err)
	var result struct{ Path, Format string }
	require.NoError(t, json.Unmarshal([]byte(r.out), &result))
	require.Equal(t, filepath.Join(out, "lora.final-F16-LoRA.gguf"), result.Path)
	require.FileExists(t, result.Path)

	out = filepath.Join(t.TempDir(), "out")
	r = trainer(t, "export", "--model_name", tiny, "--adapter", oracle(t, "steps", "dora.final"), "--format", "mlx", "--output_dir", out)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, out+"\n", r.out)
	require.FileExists(t, filepath.Join(out, "adapters.safetensors"))
	back := filepath.Join(t.TempDir(), "back")
	r = trainer(t, "convert", "--adapter", out, "--model_name", tiny, "--output_dir", back)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, "an mlx_lm adapter: 12 modules of rank 8, alpha 16; 0 other tensors left out\n", r.err)
}

// What mlx_lm would read is trained on as it is.
func TestExportMLXModel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	r := trainer(t, "export", "--model_name", demoFile(t, "model"), "--format", "mlx", "--bits", "8", "--output_dir", out)
	require.Equal(t, 0, r.code, r.err)
	require.InEpsilon(t, evaluate(t, "--model_name", demoFile(t, "model")), evaluate(t, "--model_name", out), 5e-3)
}

func TestExportRefuses(t *testing.T) {
	model, out := oracle(t, "models", "llama2"), filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		code     fault.Kind
		sentence string
		args     []string
	}{
		{fault.Usage, `--format: found "onnx", expected gguf or mlx`, []string{"--format", "onnx"}},
		{fault.Usage, `--dtype: found "q4_0", expected one of bf16, f16, f32, q8_0`, []string{"--dtype", "q4_0"}},
		{fault.Usage, "--adapter is missing: name the adapter to --merge", []string{"--merge"}},
		{fault.Usage, "--bits: found 7, expected 2, 3, 4, 5, 6 or 8", []string{"--format", "mlx", "--bits", "7"}},
		{fault.Usage, "--group_size: found 16, expected 32, 64 or 128", []string{"--format", "mlx", "--group_size", "16"}},
		{fault.Files, "--adapter /no/such: found no such folder, expected a PEFT adapter folder", []string{"--adapter", "/no/such"}},
		{fault.Files, model + "/tokenizer.json: expected a Hugging Face tokenizer.json, file does not exist; save the model's tokenizer there (AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes it)", nil},
		{fault.Files, oracle(t, "steps", "dora.final") + "/adapter_config.json: use_dora: found true, expected false: GGUF has no DoRA; export the merged model with --merge",
			[]string{"--adapter", oracle(t, "steps", "dora.final")}},
	} {
		refused(t, c.code, c.sentence, append([]string{"export", "--model_name", model, "--output_dir", out}, c.args...)...)
	}
	refused(t, fault.Usage, "--output_dir is missing: name a folder for the result", "export", "--model_name", model)
}

// Transformers reads the GGUF file of a model and computes the model.
func TestInteropGGUF(t *testing.T) {
	python(t, "torch", "transformers", "peft", "gguf")
	model, out := demoFile(t, "model"), filepath.Join(t.TempDir(), "out")
	r := trainer(t, "export", "--model_name", model, "--dtype", "f32", "--output_dir", out)
	require.Equal(t, 0, r.code, r.err)
	require.Less(t, compareLogits(t, model, "-", filepath.Join(out, "model-F32.gguf"), "-"), 1e-5)
}
