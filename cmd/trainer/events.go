package main

import (
	"context"
	"os"
	"trainer/core/conformance"

	"trainer/core/plugin"
	"trainer/training"
	"trainer/training/config"
	"trainer/training/metrics"
)

// Job is what a worker is asked to do.
type Job struct {
	Command      string            `codec:"command"`   // train, plan, bench, eval, generate, verify or replay
	Config       config.Config     `codec:"config"`    // resolved; recompute may still be auto
	ModelDir     string            `codec:"model_dir"` // the folder that Config.ModelName stands for
	Device       DeviceChoice      `codec:"device"`
	Prompts      []Prompt          `codec:"prompts"` // to answer before and after training, or by generate
	Adapter      string            `codec:"adapter"` // PEFT folder, for eval, generate and verify
	Merged       string            `codec:"merged"`  // model folder, for verify
	MaxNewTokens int               `codec:"max_new_tokens"`
	Sampling     training.Sampling `codec:"sampling"`  // how answers are chosen
	AnswerOf     string            `codec:"answer_of"` // base, adapter or both, for generate
	Bench        BenchOptions      `codec:"bench"`
	Checkpoint   string            `codec:"checkpoint"` // folder to go on from, verified; empty = from the beginning
	Record       string            `codec:"record"`     // file to record one step to, for train; to replay, for replay
	RecordStep   int               `codec:"record_step"`

	lock     *os.File       // of the output folder; see lockFolder
	adopted  *training.LoRA // of Adapter; see adoptAdapter
	finished *metrics.End   // nothing is left to do
}

// Prompt is a text for a model to go on with.
type Prompt struct {
	Text   string `codec:"text"`
	Framed bool   `codec:"framed"` // the tokenizer adds special tokens, else the text has them
}

// DeviceChoice is the device a job runs on: a file, as it was tried, and the number of the
// device. It is empty where a plan is made on a machine without any backend.
type DeviceChoice struct {
	plugin.Choice `codec:"choice"`
	Why           string `codec:"why"` // this one, for people
}

// Found tells whether there is a device.
func (d DeviceChoice) Found() bool { return d.Candidate.Path != "" }

// Events is where a job tells what happens while it runs. An error means that nobody
// listens any more, and ends the job. Calls come from one goroutine.
type Events interface {
	// Log shows a line.
	Log(format string, args ...any) error
	// Plan tells what the job will take, before anything is allocated.
	Plan(PlanReport) error
	// Start tells that training begins. Its Config has nothing left to be decided.
	Start(Start) error
	// Step tells of an optimizer step, Eval of an evaluation.
	Step(metrics.Step) error
	Eval(metrics.Eval) error
	// Answer tells what the model wrote.
	Answer(Answer) error
	// Saved tells that the folder holds the result, durably.
	Saved(dir string) error
	// Checkpoint tells that the folder is a whole checkpoint, durably.
	Checkpoint(dir string) error
}

// work does the jobs in the worker, by Job.Command. A cancelled context means: finish the
// step under way, save, and return with Interrupted set.
type work map[string]func(context.Context, Job, Events) (Result, error)

// Start begins a training run.
type Start struct {
	metrics.Start
	Steps  int           `codec:"steps"` // optimizer steps of the whole run
	Config config.Config `codec:"config"`
}

// Result is what a job that ended well leaves besides files.
type Result struct {
	Interrupted  bool                  `codec:"interrupted"`   // asked to stop, and did after saving
	End          metrics.End           `codec:"end"`           // train
	Plan         *PlanReport           `codec:"plan"`          // plan
	Bench        *BenchReport          `codec:"bench"`         // bench
	Verify       *VerifyReport         `codec:"verify"`        // verify
	Replayed     *conformance.Replayed `codec:"replayed"`      // replay
	BackendBench *BackendBench         `codec:"backend_bench"` // bench_backend
}

// Answer is what a model wrote after a prompt.
type Answer struct {
	Prompt string `json:"prompt"` // the whole text before it
	Text   string `json:"text"`
	Model  string `json:"model"` // base or adapter
	Step   int    `json:"step"`  // optimizer steps before it
}

// PlanReport is what a job takes, known before it runs.
type PlanReport struct {
	Model      string      `json:"model"`
	Parameters int64       `json:"parameters"`
	Trainable  int64       `json:"trainable_parameters"`
	Precision  string      `json:"precision"`
	Recompute  string      `json:"recompute"`
	Offload    bool        `json:"activation_offload"`
	Steps      int         `json:"steps"`             // optimizer steps; 0 = unknown
	Seconds    float64     `json:"seconds,omitempty"` // estimated, of the steps; 0 = unknown
	StepTime   float64     `json:"seconds_per_step,omitempty"`
	Kinds      []PlanBytes `json:"memory_by_kind"`  // weights, moments, activations, …
	Phases     []PlanBytes `json:"memory_by_phase"` // the most each phase holds
	Host       []PlanBytes `json:"host,omitempty"`
	Total      int64       `json:"memory_planned_bytes"`
	Limit      int64       `json:"memory_limit_bytes"` // 0 = none
	Fits       bool        `json:"fits"`
	Change     string      `json:"change,omitempty"` // the smallest change that makes it fit
	Native     []string    `json:"native_ops"`
	Composed   []string    `json:"composed_ops"`
}

// PlanBytes is a line of a plan.
type PlanBytes struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}
