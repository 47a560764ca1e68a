package main

import (
	"trainer/core/session"
	"trainer/training/metrics"
)

// BenchOptions is what a benchmark measures besides the speed of steps.
type BenchOptions struct {
	Ops       bool     `codec:"ops"`       // each kind of op alone, instead of steps
	Tokenizer string   `codec:"tokenizer"` // folder of the tokenizer for the data set; empty = the model's
	Only      []string `codec:"only"`      // of a backend: these ops
	Profile   bool     `codec:"profile"`   // the nodes of a step one by one, too
	Profiling string   `codec:"profiling"` // folder, or file that ends in .json, for the trace
}

// BenchReport is the speed of training on random tokens or on the rows of a data set.
type BenchReport struct {
	Backend            string         `json:"backend"`
	Device             string         `json:"device"`
	Model              string         `json:"model"`
	TrainType          string         `json:"train_type"`
	Precision          string         `json:"precision"`
	Recompute          string         `json:"recompute"`
	Offload            bool           `json:"activation_offload"`
	BatchSize          int            `json:"batch_size"`
	ContextLength      int            `json:"context_length"`
	Dataset            string         `json:"dataset,omitempty"`
	Packing            bool           `json:"packing,omitempty"`
	PaddingShare       metrics.Number `json:"padding_share"` // of the places of an epoch's batches
	LoadSeconds        metrics.Number `json:"load_seconds"`  // memory obtained and filled: from files, or at random
	Steps              int            `json:"steps"`         // timed
	SecondsPerStep     metrics.Number `json:"seconds_per_step"`
	TokensPerSecond    metrics.Number `json:"tokens_per_second"` // without padding; of the median step, or of all on a data set
	Loss               metrics.Number `json:"loss"`
	MemoryPeakBytes    int64          `json:"memory_peak_bytes"`
	MemoryPlannedBytes int64          `json:"memory_planned_bytes"`
	FLOPsPerStep       float64        `json:"flops_per_step"`  // of matrix products, recomputed ones included
	FLOPsPerToken      float64        `json:"flops_per_token"` // likewise
	RecomputedFLOPs    float64        `json:"recomputed_flops_per_step"`
	session.Rates
	GEMMShare metrics.Number `json:"gemm_share"`                         // of a step's FLOPs over its seconds in that rate
	Within    bool           `json:"profiled_within_the_step,omitempty"` // its nodes were timed as it ran, not each alone
	Phases    []ProfileLine  `json:"phases,omitempty"`                   // with --profile
	Families  []ProfileLine  `json:"families,omitempty"`                 // likewise, the slowest first
	TraceFile string         `json:"trace,omitempty"`                    // likewise
	Ops       []OpTiming     `json:"ops,omitempty"`                      // with --ops
}

// ProfileLine is what the nodes of one phase or one op family take in a micro-batch and the
// update.
type ProfileLine struct {
	Name    string  `json:"name"`
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"` // of all lines
	Bound
}

// OpTiming is what one kind of node takes, alone and at best.
type OpTiming struct {
	Family  string  `json:"op"`
	Shapes  string  `json:"shapes"`
	Phase   string  `json:"phase"` // where it first occurs
	Calls   int     `json:"calls"` // in a micro-batch and the update, or in loading
	Seconds float64 `json:"seconds"`
	Bound
}

// Bound is what was computed and moved in a time, and how near that is to what the device
// can do: the time that products at the GEMM rate or bytes at the copy rate would take,
// whichever is longer for each node, as a share of the time taken.
type Bound struct {
	FLOPs      float64 `json:"flops"`
	Bytes      float64 `json:"bytes"`
	BoundShare float64 `json:"bound_share"` // 0 where no rate is known
}

// ideal is the least seconds of a node at given rates.
func ideal(flops, bytes float64, r session.Rates) (seconds float64) {
	if r.GEMM > 0 {
		seconds = flops / r.GEMM
	}
	if r.Copy > 0 {
		seconds = max(seconds, bytes/r.Copy)
	}
	return seconds
}
