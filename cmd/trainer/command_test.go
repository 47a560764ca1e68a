package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/training/config"
)

// trainTypes are the values of --train_type.
var trainTypes = func() []string {
	s, _ := config.Find("train_type")
	return s.Choices
}()

// demoFile is the absolute path of an embedded file.
func demoFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("demo", name))
	require.NoError(t, err)
	return path
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// TestUsageIsRefused holds one sentence for each kind of mistake on the command line.
func TestUsageIsRefused(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"--lora_rnak 3", "unknown flag --lora_rnak; did you mean --lora_rank?"},
		{"--learning-rat 3", "unknown flag --learning_rat; did you mean --learning_rate?"},
		{"train --qqqqqqqqq", "unknown flag --qqqqqqqqq; trainer train --help lists all"},
		{"plan --output_dir x", "unknown flag --output_dir; trainer plan --help lists all"},
		{"-x", "unknown flag -x; trainer --help lists all"},
		{"plna", `found "plna", expected a command or flags; did you mean plan?`},
		{"--seed 1 stray", `found "stray", expected one of the commands train, demo, plan, bench, devices, data, eval, generate, merge, convert, expand, export, backend, version, completion, help, or flags`},
		{"train stray", `trainer train: found "stray", expected flags like --batch_size 8 only`},
		{"data shwo", `trainer data: found "shwo", expected a command or flags; did you mean show?`},
		{"help nothing-like-it", `found "nothing-like-it", expected one of the commands train, demo, plan, bench, devices, data, eval, generate, merge, convert, expand, export, backend, version, completion, help, or flags`},
		{"--seed", "--seed: found nothing, expected a value behind it"},
		{"--seed x", `--seed: found "x", expected a whole number of at least 0`},
		{"--lr 1 --learning_rate 2", "found both --lr and --learning_rate, expected one of them: they are two names of one setting"},
		{"--no_shuffle", "--model_name is missing: model folder as Hugging Face lays it out, or the name of one in the local Hub cache"},
		{"--world_size 8", "--world_size: found 8, expected -1 or 1; training on several devices is not here yet: a run trains on one"},
		{"--profile", "--profile: found true, expected false; a profile is of one step: trainer bench --profile"},
		{"--verbose false --use-cpu-offload false --low_memory --world_size -1", "--model_name is missing: model folder as Hugging Face lays it out"},
		{"--no_seed", "unknown flag --no_seed; trainer --help lists all"},
		{"--shuffle=perhaps", `--shuffle: found "perhaps", expected true or false`},
		{"data show --rows x", `--rows: found "x", expected a whole number`},
		{"--model_name m", "--dataset is missing: a .json, .jsonl, .csv, .parquet or .txt file"},
		{"--train_type qlroa", "--train_type: found qlroa, expected one of " + strings.Join(trainTypes, ", ") + "; did you mean qlora?"},
		{"plan", "--model_name is missing: name a model folder, or a known model with --shape"},
		{"plan --shape llama-2-7B", `--shape: found "llama-2-7B", expected one of `},
		{"bench", "--model_name is missing: name a model folder, or a known model with --shape"},
		{"bench --shape llama-2-7b --model_name m", "--shape: found it and --model_name, expected only one of them"},
		{"bench --shape llama-2-7b --ops --profile", "found both --ops and --profile, expected one of them"},
		{"bench --shape llama-2-7b --profiling_output x", "found --profiling_output without --profile, which it belongs to"},
		{"bench --write_model d", "--shape is missing: instead of a model: the sizes of a known one, as llama-2-7b"},
		{"generate --model_name m", "--prompt is missing: give a text to answer"},
		{"generate --model_name m --prompt p --max_new_tokens 0", "--max_new_tokens: found 0, expected a whole number from 1 to 1048576"},
		{"eval --dataset d", "--model_name is missing: model folder as Hugging Face lays it out"},
		{"eval --model_name m", "--dataset is missing: "},
		{"expand --model_name m", "--output_dir is missing: name a folder for the result"},
		{"expand --output_dir x", "--model_name is missing: model folder as Hugging Face lays it out"},
		{"completion tcsh", `trainer completion: found ["tcsh"], expected one of bash, zsh, fish, powershell`},
		{"--config /no/such.yaml", "--config /no/such.yaml: no such file or directory; name a YAML file of settings"},
	} {
		r := trainer(t, strings.Fields(c.line)...)
		assert.Equal(t, int(fault.Usage), r.code, c.line)
		assert.True(t, strings.HasPrefix(r.err, "trainer: "+c.want), "%s\n%s", c.line, r.err)
		assert.Equal(t, 1, strings.Count(r.err, "\n"), c.line)
		assert.Empty(t, r.out, c.line)
	}
}

func TestFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	empty := write(t, filepath.Join(dir, "empty.jsonl"), "")
	broken := write(t, filepath.Join(dir, "broken.jsonl"), "{\"instruction\":")
	model, train := demoFile(t, "model"), demoFile(t, "train.jsonl")
	strange := filepath.Join(dir, "strange")
	write(t, filepath.Join(strange, "config.json"), `{"model_type":"gpt2"}`)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--model_name", dir, "--dataset", train}, dir + "/config.json: "},
		{[]string{"--model_name", strange, "--dataset", train}, strange + "/config.json: field model_type: "},
		{[]string{"--model_name", empty, "--dataset", train}, "--model_name " + empty + ": found a file, expected a folder with config.json"},
		{[]string{"--model_name", "a/b/c", "--dataset", train}, "--model_name a/b/c: found no such folder, expected a model folder; name the folder that holds config.json"},
		{[]string{"--model_name", "org/name", "--dataset", train}, "--model_name org/name: found no such folder, and no such model in the Hub cache "},
		{[]string{"--model_name", model, "--dataset", "/no/such.jsonl"}, "/no/such.jsonl: no such file or directory; name a data file or folder that can be read"},
		{[]string{"--model_name", model, "--dataset", broken}, broken + ": line 1, column "},
		{[]string{"--model_name", model, "--dataset", model + "/config.json"}, model + "/config.json: line 1, column 1: found {, expected an array of objects"},
		{[]string{"--model_name", model, "--dataset", train, "--eval_dataset", broken}, broken + ": line 1, column "},
		{[]string{"--model_name", model, "--dataset", train, "--init_adapter", "/no/such"}, "--init_adapter /no/such: found no such folder, expected a PEFT adapter folder"},
		{[]string{"data", "show", "--model_name", model, "--dataset", empty}, empty + ": found no record, expected at least one; name a file with examples"},
		{[]string{"data", "show", "--model_name", strange, "--dataset", train}, strange + "/tokenizer.json: "},
	} {
		r := trainer(t, c.args...)
		assert.Equal(t, int(fault.Files), r.code, c.want)
		assert.True(t, strings.HasPrefix(r.err, "trainer: "+c.want), "%q\n%s", c.args, r.err)
		assert.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	}
}

func TestConfigFileOnTheCommandLine(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "a.yaml"), "train_type: lora\nbatch_sise: 3\n")
	refused(t, fault.Usage, file+": line 2: unknown setting batch_sise; did you mean batch_size?", "--config", file)
	write(t, file, "train_type: lora\ninit_adapter: x\n")
	refused(t, fault.Usage, "--init_adapter: found it with --train_type full, expected a train type with adapters: lora, qlora or another with lora or dora in its name", "--config", file, "--train-type", "full")
}

func TestNoBackend(t *testing.T) {
	r := trainer(t, "--model_name", demoFile(t, "model"), "--dataset", demoFile(t, "train.jsonl"), "--backend", "foo")
	assert.Equal(t, int(fault.Device), r.code)
	assert.Contains(t, r.err, `trainer: --backend: found "foo", expected auto or the name of a backend file`)
}

