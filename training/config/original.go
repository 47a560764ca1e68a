package config

import (
	"errors"
	"slices"
	"strings"

	"trainer/fault"
)

// Original is a flag of fsdp_qlora, whose command lines this program takes: a setting of the
// same name, or an answer where there is none.
type Original struct {
	Name    string
	Default string // there
	Note    string // how the setting of the name differs from theirs
	Group   Group  // where there is no setting: beside which it would stand
	Switch  bool   // likewise: it may be given without a value, which means true
	Idle    []string
	Answer  string // likewise: what replaces it; values in Idle ask for nothing and are accepted
}

// The answers that several flags share.
const (
	noRanks   = "training on several devices is not here yet: a run trains on one"
	noOffload = "moving things to the host is not here yet: trainer plan says what fits, and --recompute saves memory"
	noWandb   = "logging to wandb is not here yet: metrics.jsonl in the output folder has every number"
	oneStep   = "a profile is of one step: trainer bench --profile"
)

var idleSwitch = []string{"false"}

// originals lists them all, in the order of their help.
var originals = []Original{
	{Name: "world_size", Default: "-1", Group: Device, Idle: []string{"-1", "1"}, Answer: noRanks},
	{Name: "backend", Default: "cuda", Note: "auto, or the name of any backend found; mps and mlx mean metal"},
	{Name: "train_type", Default: "qlora", Note: "also dora and llama_pro on bases that are not quantised; custom_lora and custom_qlora mean lora and qlora"},
	{Name: "llama_pro_path", Note: "the folder itself, whose config.json or name says which blocks are new; model_name may name it as well"},
	{Name: "batch_size", Default: "1"},
	{Name: "context_length", Default: "512"},
	{Name: "gradient_accumulation_steps", Default: "1", Note: "the loss is the mean over all labelled tokens of a step; see loss_normalization"},
	{Name: "num_epochs", Default: "1"},
	{Name: "dataset", Default: "alpaca_sample", Note: "required; also files, folders and data sets in the Hub cache"},
	{Name: "dataset_samples", Default: "512", Note: "the first records of any data set; all where it is not given, but 512 of the sets that had it"},
	{Name: "sharding_strategy", Default: "full_shard", Group: Device, Answer: noRanks},
	{Name: "use_gradient_checkpointing", Default: "true", Note: "auto: as much as memory needs"},
	{Name: "reentrant_checkpointing", Default: "false", Group: Memory, Switch: true, Idle: idleSwitch, Answer: "there is one kind of recompute: see --recompute"},
	{Name: "use_cpu_offload", Default: "true", Group: Memory, Switch: true, Idle: []string{"auto", "false"}, Answer: noOffload},
	{Name: "use_activation_cpu_offload", Default: "false", Note: "auto: where memory is short and copies hold up nothing"},
	{Name: "low_memory", Default: "true", Group: Memory, Switch: true, Idle: []string{"auto", "true", "false"}, Answer: "weights are streamed tensor by tensor, always"},
	{Name: "no_sync", Default: "false", Group: Device, Switch: true, Idle: idleSwitch, Answer: noRanks},
	{Name: "precision", Default: "bf16", Note: "auto: bf16, else fp16_autocast, else fp32, as the device computes natively; fp16 means fp16_autocast"},
	{Name: "model_name", Default: "meta-llama/Llama-2-7b-hf", Note: "required; a folder, or a model in the Hub cache"},
	{Name: "save_model", Default: "false", Note: "true"},
	{Name: "output_dir", Default: "output"},
	{Name: "lora_rank", Default: "64"},
	{Name: "lora_alpha", Default: "16", Note: "of DoRA too"},
	{Name: "lora_dropout", Default: "0.1", Note: "of DoRA too"},
	{Name: "lora_target_modules", Default: "all", Note: "also all_linear and a comma list"},
	{Name: "verbose", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: "run.yaml in the output folder holds every setting, and trainer plan prints what takes memory"},
	{Name: "lr", Default: "1e-5", Note: "2e-4 for adapters, 1e-5 for full and Llama-Pro"},
	{Name: "apply_gradient_clipping", Default: "false"},
	{Name: "grad_norm", Default: "0.3", Note: "setting it turns clipping on"},
	{Name: "wd", Default: "0.1"},
	{Name: "profile_memory", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: "trainer plan prints memory by phase and by kind before a run"},
	{Name: "optimizer", Default: "adamw", Note: "fused_adam and fused_adamw mean adam and adamw, which are fused"},
	{Name: "lr_scheduler", Default: "constant"},
	{Name: "warmup_steps", Note: "steps of the learning rate, as the fork means it"},
	{Name: "warmup_ratio"},
	{Name: "cosine_min_lr_ratio", Default: "0.1"},
	{Name: "loading_workers", Default: "-1", Group: Memory, Idle: []string{"-1"}, Answer: "every core loads weights: there is nothing to set"},
	{Name: "log_to", Default: "tqdm", Note: noWandb},
	{Name: "log_every_n_steps", Default: "1"},
	{Name: "master_addr", Default: "localhost", Group: Device, Answer: noRanks},
	{Name: "master_port", Default: "12355", Group: Device, Answer: noRanks},
	{Name: "seed", Default: "42", Note: "of all random numbers"},
	{Name: "project_name", Default: "fsdp_qlora", Group: Output, Answer: noWandb},
	{Name: "name", Group: Output, Answer: noWandb},
	{Name: "group", Group: Output, Answer: noWandb},
	{Name: "entity", Group: Output, Answer: noWandb},
	{Name: "n_bits", Default: "4", Note: "of HQQ and MLX"},
	{Name: "hqq_group_size", Default: "64", Note: "groups are axis 1 of HQQ, or axis 0 with hqq_axis 0, as theirs; of MLX too"},
	{Name: "profile", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: oneStep},
	{Name: "profiling_output", Default: "profiles", Group: Output, Answer: "trainer bench --profile --profiling_output says where the trace of a step goes"},
	{Name: "with_stack", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: "there are no Python stacks: trainer bench --profile tells ops by phase"},
	{Name: "with_shapes", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: "the trace of trainer bench --profile has the shapes of every op"},
	{Name: "export_trace", Default: "true", Group: Output, Switch: true, Idle: []string{"true"}, Answer: "trainer bench --profile always writes a trace"},
	{Name: "export_memory_timeline", Default: "false", Group: Output, Switch: true, Idle: idleSwitch, Answer: "trainer plan prints memory by phase and by kind before a run"},
	{Name: "wait_steps", Default: "0", Group: Output, Answer: oneStep},
	{Name: "profiler_warmup_steps", Default: "1", Group: Output, Answer: oneStep},
	{Name: "active_steps", Default: "2", Group: Output, Answer: oneStep},
	{Name: "repeat", Default: "0", Group: Output, Answer: oneStep},
	{Name: "profiling_frequency", Default: "10", Group: Output, Answer: oneStep},
	{Name: "max_steps", Default: "-1", Note: "optimizer steps of the whole run"},
}

// Answered lists the flags of fsdp_qlora of which there is no setting.
func Answered() []Original {
	return slices.DeleteFunc(slices.Clone(originals), func(o Original) bool { return find(o.Name) != nil })
}

// answered is one of Answered; nil where the name is none.
func answered(name string) *Original {
	for i := range originals {
		if o := &originals[i]; o.Name == Canonical(name) && find(o.Name) == nil {
			return o
		}
	}
	return nil
}

// check accepts a value that asks for nothing and answers others.
func (o *Original) check(where, field, text string) error {
	if slices.Contains(o.Idle, strings.ToLower(strings.TrimSpace(text))) {
		return nil
	}
	if len(o.Idle) == 0 {
		return &fault.Error{Kind: fault.Usage, Where: where, Field: field, Err: errors.New(o.Answer)}
	}
	return &fault.Error{Kind: fault.Usage, Where: where, Field: field, Found: text, Want: strings.Join(o.Idle, " or "), Remedy: o.Answer}
}
