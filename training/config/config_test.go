package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// flags makes a Config of pairs of names and values.
func flags(t *testing.T, pairs ...string) (Config, error) {
	t.Helper()
	c := Default()
	source := FromFlags(&c)
	for i := 0; i < len(pairs); i += 2 {
		if err := source.Set(pairs[i], pairs[i+1]); err != nil {
			return c, err
		}
	}
	return c, c.Resolve()
}

func TestDefaults(t *testing.T) {
	c, err := flags(t)
	require.NoError(t, err)
	assert.Equal(t, []any{64, 16.0, 0.1, 512, 1, 1, 1, -1}, []any{c.LoraRank, c.LoraAlpha, c.LoraDropout, c.ContextLength, c.BatchSize,
		c.GradientAccumulationSteps, c.NumEpochs, c.MaxSteps})
	assert.Equal(t, []any{2e-4, 0.1, 0.9, 0.95, 1e-5, uint64(42)}, []any{*c.LR, *c.WeightDecay, *c.AdamBeta1, *c.AdamBeta2, *c.AdamEpsilon, c.Seed})
	assert.Equal(t, []any{"qlora", "adamw", "constant", "token", "auto", "auto", "auto"}, []any{c.TrainType, c.Optimizer, c.LRScheduler, c.LossNormalization, c.Precision, c.Recompute, c.Backend})
	assert.Equal(t, []bool{true, true, false, false}, []bool{c.Shuffle, c.SaveModel, c.Deterministic, *c.ApplyGradientClipping})
	assert.Nil(t, c.GradNorm)
	assert.Equal(t, []string{"k_proj", "q_proj", "v_proj", "up_proj", "down_proj", "gate_proj"}, c.Targets())
}

func TestResolve(t *testing.T) {
	c, err := flags(t, "train_type", "full")
	require.NoError(t, err)
	assert.Equal(t, 1e-5, *c.LR)
	c, err = flags(t, "grad_norm", "1")
	require.NoError(t, err)
	assert.True(t, *c.ApplyGradientClipping)
	c, err = flags(t, "apply_gradient_clipping", "true")
	require.NoError(t, err)
	assert.Equal(t, 0.3, *c.GradNorm)
	c, err = flags(t, "lr-scheduler", "cosine")
	require.NoError(t, err)
	assert.Equal(t, 0.1, *c.CosineMinLRRatio)
	c, err = flags(t, "lr_scheduler_type", "cosine")
	require.NoError(t, err)
	assert.Zero(t, *c.CosineMinLRRatio)
	for value, policy := range map[string]string{"true": "block", "no": "none", "auto": "auto"} {
		c, err = flags(t, "gradient_checkpointing", value)
		require.NoError(t, err)
		assert.Equal(t, policy, c.Recompute)
	}
	c, err = flags(t, "precision", "fp16", "optimizer", "fused_adam", "weight_decay", "0")
	require.NoError(t, err)
	assert.Equal(t, []any{"fp16_autocast", "adam", 0.0, 0.9, 0.999, 1e-8}, []any{c.Precision, c.Optimizer, *c.WeightDecay, *c.AdamBeta1, *c.AdamBeta2, *c.AdamEpsilon})
	c, err = flags(t, "optim", "sgd")
	require.NoError(t, err)
	assert.Zero(t, *c.WeightDecay)
	assert.Nil(t, c.AdamBeta1)
	c, err = flags(t, "optim", "adamw_torch", "backend", "mps", "lora_target_modules", "q_proj, o_proj", "lr", "auto", "memory_limit", "1.5 gib")
	require.NoError(t, err)
	assert.Equal(t, "adamw", c.Optimizer)
	assert.Equal(t, "metal", c.Backend)
	assert.Equal(t, []string{"q_proj", "o_proj"}, c.Targets())
	assert.Equal(t, Bytes(3<<29), c.MemoryLimit)
}

