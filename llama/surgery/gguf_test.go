package surgery

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/files/gguf"
	"trainer/llama"
	"trainer/llama/tokenizer"
)

// smallTokenizer is a byte-level tokenizer that cuts as Qwen2's does.
const smallTokenizer = `{"added_tokens":[{"id":4,"content":"</s>","special":true},{"id":5,"content":"<tool>","special":false}],"normalizer":{"type":"NFC"},
	"pre_tokenizer":{"type":"Sequence","pretokenizers":[
		{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},
		{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
	"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"aab":7},"merges":["a b","a ab"]}}`

// modelWithTokenizer copies a model of the oracles and gives it a tokenizer.
func modelWithTokenizer(t *testing.T, name, tokenizer, config string) *Base {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(oracles, "models", name))))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(tokenizer), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o666))
	return open(t, dir)
}

// openGGUF opens a file for the length of a test.
func openGGUF(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// Every family's tensors are in the file under GGUF's names, those of rotated heads in its
// order.
func TestGGUFHoldsEveryFamily(t *testing.T) {
	for name, architecture := range map[string]string{"llama2": "llama", "llama3": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3"} {
		t.Run(name, func(t *testing.T) {
			base, path := modelWithTokenizer(t, name, smallTokenizer, `{"eos_token":"</s>","chat_template":"{{ messages }}"}`), filepath.Join(t.TempDir(), "a.gguf")
			require.NoError(t, WriteGGUF(context.Background(), path, "tiny", base, base, gguf.F32))
			f := openGGUF(t, path)
			c := base.Config
			for key, want := range map[string]any{
				"general.architecture": architecture, "general.name": "tiny", architecture + ".block_count": uint32(c.NumLayers),
				architecture + ".attention.head_count_kv": uint32(c.NumKVHeads), architecture + ".attention.key_length": uint32(c.HeadDim),
				architecture + ".rope.freq_base": float32(c.RopeTheta), "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2",
				"tokenizer.ggml.merges": []string{"a b", "a ab"}, "tokenizer.ggml.eos_token_id": uint32(4), "tokenizer.ggml.add_bos_token": false,
				"tokenizer.chat_template": "{{ messages }}",
			} {
				require.Equal(t, want, f.Metadata[key], key)
			}
			require.Equal(t, []string{"a", "b", "ab", "[PAD3]", "</s>", "<tool>", "[PAD6]", "aab", "[PAD8]"}, f.Metadata["tokenizer.ggml.tokens"].([]string)[:9])
			require.Equal(t, []int32{1, 1, 1, 5, 3, 4, 5, 1, 5}, f.Metadata["tokenizer.ggml.token_type"].([]int32)[:9])
			require.Len(t, f.Metadata["tokenizer.ggml.tokens"], c.VocabSize)
			tensors := len(c.Tensors())
			if name == "llama3" {
				factors, err := f.Floats("rope_freqs.weight")
				require.NoError(t, err)
				require.Len(t, factors, c.RotaryDim/2)
				require.InDelta(t, c.RopeScaling.Factor, factors[len(factors)-1], 1e-5, "the longest wave")
				require.Equal(t, float32(1), factors[0], "the shortest")
				tensors++
			}
			require.Len(t, f.Tensors, tensors)
			for _, s := range c.Tensors() {
				converted, err := ggufName(s.Name)
				require.NoError(t, err)
				got, err := f.Floats(converted)
				require.NoError(t, err)
				want := values(t, base, base, s.Name)
				if d := int64(c.HeadDim); architecture == "llama" && (strings.Contains(s.Name, "q_proj") || strings.Contains(s.Name, "k_proj")) {
					width := s.Shape[1]
					for row := range s.Shape[0] { // of the file: pairs of rows of the halves
						from := row/d*d + row%2*(d/2) + row%d/2
						require.Equal(t, want[from*width:(from+1)*width], got[row*width:(row+1)*width], "%s row %d", s.Name, row)
					}
					continue
				}
				require.Equal(t, want, got, s.Name)
			}
		})
	}
}

// Rotating neighbours of interleaved rows is rotating halves of the rows as they were.
func TestInterleavedHeadsRotateAlike(t *testing.T) {
	const d = 16
	numbers := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, 2*d)
	for i := range x {
		x[i] = numbers.Float32() - 0.5
	}
	y := append([]float32{}, x...)
	interleave(y, d, 1)
	for head := range 2 {
		for i := range d / 2 {
			sin, cos := math.Sincos(3 * math.Pow(10000, -float64(2*i)/d))
			a, b := float64(x[head*d+i]), float64(x[head*d+i+d/2])
			p, q := float64(y[head*d+2*i]), float64(y[head*d+2*i+1])
			require.InDelta(t, a*cos-b*sin, p*cos-q*sin, 1e-7)
			require.InDelta(t, a*sin+b*cos, p*sin+q*cos, 1e-7)
		}
	}
}

