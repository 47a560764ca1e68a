package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// generate has the embedded model, or another in its place, answer.
func generate(t *testing.T, more ...string) (answers []Answer) {
	t.Helper()
	r := trainer(t, append([]string{"generate", "--json", "--model_name", demoFile(t, "model"), "--prompt", "How many?", "--max_new_tokens", "12",
		"--precision", "fp32", "--backend_path", filepath.Dir(realBackend(t))}, more...)...)
	require.Equal(t, 0, r.code, r.err)
	require.NoError(t, json.Unmarshal([]byte(r.out), &answers))
	return answers
}

// The same seed draws the same answer; without a temperature there is only one.
func TestGenerateDrawsFromASeed(t *testing.T) {
	greedy := generate(t)
	require.Len(t, greedy, 1)
	require.Equal(t, greedy, generate(t, "--seed", "7", "--top_k", "3"))
	require.Equal(t, greedy, generate(t, "--temperature", "1", "--top_k", "1"))
	require.Equal(t, greedy, generate(t, "--temperature", "1", "--top_p", "1e-6"))
	drawn := generate(t, "--temperature", "2", "--seed", "7")
	require.NotEqual(t, greedy, drawn)
	require.Equal(t, drawn, generate(t, "--temperature", "2", "--seed", "7"))
	require.NotEqual(t, drawn, generate(t, "--temperature", "2", "--seed", "8"))
}

// A model's own chat template is used where it has one, and its own stops end an answer.
func TestGenerateAsTheModelSays(t *testing.T) {
	model := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(model, os.DirFS(demoFile(t, "model"))))
	alpaca, err := alpacaPrompt("How many?", "")
	require.NoError(t, err)
	plain := generate(t, "--model_name", model)
	require.Equal(t, alpaca, plain[0].Prompt)
	refused(t, fault.Usage, "--template: found chat, expected a model that has a chat template; use --template alpaca, or --raw",
		"generate", "--model_name", model, "--prompt", "x", "--template", "chat")

	write(t, filepath.Join(model, "chat_template.jinja"), "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}")
	require.Equal(t, "<user>How many?<bot>", generate(t, "--model_name", model)[0].Prompt)
	require.Equal(t, plain, generate(t, "--model_name", model, "--template", "alpaca"))
	require.Equal(t, "How many?", generate(t, "--model_name", model, "--raw")[0].Prompt)

	first := generate(t, "--model_name", model, "--template", "alpaca", "--max_new_tokens", "1")[0].Text
	require.NotEmpty(t, first)
	var ids []int
	for id := range 4096 { // whatever the first token is, it ends the answer now
		ids = append(ids, id)
	}
	config, err := json.Marshal(map[string]any{"eos_token_id": ids})
	require.NoError(t, err)
	write(t, filepath.Join(model, "generation_config.json"), string(config))
	require.Empty(t, generate(t, "--model_name", model, "--template", "alpaca")[0].Text)
}

// Base and adapter answer both, or the one that is asked.
func TestGenerateByBaseAndAdapter(t *testing.T) {
	r := newRealRun(t, "lora")
	r.train(t)
	who := func(more ...string) (models []string) {
		for _, a := range generate(t, append([]string{"--adapter", r.out, "--max_new_tokens", "2"}, more...)...) {
			models = append(models, a.Model)
		}
		return models
	}
	require.Equal(t, []string{"base", "adapter"}, who())
	require.Equal(t, []string{"base", "adapter"}, who("--answer_of", "both"))
	require.Equal(t, []string{"adapter"}, who("--answer_of", "adapter"))
	require.Equal(t, []string{"base"}, who("--answer_of", "base"))
	refused(t, fault.Usage, "--adapter is missing: --answer_of adapter needs one", "generate", "--model_name", "m", "--prompt", "x", "--answer_of", "adapter")
}

func TestGenerateRefusals(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"temperature", "-1", "--temperature: found -1, expected a number of at least 0"},
		{"temperature", "NaN", "--temperature: found NaN, expected a number of at least 0"},
		{"temperature", "x", `--temperature: found "x", expected a number`},
		{"top_p", "0", "--top_p: found 0, expected a number above 0 and of at most 1"},
		{"top_k", "-1", "--top_k: found -1, expected a whole number of at least 0"},
		{"template", "x", "--template: found x, expected auto, chat or alpaca"},
		{"answer_of", "x", "--answer_of: found x, expected base, adapter or both"},
	} {
		refused(t, fault.Usage, c.want, "generate", "--model_name", "m", "--prompt", "x", "--"+c.flag, c.value)
	}
	refused(t, fault.Usage, "found both --raw and --template, expected one of them", "generate", "--model_name", "m", "--prompt", "x", "--raw", "--template", "alpaca")
}