// TestRefused holds one sentence for each kind of mistake.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		pairs []string
		want  string
	}{
		{[]string{"lora_rnak", "3"}, "unknown setting --lora_rnak; did you mean --lora_rank?"},
		{[]string{"learning-rat", "3"}, "unknown setting --learning_rat; did you mean --learning_rate?"},
		{[]string{"zzzzzzzzzzzz", "3"}, "unknown setting --zzzzzzzzzzzz; trainer --help lists all"},
		{[]string{"lr", "1", "learning_rate", "2"}, "found both --lr and --learning_rate, expected one of them: they are two names of one setting"},
		{[]string{"lr", "fast"}, `--lr: found "fast", expected a number`},
		{[]string{"lr", "nan"}, `--lr: found "nan", expected a number`},
		{[]string{"lr", "-1"}, "--lr: found -1, expected a number of at least 0"},
		{[]string{"batch_size", "0"}, "--batch_size: found 0, expected a whole number from 1 to 1048576"},
		{[]string{"batch_size", "1.5"}, `--batch_size: found "1.5", expected a whole number`},
		{[]string{"shuffle", "maybe"}, `--shuffle: found "maybe", expected true or false`},
		{[]string{"memory_limit", "lots"}, `--memory_limit: found "lots", expected a size like 24GiB or 500MB`},
		{[]string{"train_type", "qlroa"}, "--train_type: found qlroa, expected one of full, lora, custom_lora, qlora, custom_qlora, hqq_lora, dora, bnb_dora, hqq_dora, llama_pro, bnb_llama_pro, hqq_llama_pro; did you mean qlora?"},
		{[]string{"precision", "fp16_autocats"}, "--precision: found fp16_autocats, expected one of auto, fp32, bf16, bf16_autocast, fp16_autocast, bf16_buffers_autocast; did you mean fp16_autocast?"},
		{[]string{"optimizer", "sgd", "wd", "0.1"}, "--wd: found 0.1 with --optimizer sgd, expected adamw or adamw_8bit, which have weight decay"},
		{[]string{"optimizer", "adadelta", "adam_beta1", "0.9"}, "--adam_beta1: found 0.9 with --optimizer adadelta, expected adamw, adamw_8bit or adam, which have it"},
		{[]string{"log_to", "true"}, "--log_to: found true, expected one of tqdm, stdout"},
		{[]string{"lora_dropout", "1"}, "--lora_dropout: found 1, expected a number from 0 to below 1"},
		{[]string{"adam_epsilon", "0"}, "--adam_epsilon: found 0, expected a number above 0"},
		{[]string{"warmup_steps", "1", "warmup_ratio", "0.1"}, "--warmup_steps: found it and --warmup_ratio, expected only one of them"},
		{[]string{"apply_gradient_clipping", "false", "grad_norm", "1"}, "--apply_gradient_clipping: found false with --grad_norm, expected one of them alone: --grad_norm turns clipping on"},
		{[]string{"lora_target_modules", "q_prj"}, `--lora_target_modules: found "q_prj", expected all, default, all_linear or names out of k_proj, q_proj, v_proj, up_proj, down_proj, gate_proj, o_proj, qkv_proj, gate_up_proj; did you mean q_proj?`},
		{[]string{"lora_target_modules", "q_proj,q_proj"}, "--lora_target_modules: found q_proj twice, expected every name once"},
		{[]string{"recompute", "block:0"}, `--recompute: found "block:0", expected auto, none, selective, block, block:N with the number of layers, or lean`},
		{[]string{"recompute", "block", "use_gradient_checkpointing", "false"}, "--use_gradient_checkpointing: found false with --recompute block, expected one of them alone"},
		{[]string{"init_adapter", "x", "train_type", "full"}, "--init_adapter: found it with --train_type full, expected a train type with adapters: lora, qlora or another with lora or dora in its name"},
		{[]string{"eval_steps", "5"}, "--eval_steps: found it without --eval_dataset, expected the records to evaluate on"},
		{[]string{"seed", "-1"}, `--seed: found "-1", expected a whole number of at least 0`},
	} {
		_, err := flags(t, c.pairs...)
		assert.EqualError(t, err, c.want)
		assert.Equal(t, int(fault.Usage), fault.ExitCode(err))
	}
}

func TestFile(t *testing.T) {
	c := Default()
	require.NoError(t, Parse(&c, "f", []byte("batch-size: 8\nlearning_rate: 1e-3\nshuffle: no\nwarmup_ratio: null\nbackend_path: [/a, '/b,c']\nthreads: ~\nmemory_limit: 2GiB\n")))
	assert.Equal(t, []any{8, 1e-3, false, 0, Bytes(2 << 30)}, []any{c.BatchSize, *c.LR, c.Shuffle, c.Threads, c.MemoryLimit})
	assert.Equal(t, []string{"/a", "/b,c"}, c.BackendPath)
	require.NoError(t, FromFlags(&c).Set("backend_path", "/x:/y"))
	assert.Equal(t, []string{"/x", "/y"}, c.BackendPath, "flags override the file")
	require.NoError(t, Parse(&c, "f", nil))
	for text, want := range map[string]string{
		"a: 1":                         "f: line 1: unknown setting a; trainer --help lists all",
		"\nlora_rnk: 1":                "f: line 2: unknown setting lora_rnk; did you mean lora_rank?",
		"seed: 1\nseed: 2":             "f: line 2: found seed a second time, expected every setting once",
		"lr: 1\nlearning_rate: 2":      "f: line 2: found both lr and learning_rate, expected one of them: they are two names of one setting",
		"seed: x":                      `f: line 1: seed: found "x", expected a whole number of at least 0`,
		"seed: {a: 1}":                 "f: line 1: seed: found a nested value, expected a plain value; correct the file",
		"seed: [1, 2]":                 "f: line 1: seed: found a nested value, expected a plain value; correct the file",
		"- a":                          "f: line 1: found no mapping, expected lines like batch_size: 8; correct the file",
		"seed: 1\n---\nseed: 2":        "f: found broken YAML: more than one document; correct the file",
		"a: b: c":                      "f: found broken YAML: mapping values are not allowed in this context; correct the file",
		"? [seed]\n: 1":                "f: line 1: found no name, expected the name of a setting; correct the file",
		"seed: &x 1\nbatch_size: *x\n": "f: line 2: batch_size: found a nested value, expected a plain value; correct the file",
	} {
		c := Default()
		err := Parse(&c, "f", []byte(text))
		assert.EqualError(t, err, want, text)
		assert.Equal(t, int(fault.Usage), fault.ExitCode(err))
	}
}