// TestDevices shows a folder of junk. What becomes of which file is the loader's matter.
func TestDevices(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "trainer-backend-text.so"), "hello\n")
	write(t, filepath.Join(dir, "trainer-backend-empty.so"), "")
	write(t, filepath.Join(dir, "README"), "not a backend")
	r := trainer(t, "devices", "--backend-path", dir)
	assert.Equal(t, int(fault.Device), r.code)
	assert.Contains(t, r.out, "text         refused   "+dir+"/trainer-backend-text.so\n")
	assert.Contains(t, r.out, "not_a_library: ")
	assert.NotContains(t, r.out, "README")
	assert.NotContains(t, r.out, "\x1b")
	assert.Equal(t, "trainer: no backend can be used: build one with `make`, or name its folder with --backend_path\n", r.err)

	r = trainer(t, "devices", "--json", "--backend_path="+dir)
	var listed struct {
		Backends []struct{ Name, Path, Reason, Sentence string }
		Folders  []string
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &listed))
	require.Len(t, listed.Backends, 2)
	assert.NotEmpty(t, listed.Backends[0].Sentence)
	assert.NotEmpty(t, listed.Folders)
}

// realBackend is a backend this machine has built.
func realBackend(t *testing.T) string {
	t.Helper()
	path := os.Getenv("TRAINER_BACKEND")
	if path == "" {
		path = "../../build/lib/trainer/backends/trainer-backend-cpu.so"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skip("needs a built backend: run make")
	}
	return write(t, filepath.Join(t.TempDir(), "trainer-backend-foo.so"), string(text))
}

// TestDroppedInBackend puts a backend under another name beside junk.
func TestDroppedInBackend(t *testing.T) {
	backend := realBackend(t)
	dir := filepath.Dir(backend)
	write(t, filepath.Join(dir, "trainer-backend-text.so"), "hello\n")
	r := trainer(t, "devices", "--backend_path", dir)
	assert.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "foo          works     "+backend+"\n")
	assert.Contains(t, r.out, "             device 0: ")
	assert.Contains(t, r.out, "text         refused   ")
	t.Setenv("TRAINER_BACKEND_PATH", dir)
	c := testConfig(t)
	c.BackendPath = nil
	choice, err := chooseDevice(&c)
	require.NoError(t, err)
	assert.True(t, choice.Found())
	assert.NotEmpty(t, choice.Why)
	assert.NotEqual(t, []string{"auto", "auto", ""}, []string{c.Backend, c.Precision, c.Device}, "what was chosen stands in the settings")
}

// TestDataShowConversation takes a conversation through a model's own chat template.
func TestDataShowConversation(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		text, err := os.ReadFile(filepath.Join(demoFile(t, "model"), name))
		require.NoError(t, err)
		write(t, filepath.Join(dir, name), string(text))
	}
	chat := write(t, filepath.Join(dir, "chat.jsonl"), `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`)
	args := []string{"data", "show", "--model_name", dir, "--dataset", chat}
	refused(t, fault.Files, chat+": line 1, column 1: found a conversation, expected a model with a chat template; use the instruct model, or put a chat_template.jinja into the model folder", args...)
	write(t, filepath.Join(dir, "chat_template.jinja"), "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Q:{{ m.content }}{% else %}A:{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}")
	r := trainer(t, args...)
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "\n<s> Q : a A : [b] [</s>] Q : c A : [d] [</s>]\n")
	assert.Contains(t, r.out, "1 records as messages: 1 to learn from")
}

