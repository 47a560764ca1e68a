package config

import (
	"slices"

	"trainer/fault"
)

// The values of Resume that are no folder.
const (
	ResumeNever = "never"
	ResumeAuto  = "auto"
)

// mayChange are the settings in which a run that goes on may differ from what it began
// with. Model and data are compared by content. Of every other setting each step depends.
var mayChange = []string{
	"model_name", "llama_pro_path", "init_adapter", "dataset", "dataset_format", "data_cache", "num_epochs", "max_steps",
	"use_gradient_checkpointing", "recompute", "use_activation_cpu_offload", "memory_limit", "host_memory_limit",
	"backend", "device", "backend_path", "library_path", "threads", "deterministic", "self_test", "call_timeout",
	"eval_dataset", "eval_steps", "eval_samples",
	"output_dir", "overwrite_output_dir", "save_model", "save_steps", "save_minutes", "save_total_limit", "resume", "log_every_n_steps", "log_to", "log_telemetry",
}

// chosen are the settings that a run decides where they say auto, and decides once.
var chosen = []string{"precision", "recompute", "use_activation_cpu_offload", "backend"}

// GoOn takes over what a run chose when it began wherever c leaves the choice, and refuses a setting that
// contradicts it. where is what holds began, for the sentence. Errors are *fault.Error of
// kind Usage.
func (c *Config) GoOn(began Config, where string) error {
	for i := range settings {
		s := &settings[i]
		mine, was := s.Text(c), s.Text(&began)
		switch {
		case mine == was:
		case mine == "auto" && slices.Contains(chosen, s.Name):
			if err := setField(s.field(c), was); err != nil {
				return usage(s.Name, was, err.Error())
			}
		case !slices.Contains(mayChange, s.Name):
			return &fault.Error{Kind: fault.Usage, Where: "--" + s.Name, Found: orNothing(mine), Want: orNothing(was) + ", as " + where + " has it",
				Remedy: "give what the run began with, or start afresh with another --output_dir"}
		}
	}
	return nil
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// SameLength tells whether two runs that otherwise agree take as many steps.
func (c *Config) SameLength(other Config) bool {
	return c.NumEpochs == other.NumEpochs && c.MaxSteps == other.MaxSteps
}