func TestReadFile(t *testing.T) {
	c := Default()
	assert.EqualError(t, ReadFile(&c, "/no/such"), "--config /no/such: no such file or directory; name a YAML file of settings")
	path := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(path, make([]byte, maxFileBytes+1), 0o600))
	assert.ErrorContains(t, ReadFile(&c, path), "expected at most 1048576")
}

// TestMarshalRepeats writes Configs and reads them back.
func TestMarshalRepeats(t *testing.T) {
	for _, pairs := range [][]string{
		nil,
		{"model_name", "null", "dataset", "it's: a #path", "device", "0", "output_dir", "\u00e9\n", "shape", ""},
		{"optimizer", "sgd", "precision", "fp16"},
		{"backend_path", "/a:/b c", "warmup_steps", "0", "grad_norm", "0.25", "lr", "0.0003", "memory_limit", "24GiB", "host_memory_limit", "1001"},
		{"lr_scheduler_type", "cosine", "recompute", "block:3", "seed", "18446744073709551615", "threads", "2", "train_type", "full"},
	} {
		c, err := flags(t, pairs...)
		require.NoError(t, err)
		text := c.Marshal()
		again := Default()
		require.NoError(t, Parse(&again, "run.yaml", text), string(text))
		require.NoError(t, again.Resolve())
		c.schedulerByAlias, c.quantiserByType = false, false // their effect is in other fields
		assert.Equal(t, c, again, string(text))
		assert.Equal(t, string(text), string(again.Marshal()))
	}
}

func TestMarshalHasEverySetting(t *testing.T) {
	c := Default()
	text := string(c.Marshal())
	for _, s := range Settings() {
		assert.Contains(t, "\n"+text, "\n"+s.Name+": ", s.Name)
	}
	for _, g := range Groups {
		assert.Contains(t, text, "# "+string(g)+"\n")
	}
}

// TestTable checks what the table promises of itself.
func TestTable(t *testing.T) {
	names := Names()
	slices.Sort(names)
	assert.Equal(t, slices.Compact(slices.Clone(names)), names, "names and aliases are unique")
	last := 0
	for _, s := range Settings() {
		assert.Equal(t, s.Name, strings.ToLower(s.Name))
		assert.NotEmpty(t, s.Help, s.Name)
		at := slices.Index(Groups, s.Group)
		assert.GreaterOrEqual(t, at, last, s.Name)
		last = at
	}
	for _, alias := range []string{"learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_length", "lora_r", "weight_decay",
		"max_grad_norm", "optim", "lr_scheduler_type", "logging_steps", "gradient_checkpointing"} {
		assert.Contains(t, names, alias)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "17": 17, "24GiB": 24 << 30, "24gib": 24 << 30, "1.5 GB": 1500000000, "10kb": 10000, "3B": 3, "4611686018427387903": 1<<62 - 1} {
		b, err := ParseBytes(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, b, text)
		again, err := ParseBytes(b.String())
		require.NoError(t, err)
		assert.Equal(t, b, again, text)
	}
	for _, text := range []string{"", "GiB", "-1", "1e400", "nanGiB", "24GiBB", "9e30TiB", "0x10"} {
		_, err := ParseBytes(text)
		assert.Error(t, err, text)
	}
	assert.Equal(t, "24GiB", Bytes(24<<30).String())
	assert.Equal(t, "1001", Bytes(1001).String())
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("batch_size: 8\nlr: 1e-3\nbackend_path: [a]\n"))
	f.Add([]byte("a: &x [1]\nb: *x\n"))
	f.Add([]byte("? {a: 1}\n: 2"))
	f.Add([]byte("%YAML 1.2\n---\nseed: !!int 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Default()
		if Parse(&c, "f", text) != nil || c.Resolve() != nil {
			return
		}
		again := Default()
		require.NoError(t, Parse(&again, "run.yaml", c.Marshal()))
		require.NoError(t, again.Resolve())
		assert.Equal(t, string(c.Marshal()), string(again.Marshal()))
	})
}
