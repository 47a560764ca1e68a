package config

import "trainer/training/optim"

// Group is a purpose that settings share in help and in run.yaml.
type Group string

// The groups, in the order in which help shows them.
const (
	ModelAndData Group = "Model and data"
	TrainedPart  Group = "What is trained"
	Length       Group = "Batches and length of the run"
	Optimizing   Group = "Optimizer and learning rate"
	Memory       Group = "Precision and memory"
	Device       Group = "Backend and device"
	Evaluation   Group = "Evaluation"
	Output       Group = "Output and progress"
)

// Groups lists all groups in order.
var Groups = []Group{ModelAndData, TrainedPart, Length, Optimizing, Memory, Device, Evaluation, Output}

// Setting describes one setting: a flag, and a key of a configuration file.
type Setting struct {
	Name     string // snake_case
	Group    Group
	Value    string            // what stands for the value in help: DIR, N, …
	Default  string            // as a person would type it
	Unset    string            // shown as the default where Default is empty
	Choices  []string          // all values there are; nil = open
	Synonyms map[string]string // other spellings of values
	Absent   map[string]string // values that others have and this program has not, and what to do instead
	Aliases  []string          // other names of the setting
	Range    *Range            // bounds of a number
	Help     string

	field func(*Config) any // pointer to the field
}

// Range are the bounds of a number.
type Range struct {
	Low, High float64
	Want      string // the bounds in words
	Open      bool   // Low and High themselves are outside
}

// Bounds that several settings share. Counts stay below 2^31 so that products of a few of
// them fit in 64 bits.
const manyCount = 1<<31 - 1

var (
	counts   = &Range{Low: 1, High: manyCount, Want: "a whole number of at least 1"}
	orNone   = &Range{Low: 0, High: manyCount, Want: "a whole number of at least 0"}
	orAll    = &Range{Low: -1, High: manyCount, Want: "a whole number of at least 1, or 0 for all"}
	noLimit  = &Range{Low: -1, High: manyCount, Want: "a whole number of at least 0, or -1 for no limit"}
	positive = &Range{Low: 0, High: 1e30, Want: "a number above 0", Open: true}
	share    = &Range{Low: 0, High: 1, Want: "a number from 0 to 1"}
	decay    = &Range{Low: 0, High: 1e30, Want: "a number of at least 0"}
	// A number from 0 to below 1: the largest float64 below 1 is the bound.
	belowOne = &Range{Low: 0, High: 1 - 1.0/(1<<53), Want: "a number from 0 to below 1"}
)

// Settings lists every setting in the order of help and run.yaml. The caller must not
// change it.
func Settings() []Setting { return settings }