// A merged model can go into the file at once, and in every type.
func TestGGUFOfAMergedModel(t *testing.T) {
	base := modelWithTokenizer(t, "llama2", smallTokenizer, "{}")
	m, err := NewMerged(base, openAdapter(t, "dora.final", nil))
	require.NoError(t, err)
	for name, share := range map[string]float64{"f32": 1e-7, "f16": 1.0 / 2000, "bf16": 1.0 / 250, "q8_0": 1.0 / 100} {
		path := filepath.Join(t.TempDir(), "a.gguf")
		require.NoError(t, WriteGGUF(context.Background(), path, "tiny", base, m, GGUFTypes[name]))
		f := openGGUF(t, path)
		for tensor, converted := range map[string]string{"model.layers.1.mlp.up_proj.weight": "blk.1.ffn_up.weight", "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight"} {
			got, err := f.Floats(converted)
			require.NoError(t, err)
			want, most := values(t, m, base, tensor), 0.0
			for _, x := range want {
				most = max(most, math.Abs(float64(x)))
			}
			require.InDeltaSlice(t, want, got, share*most, "%s %s", name, tensor)
		}
	}
}

// The adapter file computes what PEFT computes, for every kind that GGUF can hold.
func TestGGUFAdapter(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"lora": nil, "rslora": {"use_rslora": true}, "alphas": {"alpha_pattern": map[string]any{"q_proj": 4, "up_proj": 100}}, "zero": {"lora_alpha": 0},
	} {
		base, a, path := open(t, filepath.Join(oracles, "models", "llama2")), openAdapter(t, "lora.final", changes), filepath.Join(t.TempDir(), "a.gguf")
		require.NoError(t, WriteGGUFAdapter(path, "tiny", base, a, gguf.F32))
		f := openGGUF(t, path)
		require.Equal(t, "adapter", f.Metadata["general.type"])
		require.Equal(t, "lora", f.Metadata["adapter.type"])
		alpha := f.Metadata["adapter.lora.alpha"].(float32)
		require.NotZero(t, alpha, "0 would mean a scale of 1")
		require.Len(t, f.Tensors, 24)
		for _, module := range a.Modules() {
			converted, err := ggufName(module + ".weight")
			require.NoError(t, err)
			left, err := f.Floats(converted + ".lora_a")
			require.NoError(t, err)
			right, err := f.Floats(converted + ".lora_b")
			require.NoError(t, err)
			want, err := a.read(module)
			require.NoError(t, err)
			got := pair{out: want.out, rank: want.rank, in: want.in, a: left, b: right, scale: alpha / float32(want.rank)}
			delta := func(p *pair) []float32 {
				all := make([]float32, p.out*p.in)
				for row := range p.out {
					p.add(row, all[row*p.in:(row+1)*p.in])
				}
				return all
			}
			expected := delta(&want)
			if d := rotatedHalves(base.Config, module+".weight"); d > 0 {
				interleave(expected, d, want.in)
			}
			require.InDeltaSlice(t, expected, delta(&got), 1e-6, "%s %s", name, module)
		}
	}
	err := WriteGGUFAdapter(filepath.Join(t.TempDir(), "a"), "a", open(t, filepath.Join(oracles, "models", "llama2")), openAdapter(t, "dora.final", nil), gguf.F32)
	require.ErrorContains(t, err, "use_dora: found true, expected false: GGUF has no DoRA; export the merged model with --merge")
}