func TestDataShow(t *testing.T) {
	args := []string{"data", "show", "--model_name", demoFile(t, "model"), "--dataset", demoFile(t, "eval.jsonl"), "--rows", "1", "--row", "1"}
	r := trainer(t, args...)
	require.Equal(t, 0, r.code, r.err)
	assert.True(t, strings.HasPrefix(r.out, "record 1, "), r.out)
	assert.Contains(t, r.out, "### Response:He sprints 3*3=9 times\n")
	assert.Contains(t, r.out, "<s> B el ow ·is")
	assert.Contains(t, r.out, " [</s>]\n")
	assert.Contains(t, r.out, "64 records as alpaca: 64 to learn from, 0 without anything to learn, 0 cut")
	assert.NotContains(t, r.out, "\x1b")

	r = trainer(t, append(args, "--packing", "--context_length", "1024")...)
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "packed into 10 rows, 86.9 % full")

	r = trainer(t, append(args, "--json")...)
	var shown struct {
		Rows []struct {
			Row    int
			Prompt string
			Tokens []struct {
				ID     int
				Masked bool
			}
		}
		Stats   struct{ Records int }
		Lengths struct{ Max int }
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &shown))
	require.Len(t, shown.Rows, 1)
	assert.Equal(t, 1, shown.Rows[0].Row)
	assert.True(t, shown.Rows[0].Tokens[0].Masked)
	assert.Equal(t, 64, shown.Stats.Records)
	assert.LessOrEqual(t, shown.Lengths.Max, 160)

	refused(t, fault.Usage, "--row: found 64, expected a number from 0 to 63", append(args, "--row", "64")...)
}

func TestVersion(t *testing.T) {
	r := trainer(t, "version")
	assert.Contains(t, r.out, "trainer "+version)
	assert.Contains(t, r.out, runtime.Version())
	assert.Equal(t, r, trainer(t, "--version"))
	var v map[string]string
	require.NoError(t, json.Unmarshal([]byte(trainer(t, "version", "--json").out), &v))
	assert.Equal(t, runtime.GOOS+"/"+runtime.GOARCH, v["platform"])
	assert.Equal(t, abiVersion(), v["abi"])
}

// TestHelp reads the help of every command as a person does.
func TestHelp(t *testing.T) {
	bare := trainer(t)
	assert.Equal(t, 0, bare.code)
	assert.Empty(t, bare.err)
	assert.True(t, bare == trainer(t, "--help"))
	assert.True(t, bare == trainer(t, "help"))
	at := 0
	for _, g := range config.Groups {
		i := strings.Index(bare.out, "\n"+string(g)+":\n")
		assert.Greater(t, i, at, g)
		at = i
	}
	for _, s := range config.Settings() {
		assert.Equal(t, s.Name != "shape", strings.Contains(bare.out, "\n  --"+s.Name+" "), s.Name)
		for _, alias := range s.Aliases {
			assert.Contains(t, strings.Join(strings.Fields(bare.out), " "), "--"+alias)
		}
	}
	for _, command := range []string{"", "train", "demo", "plan", "bench", "devices", "data", "data show", "eval", "generate", "merge", "convert", "expand", "export", "version", "completion", "help"} {
		r := trainer(t, append(strings.Fields(command), "--help")...)
		assert.Equal(t, 0, r.code, command)
		assert.Contains(t, r.out, "\nUsage:\n  trainer")
		for _, line := range strings.Split(r.out, "\n") {
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 120, line)
			assert.Equal(t, strings.TrimRight(line, " "), line)
		}
	}
	assert.NotContains(t, bare.out, "__")
}

func TestCompletion(t *testing.T) {
	for shell, sign := range map[string]string{"bash": "bash completion", "zsh": "#compdef trainer", "fish": "complete -c trainer", "powershell": "Register-ArgumentCompleter"} {
		r := trainer(t, "completion", shell)
		assert.Equal(t, 0, r.code)
		assert.Contains(t, r.out, sign)
	}
	assert.Equal(t, strings.Join(trainTypes, "\n")+"\n:4\n", trainer(t, "__complete", "--train_type", "").out)
	assert.Contains(t, trainer(t, "__complete", "plan", "--sha").out, "--shape\t")
}