// settings is the one table.
var settings = []Setting{
	{Name: "model_name", Group: ModelAndData, Value: "DIR", Help: "model folder as Hugging Face lays it out, or the name of one in the local Hub cache",
		field: func(c *Config) any { return &c.ModelName }},
	{Name: "shape", Group: ModelAndData, Value: "NAME", Help: "instead of a model: the sizes of a known one, as llama-2-7b",
		field: func(c *Config) any { return &c.Shape }},
	{Name: "init_adapter", Group: ModelAndData, Value: "DIR", Help: "start from a PEFT adapter",
		field: func(c *Config) any { return &c.InitAdapter }},
	{Name: "dataset", Group: ModelAndData, Value: "DATA", Help: "a .json, .jsonl, .csv, .parquet or .txt file, a folder of them, a data set in the local Hub cache, or alpaca, alpaca_sample, dummy, guanaco, sql, orca_math",
		field: func(c *Config) any { return &c.Dataset }},
	{Name: "dataset_format", Group: ModelAndData, Default: "auto",
		Choices:  []string{"auto", "alpaca", "guanaco", "qna", "prompt_completion", "sharegpt", "messages", "text", "json", "jsonl", "csv", "parquet", "txt"},
		Synonyms: map[string]string{"qna_no_ctx": "qna", "openai": "messages", "prompt-completion": "prompt_completion"},
		Help:     "how the records are laid out, or the type of a file whose name does not say; auto: found out",
		field:    func(c *Config) any { return &c.DatasetFormat }},
	{Name: "dataset_samples", Group: ModelAndData, Value: "N", Default: "0", Range: orAll, Help: "use the first N records; 0 = all, or 512 of alpaca_sample, dummy and orca_math",
		field: func(c *Config) any { return &c.DatasetSamples }},
	{Name: "data_cache", Group: ModelAndData, Value: "auto|none|DIR", Default: "auto", Help: "folder for tokenised data sets, which the next run on the same data need not tokenise; beyond 16 GiB those not used for longest go; auto: in the user's cache folder",
		field: func(c *Config) any { return &c.DataCache }},
	{Name: "context_length", Group: ModelAndData, Value: "N", Default: "512", Aliases: []string{"max_length"},
		Range: &Range{Low: 2, High: 1 << 26, Want: "a whole number of at least 2"}, Help: "most tokens of a row; longer ones are cut",
		field: func(c *Config) any { return &c.ContextLength }},
	{Name: "shuffle", Group: ModelAndData, Default: "true", Help: "another order each epoch, from the seed; false = file order",
		field: func(c *Config) any { return &c.Shuffle }},
	{Name: "packing", Group: ModelAndData, Default: "false", Help: "several samples in a row, none of which attends to another",
		field: func(c *Config) any { return &c.Packing }},
	{Name: "group_by_length", Group: ModelAndData, Default: "true", Help: "rows of about one length share a batch, where rows are shuffled",
		field: func(c *Config) any { return &c.GroupByLength }},

	{Name: "train_type", Group: TrainedPart, Default: "qlora", Choices: trainTypeNames(), Help: "full: every weight; lora: adapters; dora: adapters and magnitudes; llama_pro: the new blocks of an expanded model; with q or bnb_ on a base quantised to NF4, with hqq_ by HQQ; custom_ names mean the same",
		field: func(c *Config) any { return &c.TrainType }},
	{Name: "quantization", Group: TrainedPart, Unset: "what train_type says", Choices: []string{"none", "nf4", "fp4", "hqq", "mlx", "int8"}, Help: "what the frozen base is stored as; a model whose files are quantised already stays as it is",
		field: func(c *Config) any { return &c.Quantization }},
	{Name: "n_bits", Group: TrainedPart, Value: "N", Default: "4", Range: &Range{Low: 1, High: 8, Want: "a whole number from 1 to 8"}, Help: "bits of a weight: 8, 4, 3, 2 or 1 of hqq; 8, 6, 5, 4, 3 or 2 of mlx",
		field: func(c *Config) any { return &c.NBits }},
	{Name: "hqq_group_size", Group: TrainedPart, Value: "N", Default: "64", Range: &Range{Low: 8, High: 1 << 20, Want: "a multiple of 8"}, Help: "how many weights share a scale, of hqq and mlx",
		field: func(c *Config) any { return &c.HQQGroupSize }},
	{Name: "hqq_axis", Group: TrainedPart, Value: "0|1", Default: "1", Range: &Range{Low: 0, High: 1, Want: "0 or 1"}, Help: "what a group of hqq is: 1 = weights side by side, 0 = as far apart as there are groups",
		field: func(c *Config) any { return &c.HQQAxis }},
	{Name: "hqq_quant_meta", Group: TrainedPart, Default: "false", Help: "quantise hqq's scales and zeros too, to 8 bits",
		field: func(c *Config) any { return &c.HQQQuantMeta }},
	{Name: "llama_pro_path", Group: TrainedPart, Value: "DIR", Unset: "model_name", Help: "the expanded model, as trainer expand writes it, where model_name names another",
		field: func(c *Config) any { return &c.LlamaProPath }},
	{Name: "lora_rank", Group: TrainedPart, Value: "N", Default: "64", Aliases: []string{"lora_r"}, Range: &Range{Low: 1, High: 1 << 16, Want: "a whole number from 1 to 65536"}, Help: "rank of the adapters",
		field: func(c *Config) any { return &c.LoraRank }},
	{Name: "lora_alpha", Group: TrainedPart, Value: "X", Default: "16", Range: positive, Help: "adapters are scaled by lora_alpha/lora_rank",
		field: func(c *Config) any { return &c.LoraAlpha }},
	{Name: "lora_dropout", Group: TrainedPart, Value: "X", Default: "0.1", Range: belowOne, Help: "dropout of the adapters' input",
		field: func(c *Config) any { return &c.LoraDropout }},
	{Name: "lora_target_modules", Group: TrainedPart, Value: "NAMES", Default: "all", Help: "all (k, q, v, up, down, gate), default (q, v), all_linear (all and o_proj), or a comma list",
		field: func(c *Config) any { return &c.LoraTargetModules }},
	{Name: "use_rslora", Group: TrainedPart, Default: "false", Help: "scale adapters by lora_alpha/sqrt(lora_rank)",
		field: func(c *Config) any { return &c.UseRSLoRA }},
	{Name: "rank_pattern", Group: TrainedPart, Value: "NAME=N,…", Unset: "none", Help: "another rank for modules whose names end so, or match a regular expression, as q_proj=8",
		field: func(c *Config) any { return &c.RankPattern }},
	{Name: "alpha_pattern", Group: TrainedPart, Value: "NAME=X,…", Unset: "none", Help: "another alpha for modules likewise",
		field: func(c *Config) any { return &c.AlphaPattern }},

	{Name: "batch_size", Group: Length, Value: "N", Default: "1", Aliases: []string{"per_device_train_batch_size"}, Range: &Range{Low: 1, High: 1 << 20, Want: "a whole number from 1 to 1048576"}, Help: "rows of a micro-batch",
		field: func(c *Config) any { return &c.BatchSize }},
	{Name: "gradient_accumulation_steps", Group: Length, Value: "N", Default: "1", Range: &Range{Low: 1, High: 1 << 20, Want: "a whole number from 1 to 1048576"}, Help: "micro-batches of an optimizer step",
		field: func(c *Config) any { return &c.GradientAccumulationSteps }},
	{Name: "num_epochs", Group: Length, Value: "N", Default: "1", Aliases: []string{"num_train_epochs"}, Range: counts, Help: "passes over the data",
		field: func(c *Config) any { return &c.NumEpochs }},
	{Name: "max_steps", Group: Length, Value: "N", Default: "-1", Range: noLimit, Help: "most optimizer steps of the whole run; -1 = no limit",
		field: func(c *Config) any { return &c.MaxSteps }},
	{Name: "loss_normalization", Group: Length, Default: "token", Choices: []string{"token", "micro_batch"}, Help: "mean over the labelled tokens of a step, or over its micro-batches",
		field: func(c *Config) any { return &c.LossNormalization }},

	{Name: "optimizer", Group: Optimizing, Default: "adamw", Choices: []string{"adamw", "adam", "adamw_8bit", "sgd", "adadelta"}, Aliases: []string{"optim"},
		Synonyms: map[string]string{"fused_adamw": "adamw", "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "fused_adam": "adam", "adamw_bnb_8bit": "adamw_8bit"},
		Help:     "rule by which weights move; adam is adamw without weight decay, adamw_8bit keeps moments in 8 bits, sgd has no momentum",
		field:    func(c *Config) any { return &c.Optimizer }},
	{Name: "lr", Group: Optimizing, Value: "X", Unset: "auto: 2e-4 for adapters, 1e-5 for full and llama_pro", Aliases: []string{"learning_rate"}, Range: decay, Help: "peak learning rate",
		field: func(c *Config) any { return &c.LR }},
	{Name: "wd", Group: Optimizing, Value: "X", Unset: "0.1 for adamw and adamw_8bit, 0 for others", Aliases: []string{"weight_decay"}, Range: decay, Help: "weight decay of every trained tensor, of these two alone",
		field: func(c *Config) any { return &c.WeightDecay }},
	{Name: "adam_beta1", Group: Optimizing, Value: "X", Unset: "0.9", Range: belowOne, Help: "decay of the first moment of Adam and its kin",
		field: func(c *Config) any { return &c.AdamBeta1 }},
	{Name: "adam_beta2", Group: Optimizing, Value: "X", Unset: "0.95 for adamw, 0.999 for adam", Range: belowOne, Help: "decay of the second moment",
		field: func(c *Config) any { return &c.AdamBeta2 }},
	{Name: "adam_epsilon", Group: Optimizing, Value: "X", Unset: "1e-5 for adamw, 1e-8 for adam", Range: positive, Help: "added to the root of the second moment",
		field: func(c *Config) any { return &c.AdamEpsilon }},
	{Name: "lr_scheduler", Group: Optimizing, Default: "constant", Choices: optim.Kinds, Aliases: []string{schedulerAlias}, Help: "how the learning rate moves over the run",
		field: func(c *Config) any { return &c.LRScheduler }},
	{Name: "warmup_steps", Group: Optimizing, Value: "N", Unset: "10 % of the steps; none for constant", Range: orNone, Help: "steps in which the learning rate climbs from 0",
		field: func(c *Config) any { return &c.WarmupSteps }},
	{Name: "warmup_ratio", Group: Optimizing, Value: "X", Unset: "see warmup_steps", Range: share, Help: "the same as a share of all steps",
		field: func(c *Config) any { return &c.WarmupRatio }},
	{Name: "cosine_min_lr_ratio", Group: Optimizing, Value: "X", Unset: "0.1, or 0 after " + schedulerAlias, Range: share, Help: "share of lr at which the cosine schedules end",
		field: func(c *Config) any { return &c.CosineMinLRRatio }},
	{Name: "apply_gradient_clipping", Group: Optimizing, Unset: "false; true where grad_norm is given", Help: "scale gradients down to grad_norm",
		field: func(c *Config) any { return &c.ApplyGradientClipping }},
	{Name: "grad_norm", Group: Optimizing, Value: "X", Unset: "0.3 where gradients are clipped", Aliases: []string{"max_grad_norm"}, Range: positive, Help: "largest L2 norm of the gradient; setting it turns clipping on",
		field: func(c *Config) any { return &c.GradNorm }},

	{Name: "precision", Group: Memory, Default: "auto", Choices: []string{"auto", "fp32", "bf16", "bf16_autocast", "fp16_autocast", "bf16_buffers_autocast"},
		Synonyms: map[string]string{"fp16": "fp16_autocast"}, Help: "auto takes the first of bf16, fp16_autocast and fp32 that the device computes natively; autocast modes keep trained weights in fp32",
		field: func(c *Config) any { return &c.Precision }},
	{Name: "use_gradient_checkpointing", Group: Memory, Default: "auto", Choices: []string{"auto", "true", "false"}, Aliases: []string{"gradient_checkpointing"},
		Help: "compute activations again in the backward pass instead of keeping them; auto: as much as memory needs", field: func(c *Config) any { return &c.UseGradientCheckpointing }},
	{Name: "use_activation_cpu_offload", Group: Memory, Default: "auto", Choices: []string{"auto", "true", "false"},
		Help: "let what some layers keep for the backward pass wait in memory of the host; auto: where the device's is short and copies hold up nothing", field: func(c *Config) any { return &c.UseActivationCPUOffload }},
	{Name: "recompute", Group: Memory, Value: "POLICY", Default: "auto", Help: "what is computed again: none, selective (what is cheap), block (everything), block:N (all of N layers), lean (everything, and one projection at a time)",
		field: func(c *Config) any { return &c.Recompute }},
	{Name: "memory_limit", Group: Memory, Value: "SIZE", Default: "0", Help: "plan and allocate as if the device had no more, as 24GiB; 0 = all it has",
		field: func(c *Config) any { return &c.MemoryLimit }},
	{Name: "host_memory_limit", Group: Memory, Value: "SIZE", Default: "0", Help: "the same for the host",
		field: func(c *Config) any { return &c.HostMemoryLimit }},

	{Name: "backend", Group: Device, Value: "NAME", Default: "auto", Synonyms: map[string]string{"mps": "metal", "mlx": "metal"}, Help: "name of a backend; auto takes the best device that can do the run",
		field: func(c *Config) any { return &c.Backend }},
	{Name: "device", Group: Device, Value: "N|UUID", Unset: "the best", Help: "device of the backend, by number or UUID",
		field: func(c *Config) any { return &c.Device }},
	{Name: "backend_path", Group: Device, Value: "DIRS", Unset: "none", Help: "folders or files to look for backends first",
		field: func(c *Config) any { return &c.BackendPath }},
	{Name: "library_path", Group: Device, Value: "DIRS", Unset: "none", Help: "folders where backends look for the libraries of their vendors first",
		field: func(c *Config) any { return &c.LibraryPath }},
	{Name: "threads", Group: Device, Value: "N", Default: "0", Range: &Range{Low: 0, High: 4096, Want: "a whole number from 0 to 4096"}, Help: "threads of a backend that computes on the processor; 0 = one per core",
		field: func(c *Config) any { return &c.Threads }},
	{Name: "deterministic", Group: Device, Default: "false", Help: "the same bits from every run with the same settings",
		field: func(c *Config) any { return &c.Deterministic }},
	{Name: "self_test", Group: Device, Default: "true", Help: "run small cases of every op that the run needs before it, and refuse a backend that computes them wrongly",
		field: func(c *Config) any { return &c.SelfTest }},
	{Name: "call_timeout", Group: Device, Value: "SECONDS", Default: "300", Range: &Range{Low: 0.1, High: 1e6, Want: "a number of at least 0.1"},
		Help: "end the run when a backend makes no progress for so long", field: func(c *Config) any { return &c.CallTimeout }},
	{Name: "seed", Group: Device, Value: "N", Default: "42", Help: "start of all random numbers",
		field: func(c *Config) any { return &c.Seed }},

	{Name: "eval_dataset", Group: Evaluation, Value: "FILE", Unset: "none", Help: "records to measure the loss on, before, during and after training",
		field: func(c *Config) any { return &c.EvalDataset }},
	{Name: "eval_steps", Group: Evaluation, Value: "N", Default: "0", Range: orNone, Help: "evaluate every N steps; 0 = only before and after",
		field: func(c *Config) any { return &c.EvalSteps }},
	{Name: "eval_samples", Group: Evaluation, Value: "N", Default: "0", Range: orAll, Help: "use the first N records; 0 = all",
		field: func(c *Config) any { return &c.EvalSamples }},

	{Name: "output_dir", Group: Output, Value: "DIR", Default: "output", Help: "folder for what the run leaves; must be empty, or of a run that resume goes on with",
		field: func(c *Config) any { return &c.OutputDir }},
	{Name: "overwrite_output_dir", Group: Output, Default: "false", Help: "write over what is in the folder",
		field: func(c *Config) any { return &c.OverwriteOutputDir }},
	{Name: "save_model", Group: Output, Default: "true", Help: "save the adapter or model at the end",
		field: func(c *Config) any { return &c.SaveModel }},
	{Name: "save_steps", Group: Output, Value: "N", Default: "0", Range: orNone, Help: "save a checkpoint every N steps and after the last; 0 = do not count steps",
		field: func(c *Config) any { return &c.SaveSteps }},
	{Name: "save_minutes", Group: Output, Value: "X", Default: "15", Range: &Range{Low: 0, High: 1e6, Want: "a number of at least 0"}, Help: "save a checkpoint every X minutes; 0 = do not look at the clock",
		field: func(c *Config) any { return &c.SaveMinutes }},
	{Name: "save_total_limit", Group: Output, Value: "N", Default: "2", Range: orNone, Help: "checkpoints to keep, the newest; 0 = all",
		field: func(c *Config) any { return &c.SaveTotalLimit }},
	{Name: "resume", Group: Output, Value: "never|auto|DIR", Default: "never", Help: "go on from a checkpoint: auto takes the newest whole one in output_dir, and starts afresh where there is none",
		field: func(c *Config) any { return &c.Resume }},
	{Name: "log_every_n_steps", Group: Output, Value: "N", Default: "1", Aliases: []string{"logging_steps"}, Range: counts, Help: "steps between lines of metrics.jsonl and of the log",
		field: func(c *Config) any { return &c.LogEveryNSteps }},
	{Name: "log_to", Group: Output, Default: "tqdm", Choices: []string{"tqdm", "stdout"}, Absent: map[string]string{"wandb": noWandb}, Help: "tqdm: progress on standard error; stdout: a plain line a step on standard output",
		field: func(c *Config) any { return &c.LogTo }},
	{Name: "log_telemetry", Group: Output, Default: "false", Help: "memory, power, temperature and clocks of the device in metrics.jsonl, where the build and the device have them",
		field: func(c *Config) any { return &c.LogTelemetry }},
}

// schedulerAlias is the Hugging Face name of lr_scheduler, after which cosine schedules
// end at 0 as theirs do.
const schedulerAlias = "lr_scheduler_type"

// Find is the setting of a name or alias, in which hyphens stand for underscores.
func Find(name string) (Setting, bool) {
	if s := find(name); s != nil {
		return *s, true
	}
	return Setting{}, false
}

func find(name string) *Setting {
	name = Canonical(name)
	for i := range settings {
		if s := &settings[i]; s.Name == name {
			return s
		}
		for _, alias := range settings[i].Aliases {
			if alias == name {
				return &settings[i]
			}
		}
	}
	return nil
}
