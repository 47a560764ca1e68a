package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// copyModel lays out the demo's model in a folder of its own.
func copyModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(dir, os.DirFS(demoFile(t, "model"))))
	return dir
}

// weights is a safetensors file taken apart.
type weights struct {
	header map[string]any
	data   []byte
}

func readWeights(t *testing.T, path string) weights {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	n := binary.LittleEndian.Uint64(text)
	w := weights{data: text[8+n:]}
	require.NoError(t, json.Unmarshal(text[8:8+n], &w.header))
	return w
}

func (w weights) write(t *testing.T, path string) {
	t.Helper()
	header, err := json.Marshal(w.header)
	require.NoError(t, err)
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	require.NoError(t, os.WriteFile(path, append(file, w.data...), 0o600))
}

// tensor is one entry of the header.
func (w weights) tensor(name string) map[string]any { return w.header[name].(map[string]any) }

func (w weights) offsets(name string) (from, to float64) {
	o := w.tensor(name)["data_offsets"].([]any)
	return o[0].(float64), o[1].(float64)
}

// A projection and a norm of the demo's model.
const (
	aMatrix = "model.layers.1.self_attn.q_proj.weight"
	aNorm   = "model.layers.0.input_layernorm.weight"
)

// damage is one way a model folder can be broken.
type damage struct {
	name string
	do   func(t *testing.T, dir string, w weights)
	says []string // pieces of the sentence
}

func weightsFile(dir string) string { return filepath.Join(dir, "model.safetensors") }

// index makes the folder one whose tensors are all in another file, as its index says.
func index(t *testing.T, dir string, w weights, file string) {
	t.Helper()
	names := map[string]string{}
	for name := range w.header {
		if name != "__metadata__" {
			names[name] = file
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "weight_map": names})
	require.NoError(t, err)
	require.NoError(t, os.Remove(weightsFile(dir)))
	write(t, filepath.Join(dir, "model.safetensors.index.json"), string(text))
}

var damages = []damage{
	{"shard missing", func(t *testing.T, dir string, w weights) { index(t, dir, w, "model-00002-of-00002.safetensors") },
		[]string{"model-00002-of-00002.safetensors: ", "does not exist"}},
	{"shard truncated", func(t *testing.T, dir string, w weights) {
		w.data = w.data[:len(w.data)-100]
		w.write(t, weightsFile(dir))
	}, []string{"model.safetensors: ", "bytes"}},
	{"overlapping offsets", func(t *testing.T, dir string, w weights) {
		from, to := w.offsets(aMatrix)
		w.tensor(aMatrix)["data_offsets"] = []any{from - 2, to - 2}
		w.write(t, weightsFile(dir))
	}, []string{"model.safetensors: ", "tensor ", "overlap"}},
	{"offsets out of range", func(t *testing.T, dir string, w weights) {
		_, to := w.offsets(aMatrix)
		w.tensor(aMatrix)["data_offsets"] = []any{float64(len(w.data)), float64(len(w.data)) + to}
		w.write(t, weightsFile(dir))
	}, []string{"model.safetensors: "}},
	{"header of 2^63 bytes", func(t *testing.T, dir string, w weights) {
		require.NoError(t, os.WriteFile(weightsFile(dir), append(binary.LittleEndian.AppendUint64(nil, 1<<63), w.data...), 0o600))
	}, []string{"model.safetensors: ", "9223372036854775808"}},
	{"../ in the index", func(t *testing.T, dir string, w weights) { index(t, dir, w, "../other/model.safetensors") },
		[]string{"model.safetensors.index.json: ", "../other/model.safetensors"}},
	{"wrong shape", func(t *testing.T, dir string, w weights) {
		shape := w.tensor(aMatrix)["shape"].([]any)
		w.tensor(aMatrix)["shape"] = []any{shape[0].(float64) / 2, shape[1].(float64) * 2}
		w.write(t, weightsFile(dir))
	}, []string{aMatrix, "shape"}},
	{"NaN in a quantised weight", func(t *testing.T, dir string, w weights) { w.poison(t, dir, aMatrix) },
		[]string{"model.safetensors: ", aMatrix, "element 5", "found NaN, expected a finite number"}},
	{"NaN in a norm", func(t *testing.T, dir string, w weights) { w.poison(t, dir, aNorm) },
		[]string{"model.safetensors: ", aNorm, "element 5", "found NaN, expected a finite number"}},
	{"token ids beyond the vocabulary", func(t *testing.T, dir string, _ weights) {
		text, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
		require.NoError(t, err)
		var tok map[string]any
		require.NoError(t, json.Unmarshal(text, &tok))
		vocab := tok["model"].(map[string]any)["vocab"].(map[string]any)
		for piece, id := range vocab {
			if strings.Contains(piece, "Response") || len([]rune(piece)) == 1 && id.(float64) > 40 {
				vocab[piece] = id.(float64) + 100000
			}
		}
		text, err = json.Marshal(tok)
		require.NoError(t, err)
		write(t, filepath.Join(dir, "tokenizer.json"), string(text))
	}, []string{"train.jsonl: line 1, column 1: found token id ", "expected ids below the model's vocabulary of 4096", "use the tokenizer that belongs to the model"}},
}