// realTokenizer reads one of the real tokenizers.
func realTokenizer(t *testing.T, name string) (*tokenizer.Tokenizer, *tokenizer.Vocabulary) {
	t.Helper()
	f, err := os.Open(filepath.Join("../../testdata/tokenizers", name+".tokenizer.json.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	raw, err := io.ReadAll(z)
	require.NoError(t, err)
	tok, err := tokenizer.Parse(name, raw)
	require.NoError(t, err)
	v, err := tokenizer.ParseVocabulary(name, raw)
	require.NoError(t, err)
	return tok, v
}

func TestNamesOfRealTokenizers(t *testing.T) {
	for name, want := range map[string]string{"llama3": "llama-bpe", "qwen2": "qwen2"} {
		_, v := realTokenizer(t, name)
		require.True(t, v.ByteLevel)
		got, err := cutName(name, v)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, v := realTokenizer(t, "llama2")
	require.Equal(t, []any{false, true, true, 0, 0}, []any{v.ByteLevel, v.ByteFallback, v.SpacePrefix, len(v.Cuts), len(v.Forms)})
	texts, kinds := pieces(v, 32001)
	require.Equal(t, []string{"<unk>", "<s>", "</s>", "<0x00>"}, texts[:4])
	require.Equal(t, []int32{2, 3, 3, 6}, kinds[:4])
	require.Equal(t, []int32{1, 5}, kinds[31999:])
	require.Equal(t, "[PAD32000]", texts[32000])
	for cuts, want := range map[string][]string{"smollm": {tokenizer.DigitsCut, tokenizer.GPT2Cut}, "gpt-2": {tokenizer.GPT2Cut}, "dbrx": {tokenizer.Llama3Cut}} {
		got, err := cutName("", &tokenizer.Vocabulary{Cuts: want})
		require.NoError(t, err)
		require.Equal(t, cuts, got)
	}
	_, err := cutName("tokenizer.json", &tokenizer.Vocabulary{Cuts: []string{`\w+`}})
	require.ErrorContains(t, err, "expected a tokenizer as Llama's, Qwen's, SmolLM's or GPT-2's")
}

// A SentencePiece tokenizer that merges by the scores written gives the same ids.
func TestScoresMergeAsTheTokenizerDoes(t *testing.T) {
	_, v := realTokenizer(t, "llama2")
	weights, ids := scores(v, len(v.Pieces)), map[string]int32{}
	for id, p := range v.Pieces {
		ids[p.Text] = int32(id)
	}
	raw, err := os.ReadFile("../../testdata/tokenizers/llama2.vectors.json")
	require.NoError(t, err)
	var vectors []struct {
		Text string
		IDs  []int32
	}
	require.NoError(t, json.Unmarshal(raw, &vectors))
	for _, vector := range vectors {
		if strings.ContainsAny(vector.Text, "<>") || vector.Text == "" || len(vector.Text) > 200 {
			continue // added tokens are found first; and this one is slow
		}
		require.Equal(t, vector.IDs, mergeByScore(vector.Text, ids, weights), "%q", vector.Text)
	}
}

// mergeByScore is SentencePiece's algorithm, at leisure. (Kudo and Richardson 2018)
func mergeByScore(text string, ids map[string]int32, scores []float32) []int32 {
	symbols := strings.Split("▁"+strings.ReplaceAll(text, " ", "▁"), "")
	for {
		best, at := float32(math.Inf(-1)), -1
		for i := range len(symbols) - 1 {
			if id, ok := ids[symbols[i]+symbols[i+1]]; ok && scores[id] > best {
				best, at = scores[id], i
			}
		}
		if at < 0 {
			break
		}
		symbols = append(append(symbols[:at:at], symbols[at]+symbols[at+1]), symbols[at+2:]...)
	}
	var out []int32
	for _, s := range symbols {
		if id, ok := ids[s]; ok {
			out = append(out, id)
			continue
		}
		for _, b := range []byte(s) {
			out = append(out, 3+int32(b)) // <0x00> is 3
		}
	}
	return out
}

// An exported adapter comes back as it was, with its scales folded in.
func TestMLXAdapters(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"lora.final": {"use_rslora": true, "alpha_pattern": map[string]any{"q_proj": 4}}, "dora.final": nil,
	} {
		base, a, dir, back := open(t, filepath.Join(oracles, "models", "llama2")), openAdapter(t, name, changes), t.TempDir(), t.TempDir()
		require.NoError(t, WriteMLX(dir, base, a))
		text, err := os.ReadFile(filepath.Join(dir, mlxConfigName))
		require.NoError(t, err)
		var config struct {
			Kind   string `json:"fine_tune_type"`
			Layers int    `json:"num_layers"`
			Lora   struct {
				Rank  int
				Scale float64
				Keys  []string
			} `json:"lora_parameters"`
		}
		require.NoError(t, json.Unmarshal(text, &config))
		require.Equal(t, []any{strings.TrimSuffix(name, ".final"), 2, 8}, []any{config.Kind, config.Layers, config.Lora.Rank})
		require.Contains(t, config.Lora.Keys, "self_attn.q_proj")
		i, err := OpenImport(dir, 1, 0)
		require.NoError(t, err)
		defer i.Close()
		require.NoError(t, i.Fits(base))
		require.NoError(t, i.Write(back))
		again, err := OpenAdapter(back)
		require.NoError(t, err)
		defer again.Close()
		want, err := NewMerged(base, a)
		require.NoError(t, err)
		got, err := NewMerged(base, again)
		require.NoError(t, err)
		for _, module := range a.Modules() {
			require.InDeltaSlice(t, values(t, want, base, module+".weight"), values(t, got, base, module+".weight"), 1e-6, module)
		}
	}
}

func TestGGUFRefusesModels(t *testing.T) {
	for _, c := range []llama.Config{{ModelType: "qwen3", QKVBias: true}, {ModelType: "qwen2", RopeScaling: llama.RopeScaling{Type: "llama3"}}, {ModelType: "other"}} {
		_, err := ggufModel(c, "a", gguf.F16)
		require.ErrorContains(t, err, "expected a model that GGUF's programs compute")
	}
	base := modelWithTokenizer(t, "llama2", strings.Replace(smallTokenizer, `"aab":7`, `"aab":100000`, 1), "{}")
	err := WriteGGUF(context.Background(), filepath.Join(t.TempDir(), "a"), "a", base, base, gguf.F16)
	require.ErrorContains(t, err, "found 100001 tokens, expected at most")
}