// poison makes the sixth element of a tensor not a number.
func (w weights) poison(t *testing.T, dir, name string) {
	t.Helper()
	from, _ := w.offsets(name)
	switch d := w.tensor(name)["dtype"]; d {
	case "BF16":
		binary.LittleEndian.PutUint16(w.data[int(from)+2*5:], 0x7fc0)
	case "F32":
		binary.LittleEndian.PutUint32(w.data[int(from)+4*5:], math.Float32bits(float32(math.NaN())))
	default:
		require.Fail(t, "unexpected dtype", "%v", d)
	}
	w.write(t, weightsFile(dir))
}

// Every damage is found before a step is made, in one sentence.
func TestDamagedModelsAreRefused(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			dir := copyModel(t)
			d.do(t, dir, readWeights(t, weightsFile(dir)))
			r := newRealRun(t, "qlora", "--model_name", dir)
			requireSentence(t, trainer(t, r.args...), fault.Files, d.says...)
			assert.NoFileExists(t, filepath.Join(r.out, metricsFile))
		})
	}
}

// requireSentence expects an exit code and, after the log, one sentence with these pieces.
func requireSentence(t *testing.T, r ran, code fault.Kind, says ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.err), "\n")
	last := lines[len(lines)-1]
	t.Log(last)
	require.Equal(t, int(code), r.code, r.err)
	require.True(t, strings.HasPrefix(last, "trainer: "), r.err)
	require.Equal(t, 1, strings.Count("\n"+r.err, "\ntrainer: "), r.err)
	for _, piece := range says {
		require.Contains(t, last, piece)
	}
	require.Empty(t, r.out)
}

func TestDamagedDataIsRefused(t *testing.T) {
	good := `{"instruction":"How many?","input":"","output":"Two."}` + "\n"
	for name, c := range map[string]struct{ text, says string }{
		"broken at line 3": {good + good + `{"instruction":` + "\n" + good, "d.jsonl: line 3, column "},
		"field missing":    {good + `{"instruction":"How many?"}` + "\n", "d.jsonl: line 2"},
		"no usable row":    {`{"instruction":"` + strings.Repeat("word ", 300) + `","input":"","output":"x"}` + "\n", "d.jsonl: found 1 records and no answer within the context length in any, expected at least one row to learn from; --context_length "},
		"no record":        {"\n", "d.jsonl: found no record"},
	} {
		t.Run(name, func(t *testing.T) {
			data := write(t, filepath.Join(t.TempDir(), "d.jsonl"), c.text)
			for _, flag := range []string{"--dataset", "--eval_dataset"} {
				requireSentence(t, trainer(t, newRealRun(t, "lora", flag, data).args...), fault.Files, c.says)
			}
		})
	}
}

func TestOutputFolderThatIsNotEmpty(t *testing.T) {
	r := newRealRun(t, "lora")
	precious := write(t, filepath.Join(r.out, "adapter_model.safetensors"), "precious")
	requireSentence(t, trainer(t, r.args...), fault.Usage, "--output_dir "+r.out+": found 1 entries, expected an empty folder; choose another --output_dir, or write over it with --overwrite_output_dir")
	text, err := os.ReadFile(precious)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}
